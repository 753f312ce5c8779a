/** `krait merge`: makes a LoRA adapter part of its model's weights and saves the result. */
import { copyFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Command } from 'commander';
import { UsageError } from '../core/index.ts';
import { loadModel, saveModel } from '../models/index.ts';
import { keepMerged, loadAdapter, mergeLora } from '../tune/index.ts';
import { type ModelOptions, modelFolder, nodeFiles, Output, openDevice, withModelOptions } from './session.ts';

interface Options extends ModelOptions {
  out: string;
  force?: boolean;
}

const SIDE_FILES = [
  'tokenizer.json',
  'tokenizer_config.json',
  'special_tokens_map.json',
  'generation_config.json',
  'chat_template.jinja',
];

async function run(options: Options, output: Output): Promise<void> {
  if (!options.adapter) throw new UsageError('krait merge: --adapter is missing; give the folder of a LoRA adapter');
  const status = await nodeFiles.status(options.out);
  if (status && !status.isFolder) throw new UsageError(`--out: ${options.out} is a file; give a folder`);
  if (status && !options.force && (await nodeFiles.list(options.out)).length > 0) {
    throw new UsageError(
      `--out: ${options.out} exists and is not empty; give --force to write over it, or another folder`,
    );
  }
  const folder = await modelFolder(options, output);
  const device = await openDevice(options, output);
  const model = await loadModel(device, nodeFiles, folder, {
    dtype: options.dtype,
    onWarning: (line) => output.warn(line),
  });
  const adapter = await loadAdapter(model, nodeFiles, options.adapter);
  const modules = adapter.coverage.modules.length;
  mergeLora(adapter);
  keepMerged(adapter);
  await saveModel(model, nodeFiles, options.out);
  for (const name of SIDE_FILES) {
    if (await nodeFiles.exists(join(folder, name))) await copyFile(join(folder, name), join(options.out, name));
  }
  output.result(
    { out: options.out, modules, dtype: options.dtype },
    () => `merged ${modules} modules into ${options.out}`,
  );
  device.close();
}

export function define(command: Command): Command {
  return withModelOptions(command)
    .requiredOption('--out <dir>', 'folder of the merged model')
    .option('--force', 'write over what --out holds')
    .action((options: Options) => run(options, new Output(options.json ?? false)));
}
