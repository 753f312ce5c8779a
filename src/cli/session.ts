/** What most commands need first: common options, a device, a model with its tokenizer and adapter. */
import { type Command, InvalidArgumentError, Option } from 'commander';
import type { DeviceName } from '../backend/index.ts';
import { openBackend } from '../backend/select.ts';
import { type DType, UsageError } from '../core/index.ts';
import { loadTokenizer, resolveModel, type Tokenizer } from '../io/index.ts';
import { type LanguageModel, loadModel } from '../models/index.ts';
import { NodeFileSystem, readHubSettings } from '../platform/node/index.ts';
import { Device } from '../tensor/index.ts';
import { Output } from './output.ts';

/** Most threads that every device takes. */
const MOST_THREADS = 128;

/** Real files. */
export const nodeFiles = new NodeFileSystem();

const FLOATS = ['f32', 'bf16', 'f16'] as const;
/** What `--dtype` may say: int8 quantises the weights and leaves activations in f32. */
export type TypeName = (typeof FLOATS)[number] | 'int8';

/** The storage type of weights that `--dtype` asks for. */
export const storageOf = (name: TypeName): DType => (name === 'int8' ? 'i8' : name);
/** The type of activations that `--dtype` asks for. */
export const activationsOf = (name: TypeName): DType => (name === 'int8' ? 'f32' : name);

export interface CommonOptions {
  json?: boolean;
  device: DeviceName | 'auto';
  dtype: TypeName;
  threads?: number;
}

export interface ModelOptions extends CommonOptions {
  model: string;
  adapter?: string;
  revision?: string;
}

/** A whole number inside [least, most], for an option. */
export const integer =
  (least = 0, most = Number.MAX_SAFE_INTEGER) =>
  (text: string): number => {
    const value = Number(text);
    if (!/^-?\d+$/.test(text.trim()) || value < least || value > most) {
      const end = most === Number.MAX_SAFE_INTEGER ? '' : ` and <= ${most}`;
      throw new InvalidArgumentError(`expected a whole number >= ${least}${end}.`);
    }
    return value;
  };

/** A finite number from `low` to `high`, or above `low` where it is `open`, for an option. */
export const number =
  (low: number, high = Number.POSITIVE_INFINITY, { open = false } = {}) =>
  (text: string): number => {
    const value = Number(text);
    const isInside = Number.isFinite(value) && (open ? value > low : value >= low) && value <= high;
    if (text.trim() === '' || !isInside) {
      const end = Number.isFinite(high) ? ` and <= ${high}` : '';
      throw new InvalidArgumentError(`expected a number ${open ? '>' : '>='} ${low}${end}.`);
    }
    return value;
  };

/** `--dtype`, with int8 for commands that only read the weights. */
function dtypeOption(takesInt8: boolean): Option {
  const choices: readonly string[] = takesInt8 ? [...FLOATS, 'int8'] : FLOATS;
  const about = takesInt8
    ? 'type of weights and activations; int8: of weights, activations stay f32'
    : 'type of weights and activations';
  return new Option('--dtype <type>', about)
    .choices(choices)
    .default('f32')
    .argParser((text) => {
      if (choices.includes(text)) return text;
      if (text === 'int8')
        throw new InvalidArgumentError('Weights in int8 are for generate, score and bench; give f32, bf16 or f16.');
      throw new InvalidArgumentError(`Allowed choices are ${choices.join(', ')}.`);
    });
}

/** `--json --device --dtype --threads`, which every command takes; no `--dtype` where the command itself compares types. */
export function withCommonOptions(command: Command, { takesInt8 = false, takesDtype = true } = {}): Command {
  command
    .option('--json', 'print one JSON document on stdout')
    .addOption(
      new Option('--device <name>', 'where to compute')
        .choices(['auto', 'native', 'wasm', 'reference'])
        .default('auto'),
    );
  if (takesDtype) command.addOption(dtypeOption(takesInt8));
  return command.option('--threads <n>', 'threads that share a kernel', integer(1, MOST_THREADS));
}

/** `--model --adapter --revision` and the common options. */
export function withModelOptions(command: Command, common: { takesInt8?: boolean } = {}): Command {
  return withCommonOptions(
    command
      .requiredOption('--model <dir|id>', 'folder of a model, or its id on the hub')
      .option('--revision <name>', 'branch, tag or commit on the hub')
      .option('--adapter <dir>', 'LoRA adapter in PEFT format'),
    common,
  );
}

/** Opens the device that the options ask for and says which it is, once there is something to say about the work. */
export async function openDevice(
  options: Pick<CommonOptions, 'device' | 'threads'> & Partial<CommonOptions>,
  output: Output,
): Promise<Device> {
  const { backend, reason } = await openBackend({ device: options.device, threads: options.threads });
  output.defer(`device: ${reason}`);
  return new Device(backend);
}

export interface OpenModel {
  folder: string;
  device: Device;
  model: LanguageModel;
  loadSeconds: number;
}

/** Local folder of a model, fetched from the hub if it is an id. */
export async function modelFolder(options: { model: string; revision?: string }, output: Output): Promise<string> {
  let bar: ReturnType<Output['progress']> | null = null;
  let current = '';
  const folder = await resolveModel(nodeFiles, options.model, readHubSettings(), {
    revision: options.revision,
    warn: (line) => output.warn(line),
    progress: ({ file, receivedBytes, totalBytes }) => {
      if (file !== current) {
        bar?.stop();
        current = file;
        bar = totalBytes ? output.progress(file.slice(-12), totalBytes) : null;
      }
      bar?.update(receivedBytes);
    },
  });
  (bar as { stop(): void } | null)?.stop();
  return folder;
}

/** Resolves and loads the model, and its adapter if there is one. */
export async function openModel(options: ModelOptions, output: Output): Promise<OpenModel> {
  return openFolder(await modelFolder(options, output), options, output);
}

/**
 * As `openModel`, with the tokenizer, which is read while the weights are.
 * @throws UsageError if it has more tokens than the model has rows.
 */
export async function openModelAndTokenizer(
  options: ModelOptions,
  output: Output,
): Promise<OpenModel & { tokenizer: Tokenizer }> {
  const folder = await modelFolder(options, output);
  const reading = loadTokenizer(nodeFiles, folder);
  reading.catch(() => undefined); // what is wrong with the model is said first
  const opened = await openFolder(folder, options, output);
  return { ...opened, tokenizer: checkTokenizer(await reading, opened.model) };
}

async function openFolder(folder: string, options: ModelOptions, output: Output): Promise<OpenModel> {
  const device = await openDevice(options, output);
  const startedMs = performance.now();
  const onWarning = (line: string) => output.warn(line);
  const model = await loadModel(device, nodeFiles, folder, { dtype: storageOf(options.dtype), onWarning });
  if (options.adapter) {
    const { loadAdapter } = await import('../tune/index.ts'); // a third of all modules, for those who have one
    await loadAdapter(model, nodeFiles, options.adapter);
  }
  return { folder, device, model, loadSeconds: (performance.now() - startedMs) / 1000 };
}

/**
 * The tokenizer of a model folder.
 * @throws UsageError if it has more tokens than the model has rows.
 */
export async function tokenizerFor(model: LanguageModel, folder: string): Promise<Tokenizer> {
  return checkTokenizer(await loadTokenizer(nodeFiles, folder), model);
}

function checkTokenizer(tokenizer: Tokenizer, model: LanguageModel): Tokenizer {
  if (tokenizer.vocabSize > model.vocabSize) {
    throw new UsageError(
      `${tokenizer.path}: ${tokenizer.vocabSize} tokens do not fit the model's vocabulary of ${model.vocabSize}; use the tokenizer that belongs to the weights`,
    );
  }
  return tokenizer;
}

/** What a run leaves in its folder: a folder with neither has nothing to resume. */
const RUN_FILES = ['checkpoints', 'metrics.jsonl'];

/**
 * Checks that a command may write into a folder, which need not exist.
 * @throws UsageError for a file, and for a folder with something in it, unless it is to be written over, or a run in it
 * is to be resumed
 */
export async function checkOutputFolder(
  folder: string,
  { force, resume }: { force?: boolean; resume?: boolean },
  runFiles: readonly string[] = RUN_FILES,
  flag = '--out',
): Promise<void> {
  if (folder.trim() === '') throw new UsageError(`${flag}: the path is empty; give a folder`);
  const status = await nodeFiles.status(folder);
  if (status && !status.isFolder) throw new UsageError(`${flag}: ${folder} is a file; give a folder`);
  const names = status && !force ? await nodeFiles.list(folder) : [];
  if (names.length === 0) return;
  if (resume === undefined) {
    throw new UsageError(
      `${flag}: ${folder} exists and is not empty; give --force to write over it, or another folder`,
    );
  }
  if (!resume) {
    const ways = 'give --resume to go on, --force to write over it, or another folder';
    throw new UsageError(`${flag}: ${folder} exists and is not empty; ${ways}`);
  }
  if (names.some((name) => runFiles.includes(name))) return;
  throw new UsageError(`${flag}: ${folder} has no run to resume; give --force to write over it, or another folder`);
}

/** Everything on standard input as text. */
export async function readStdin(): Promise<string> {
  const parts: Buffer[] = [];
  try {
    for await (const part of process.stdin) parts.push(part as Buffer);
    return new TextDecoder('utf-8', { fatal: true }).decode(Buffer.concat(parts));
  } catch (error) {
    const problem = error instanceof TypeError ? 'not valid UTF-8' : (error as Error).message;
    throw new UsageError(`standard input: ${problem}; give UTF-8 text, or the text itself as the flag's value`);
  }
}

export { Output };
