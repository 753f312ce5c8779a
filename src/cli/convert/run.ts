/** `krait convert`: writes a model in the format of another program. */
import { resolve } from 'node:path';
import { type Command, Option } from 'commander';
import type { DeviceName } from '../../backend/index.ts';
import { UsageError } from '../../core/index.ts';
import { baseName, GGUF_TYPES, type GgufType } from '../../io/index.ts';
import { convertToGguf, type GgufOptions, type GgufSummary, loadModel, saveGguf } from '../../models/index.ts';
import { formatBytes } from '../../report/terminal.ts';
import { keepMerged, loadAdapter } from '../../tune/index.ts';
import { integer, modelFolder, nodeFiles, Output, openDevice } from '../session.ts';

interface Options {
  model: string;
  revision?: string;
  adapter?: string;
  to: 'gguf';
  out: string;
  type: GgufType;
  force?: boolean;
  json?: boolean;
  device: DeviceName | 'auto';
  threads?: number;
}

/** @throws UsageError if something stands there that was not offered up */
async function checkTarget({ out, force }: Options): Promise<void> {
  const status = await nodeFiles.status(out);
  if (status?.isFolder) throw new UsageError(`--out: ${out} is a folder; give a file, such as model.gguf`);
  if (status && !force) {
    throw new UsageError(`--out: ${out} exists; give --force to write over it, or another file`);
  }
}

/** The adapter is merged in f32, on a device; without one the weights go from file to file. */
async function convert(options: Options, folder: string, output: Output, settings: GgufOptions): Promise<GgufSummary> {
  if (!options.adapter) return convertToGguf(nodeFiles, folder, options.out, settings);
  const device = await openDevice({ ...options, dtype: 'f32' }, output);
  try {
    const model = await loadModel(device, nodeFiles, folder, { dtype: 'f32', onWarning: settings.onWarning });
    keepMerged(await loadAdapter(model, nodeFiles, options.adapter));
    return await saveGguf(model, nodeFiles, folder, options.out, settings);
  } finally {
    device.close();
  }
}

async function run(options: Options, output: Output): Promise<void> {
  await checkTarget(options);
  const folder = await modelFolder(options, output);
  const bar = output.progress('convert', 100);
  const settings: GgufOptions = {
    type: options.type,
    name: baseName(resolve(options.model)),
    onWarning: (line) => output.warn(line),
    onProgress: (share) => bar.update(Math.round(100 * share)),
  };
  let summary: GgufSummary;
  try {
    summary = await convert(options, folder, output, settings);
  } finally {
    bar.stop();
  }
  const { type, tensors, bytes, hasTokenizer } = summary;
  const tokenizer = hasTokenizer ? 'with its tokenizer' : 'without a tokenizer';
  output.result(
    { out: options.out, format: options.to, ...summary },
    () => `wrote ${options.out}: ${tensors} tensors in ${type}, ${tokenizer}, ${formatBytes(bytes)}`,
  );
}

export function define(command: Command): Command {
  return command
    .requiredOption('--model <dir|id>', 'folder of a model, or its id on the hub')
    .option('--revision <name>', 'branch, tag or commit on the hub')
    .option('--adapter <dir>', 'LoRA adapter in PEFT format, to be merged into the weights')
    .addOption(
      new Option('--to <format>', 'format to write: gguf is for llama.cpp').choices(['gguf']).makeOptionMandatory(),
    )
    .requiredOption('--out <file>', 'file to write')
    .addOption(
      new Option('--type <type>', 'type of the weights that feed matrix products').choices(GGUF_TYPES).default('f16'),
    )
    .option('--force', 'write over --out')
    .option('--json', 'print one JSON document on stdout')
    .addOption(
      new Option('--device <name>', 'where an adapter is merged')
        .choices(['auto', 'native', 'wasm', 'reference'])
        .default('auto'),
    )
    .option('--threads <n>', 'threads that share a kernel', integer(1))
    .action((options: Options) => run(options, new Output(options.json ?? false)));
}
