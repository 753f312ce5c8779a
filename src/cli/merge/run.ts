/** `krait merge`: makes a LoRA adapter part of its model's weights and saves the result. */
import type { Command } from 'commander';
import { UsageError } from '../../core/index.ts';
import { copySideFiles } from '../../io/index.ts';
import { loadModel, saveModel } from '../../models/index.ts';
import { keepMerged, loadAdapter, mergeLora } from '../../tune/index.ts';
import {
  checkOutputFolder,
  type ModelOptions,
  modelFolder,
  nodeFiles,
  Output,
  openDevice,
  storageOf,
  withModelOptions,
} from '../session.ts';

interface Options extends ModelOptions {
  out: string;
  force?: boolean;
}

async function run(options: Options, output: Output): Promise<void> {
  if (!options.adapter) throw new UsageError('krait merge: --adapter is missing; give the folder of a LoRA adapter');
  await checkOutputFolder(options.out, { force: options.force });
  const folder = await modelFolder(options, output);
  const device = await openDevice(options, output);
  const model = await loadModel(device, nodeFiles, folder, {
    dtype: storageOf(options.dtype),
    onWarning: (line) => output.warn(line),
  });
  const adapter = await loadAdapter(model, nodeFiles, options.adapter);
  const modules = adapter.coverage.modules.length;
  mergeLora(adapter);
  keepMerged(adapter);
  await saveModel(model, nodeFiles, options.out);
  await copySideFiles(nodeFiles, folder, options.out);
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
