/** `krait pretrain`: trains a small model from nothing, by a recipe. */
import type { Command } from 'commander';
import { formatBytes } from '../report/terminal.ts';
import { Interrupted, withInterrupt } from './interrupt.ts';
import { type CommonOptions, withCommonOptions } from './options.ts';
import { lossText, Output, type Progress } from './output.ts';

interface Options extends CommonOptions {
  config: string;
  out: string;
  resume?: boolean;
  force?: boolean;
}

async function run(options: Options, output: Output): Promise<void> {
  const { parseRecipe, pretrain } = await import('../tune/index.ts');
  const { NpmDataSource } = await import('../platform/node/index.ts');
  const { nodeFiles } = await import('./files.ts');
  const { checkOutputFolder } = await import('./output-folder.ts');
  const { openDevice } = await import('./session.ts');
  const recipe = parseRecipe(options.config, await nodeFiles.readText(options.config));
  // A run that was killed before its first step has its tokenizer alone.
  await checkOutputFolder(options.out, { resume: options.resume ?? false, force: options.force }, [
    'checkpoints',
    'metrics.jsonl',
    'tokenizer.json',
  ]);
  const device = await openDevice(options, output);
  let bar: Progress | null = null;
  const work = (signal: AbortSignal) =>
    pretrain({
      device,
      files: nodeFiles,
      source: new NpmDataSource(),
      recipe,
      out: options.out,
      resume: options.resume,
      signal,
      onStage: (line) => output.say(line),
      onStart: ({ parameters, documents, tokens, bytes, steps }) => {
        output.say(
          `${parameters.toLocaleString('en')} parameters; ${documents} documents, ${formatBytes(bytes)}, ${tokens.toLocaleString('en')} tokens; ${steps} steps`,
        );
        bar = output.progress('pretraining', steps);
      },
      onStep: ({ step, loss, tokensPerSecond }) =>
        bar?.update(step, `loss ${loss.toFixed(3)}, ${tokensPerSecond.toFixed(0)} tok/s`),
    });
  const result = await withInterrupt(output, 'stopping after this step', work).finally(() => bar?.stop());
  const { status: ended, step, loss, tokensPerSecond, seconds, peakBytes, parameters, bitsPerByte } = result;
  const bits = Object.entries(bitsPerByte ?? {}).map(([name, value]) => `${name} ${value.toFixed(3)}`);
  output.result(
    {
      status: ended,
      out: options.out,
      steps: step,
      loss,
      tokensPerSecond,
      seconds,
      peakBytes,
      parameters,
      bitsPerByte,
    },
    () =>
      `${ended}: ${step} steps in ${seconds.toFixed(0)} s, ${lossText(loss)}, ${tokensPerSecond.toFixed(0)} tok/s` +
      (bits.length ? `; held-out bits per byte: ${bits.join(', ')}` : ''),
  );
  device.close();
  if (ended === 'aborted') throw new Interrupted();
}

export function define(command: Command): Command {
  return withCommonOptions(command)
    .requiredOption('-c, --config <recipe.yaml>', 'recipe: model, tokenizer, data, training')
    .requiredOption('--out <dir>', 'folder for the model, checkpoints and logs')
    .option('--resume', 'go on from the last checkpoint in --out')
    .option('--force', 'write over what --out holds')
    .action((options: Options) => run(options, new Output(options.json ?? false)));
}
