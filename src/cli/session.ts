/** What most commands need first: common options, a device, a model with its tokenizer and adapter. */
import { type Command, InvalidArgumentError, Option } from 'commander';
import { type DeviceName, openBackend } from '../backend/index.ts';
import { type DType, UsageError } from '../core/index.ts';
import { loadTokenizer, resolveModel, type Tokenizer } from '../io/index.ts';
import { type LanguageModel, loadModel } from '../models/index.ts';
import { NodeFileSystem, readHubSettings } from '../platform/node/index.ts';
import { Device } from '../tensor/index.ts';
import { loadAdapter } from '../tune/index.ts';
import { Output } from './output.ts';

/** Real files. */
export const nodeFiles = new NodeFileSystem();

export interface CommonOptions {
  json?: boolean;
  device: DeviceName | 'auto';
  dtype: DType;
  threads?: number;
}

export interface ModelOptions extends CommonOptions {
  model: string;
  adapter?: string;
  revision?: string;
}

/** A whole number of at least `least`, for an option. */
export const integer =
  (least = 0) =>
  (text: string): number => {
    const value = Number(text);
    if (!/^-?\d+$/.test(text.trim()) || value < least)
      throw new InvalidArgumentError(`expected a whole number >= ${least}.`);
    return value;
  };

/** A number inside [low, high], for an option. */
export const number =
  (low = Number.NEGATIVE_INFINITY, high = Number.POSITIVE_INFINITY) =>
  (text: string): number => {
    const value = Number(text);
    if (text.trim() === '' || !(value >= low && value <= high)) {
      throw new InvalidArgumentError(`expected a number from ${low} to ${high}.`);
    }
    return value;
  };

/** `--json --device --dtype --threads`, which every command takes. */
export function withCommonOptions(command: Command): Command {
  return command
    .option('--json', 'print one JSON document on stdout')
    .addOption(
      new Option('--device <name>', 'where to compute')
        .choices(['auto', 'native', 'wasm', 'reference'])
        .default('auto'),
    )
    .addOption(
      new Option('--dtype <type>', 'type of weights and activations').choices(['f32', 'bf16', 'f16']).default('f32'),
    )
    .option('--threads <n>', 'threads that share a kernel', integer(1));
}

/** `--model --adapter --revision` and the common options. */
export function withModelOptions(command: Command): Command {
  return withCommonOptions(
    command
      .requiredOption('--model <dir|id>', 'folder of a model, or its id on the hub')
      .option('--revision <name>', 'branch, tag or commit on the hub')
      .option('--adapter <dir>', 'LoRA adapter in PEFT format'),
  );
}

/** Opens the device that the options ask for and says which it is. */
export async function openDevice(options: CommonOptions, output: Output): Promise<Device> {
  const { backend, reason } = await openBackend({ device: options.device, threads: options.threads });
  output.say(`device: ${reason}`);
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
  const folder = await modelFolder(options, output);
  const device = await openDevice(options, output);
  const startedMs = performance.now();
  const onWarning = (line: string) => output.warn(line);
  const model = await loadModel(device, nodeFiles, folder, { dtype: options.dtype, onWarning });
  if (options.adapter) await loadAdapter(model, nodeFiles, options.adapter);
  return { folder, device, model, loadSeconds: (performance.now() - startedMs) / 1000 };
}

/**
 * The tokenizer of a model folder.
 * @throws UsageError if it has more tokens than the model has rows.
 */
export async function tokenizerFor(model: LanguageModel, folder: string): Promise<Tokenizer> {
  const tokenizer = await loadTokenizer(nodeFiles, folder);
  if (tokenizer.vocabSize > model.vocabSize) {
    throw new UsageError(
      `${tokenizer.path}: ${tokenizer.vocabSize} tokens do not fit the model's vocabulary of ${model.vocabSize}; use the tokenizer that belongs to the weights`,
    );
  }
  return tokenizer;
}

/** Everything on standard input as text. */
export async function readStdin(): Promise<string> {
  const parts: Buffer[] = [];
  for await (const part of process.stdin) parts.push(part as Buffer);
  return Buffer.concat(parts).toString('utf8');
}

/** A signal that fires at the first Ctrl-C or SIGTERM; the second one ends the process at once. */
export function interruptSignal(output: Output): AbortSignal {
  const controller = new AbortController();
  const stop = () => {
    if (controller.signal.aborted) process.exit(130);
    output.say('\nstopping after this step (again to stop at once)');
    controller.abort();
  };
  process.on('SIGINT', stop);
  process.on('SIGTERM', stop);
  return controller.signal;
}

export { Output };
