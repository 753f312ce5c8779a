/** Work of `krait convert`. */
import { resolve } from 'node:path';
import { UsageError } from '../../core/index.ts';
import { baseName } from '../../io/index.ts';
import { convertToGguf, type GgufOptions, type GgufSummary, saveGguf } from '../../models/index.ts';
import { formatBytes } from '../../report/terminal.ts';
import { keepMerged } from '../../tune/index.ts';
import { nodeFiles } from '../files.ts';
import type { Output } from '../output.ts';
import { modelFolder, openWeights } from '../session.ts';
import type { ConvertFlags } from './command.ts';

/** @throws UsageError if something stands there that was not offered up */
async function checkTarget({ out, force }: ConvertFlags): Promise<void> {
  const status = await nodeFiles.status(out);
  if (status?.isFolder) throw new UsageError(`--out: ${out} is a folder; give a file, such as model.gguf`);
  if (status && !force) {
    throw new UsageError(`--out: ${out} exists; give --force to write over it, or another file`);
  }
}

/** The adapter is merged in f32, on a device; without one the weights go from file to file. */
async function convert(
  options: ConvertFlags,
  folder: string,
  output: Output,
  settings: GgufOptions,
): Promise<GgufSummary> {
  if (!options.adapter) return convertToGguf(nodeFiles, folder, options.out, settings);
  const { model, adapter, close } = await openWeights({ ...options, model: folder, dtype: 'f32' }, output);
  try {
    keepMerged(adapter!);
    return await saveGguf(model, nodeFiles, folder, options.out, settings);
  } finally {
    close();
  }
}

export async function run(options: ConvertFlags, output: Output): Promise<void> {
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
