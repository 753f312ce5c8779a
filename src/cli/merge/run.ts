/** Work of `krait merge`. */
import { UsageError } from '../../core/index.ts';
import { saveModel } from '../../models/index.ts';
import { keepMerged, mergeLora } from '../../tune/index.ts';
import { nodeFiles } from '../files.ts';
import type { Output } from '../output.ts';
import { checkOutputFolder } from '../output-folder.ts';
import { openWeights } from '../session.ts';
import type { MergeFlags } from './command.ts';

export async function run(options: MergeFlags, output: Output): Promise<void> {
  if (!options.adapter) throw new UsageError('krait merge: --adapter is missing; give the folder of a LoRA adapter');
  await checkOutputFolder(options.out, { force: options.force });
  const { model, adapter, copySideFiles, close } = await openWeights(options, output);
  try {
    const modules = adapter!.coverage.modules.length;
    mergeLora(adapter!);
    keepMerged(adapter!);
    await saveModel(model, nodeFiles, options.out);
    await copySideFiles(options.out);
    output.result(
      { out: options.out, modules, dtype: options.dtype },
      () => `merged ${modules} modules into ${options.out}`,
    );
  } finally {
    close();
  }
}
