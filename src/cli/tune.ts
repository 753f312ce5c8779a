/** `krait tune`: fine-tunes a model on JSONL records. */
import { type Command, Option } from 'commander';
import { UsageError } from '../core/index.ts';
import { formatBytes } from '../report/terminal.ts';
import type { FineTunePlan, TuneConfig } from '../tune/index.ts';
import { Interrupted, withInterrupt } from './interrupt.ts';
import {
  type CommonOptions,
  integer,
  number,
  type ProfileFlag,
  withCommonOptions,
  withProfileOption,
} from './options.ts';
import { lossText, type Output, outputOf, type Progress } from './output.ts';

interface Options extends CommonOptions {
  config?: string;
  resume?: boolean;
  force?: boolean;
  revision?: string;
  profile: ProfileFlag;
  [flag: string]: unknown;
}

/** Flags that are settings of the run, under the names that the configuration takes. */
const SETTINGS: Record<string, string> = {
  model: 'model',
  data: 'data',
  out: 'output_dir',
  method: 'method',
  validation: 'validation_data',
  seed: 'seed',
  rank: 'r',
  alpha: 'lora_alpha',
  dropout: 'lora_dropout',
  targets: 'target_modules',
  rslora: 'use_rslora',
  lr: 'learning_rate',
  steps: 'max_steps',
  epochs: 'num_train_epochs',
  batchSize: 'per_device_train_batch_size',
  maxLength: 'max_seq_length',
  gradAccumulation: 'gradient_accumulation_steps',
  schedule: 'lr_scheduler_type',
  warmup: 'warmup',
  weightDecay: 'weight_decay',
  batching: 'batching',
  evalEvery: 'eval_steps',
  saveEvery: 'save_steps',
  gradCheckpointing: 'gradient_checkpointing',
};

async function readConfig(options: Options, command: Command): Promise<TuneConfig> {
  const { mergeTuneConfigs, parseTuneConfig, parseTuneYaml } = await import('../tune/index.ts');
  const { nodeFiles } = await import('./files.ts');
  const flags: Record<string, unknown> = {};
  for (const [flag, setting] of Object.entries(SETTINGS))
    if (options[flag] !== undefined) flags[setting] = options[flag];
  const isStated = command.getOptionValueSource('dtype') === 'cli';
  const file = options.config ? parseTuneYaml(options.config, await nodeFiles.readText(options.config)) : {};
  const config = mergeTuneConfigs(
    file,
    parseTuneConfig('krait tune', { ...flags, ...(isStated && { dtype: options.dtype }) }),
  );
  for (const [key, flag] of [
    ['model', '--model'],
    ['data', '--data'],
    ['output_dir', '--out'],
  ] as const) {
    if (!config[key]) throw new UsageError(`krait tune: ${flag} is missing; give it, or ${key} in the file of -c`);
  }
  return config;
}

function describePlan({
  train,
  validation,
  coverage,
  trainableParameters,
  totalParameters,
  steps,
}: FineTunePlan): string[] {
  const share = ((100 * trainableParameters) / totalParameters).toFixed(2);
  const cut = train.truncated ? `, ${train.truncated} cut` : '';
  return [
    `data: ${train.examples.length} records, ${train.tokens} tokens, ${train.targets} with loss${cut}; ${validation?.examples.length ?? 0} for validation`,
    `trained: ${trainableParameters.toLocaleString('en')} of ${totalParameters.toLocaleString('en')} parameters (${share} %)` +
      (coverage ? ` in ${coverage.modules.length} modules` : ''),
    `steps: ${steps}`,
  ];
}

async function run(options: Options, command: Command, output: Output): Promise<void> {
  const config = await readConfig(options, command);
  const { fineTune } = await import('../tune/index.ts');
  const { checkOutputFolder, nodeFiles, openModel } = await import('./session.ts');
  const { checkProfileFile, profiled, reportProfile } = await import('./profile.ts');
  const out = config.output_dir!;
  await checkProfileFile(options.profile);
  await checkOutputFolder(out, { resume: options.resume ?? false, force: options.force });
  // Weights that are trained stay f32 under mixed precision; those that LoRA leaves alone take the half type too.
  const precision = config.dtype ?? 'f32';
  const stored = config.method === 'full' ? 'f32' : precision;
  const { model, device, tokenizer, copySideFiles, close } = await openModel(
    { ...options, dtype: stored, model: config.model! },
    output,
    { activations: precision },
  );
  let bar: Progress | null = null;
  const tune = (signal: AbortSignal) =>
    fineTune({
      model,
      tokenizer,
      files: nodeFiles,
      data: config.data!,
      out,
      config,
      resume: options.resume,
      signal,
      onStart: (plan) => {
        for (const line of describePlan(plan)) output.say(line);
        bar = output.progress('tuning', plan.steps);
      },
      onStep: ({ step, loss, tokensPerSecond }) =>
        bar?.update(step, `loss ${loss.toFixed(4)}, ${tokensPerSecond.toFixed(0)} tok/s`),
      onEval: (step, { loss }) => output.say(`\nstep ${step}: validation loss ${loss.toFixed(4)}`),
    });
  const { result, profile } = await profiled(device.backend, options.profile, () =>
    withInterrupt(output, 'stopping after this step', tune).finally(() => bar?.stop()),
  );
  const { plan, status, step, loss, best, tokensPerSecond, seconds, peakBytes } = result;
  if (status === 'completed' && config.method === 'full') await copySideFiles(out);
  const { trainableParameters, totalParameters, coverage } = plan;
  const covered = coverage?.modules.map(({ name }) => name) ?? null;
  const report = await reportProfile(device.backend, 'tune', profile, options.profile);
  const finalLoss = Number.isFinite(loss) ? loss : null;
  output.result(
    {
      status,
      out,
      steps: step,
      finalLoss,
      best,
      tokensPerSecond,
      seconds,
      peakBytes,
      trainableParameters,
      totalParameters,
      coverage: covered,
      ...(report && { profile: report.json }),
    },
    () =>
      `${status}: ${step} steps, ${lossText(loss)}${best ? `, best validation loss ${best.loss.toFixed(4)} at step ${best.step}` : ''}, ` +
      `${tokensPerSecond.toFixed(0)} tok/s, ${formatBytes(peakBytes)} at most; ${out}` +
      (status === 'aborted' ? '; go on with --resume' : '') +
      (report ? `\n\n${report.text}` : ''),
  );
  close();
  if (status === 'aborted') throw new Interrupted();
}

export function define(command: Command): Command {
  return withCommonOptions(withProfileOption(command))
    .option('-c, --config <file.yaml>', 'settings from a file; flags win over it')
    .option('--model <dir|id>', 'folder of a model, or its id on the hub')
    .option('--revision <name>', 'branch, tag or commit on the hub')
    .option('--data <dir|file>', 'JSONL, or a folder with train.jsonl and perhaps valid.jsonl')
    .option('--validation <file>', 'JSONL with held-out records')
    .option('--out <dir>', 'folder for the result, checkpoints and logs')
    .addOption(new Option('--method <name>', 'what is trained').choices(['lora', 'full']))
    .option('--rank <r>', 'rank of LoRA', integer(1))
    .option('--alpha <a>', 'scale of LoRA', number(0, Number.POSITIVE_INFINITY, { open: true }))
    .option('--dropout <p>', 'dropout on the input of LoRA', number(0, 1))
    .option('--targets <names>', 'modules for LoRA: names with commas, a regular expression, or all-linear')
    .option('--rslora', 'scale by alpha / sqrt(rank)')
    .option('--lr <x>', 'learning rate', number(0, Number.POSITIVE_INFINITY, { open: true }))
    .option('--steps <n>', 'optimiser steps', integer(1))
    .option('--epochs <e>', 'passes over the data', number(0, Number.POSITIVE_INFINITY, { open: true }))
    .option('--batch-size <b>', 'rows of a batch', integer(1))
    .option('--max-length <l>', 'tokens of a row', integer(2))
    .option('--grad-accumulation <g>', 'batches for one step', integer(1))
    .addOption(new Option('--schedule <s>', 'of the learning rate').choices(['constant', 'linear', 'cosine']))
    .option('--warmup <w>', 'steps, or a share of them below 1', number(0))
    .option('--weight-decay <w>', 'decoupled weight decay', number(0))
    .addOption(new Option('--batching <b>', 'how records become rows').choices(['packing', 'padding', 'stream']))
    .option('--eval-every <n>', 'steps between evaluations', integer(0))
    .option('--save-every <n>', 'steps between checkpoints', integer(0))
    .option('--grad-checkpointing', 'keep less memory, compute twice')
    .option('--seed <s>', 'same seed, same result', integer(0, 2 ** 32 - 1))
    .option('--resume', 'go on from the last checkpoint in --out')
    .option('--force', 'write over what --out holds')
    .action((options: Options, self: Command) => run(options, self, outputOf(options)));
}
