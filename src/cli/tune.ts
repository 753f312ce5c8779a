/** `krait tune`: fine-tunes a model on JSONL records. */
import type { Command } from 'commander';
import { UsageError } from '../core/index.ts';
import { formatBytes } from '../report/terminal.ts';
import { flagName } from '../train/setting.ts';
import type { FineTunePlan, FineTuneResult, TuneConfig } from '../tune/index.ts';
import { CONFIG_SETTINGS, PLACE_SETTINGS } from '../tune/settings.ts';
import { Interrupted, withInterrupt } from './interrupt.ts';
import { type CommonOptions, type ProfileFlag, withCommonOptions, withProfileOption } from './options.ts';
import { lossText, type Output, outputOf, type Progress } from './output.ts';
import { givenSettings, withSettingFlags } from './setting-flags.ts';

interface Options extends CommonOptions {
  config?: string;
  resume?: boolean;
  force?: boolean;
  revision?: string;
  profile: ProfileFlag;
  [flag: string]: unknown;
}

async function readConfig(options: Options, command: Command): Promise<TuneConfig> {
  const { configOf, mergeTuneConfigs, parseTuneYaml } = await import('../tune/index.ts');
  const { nodeFiles } = await import('./files.ts');
  const file = options.config ? parseTuneYaml(options.config, await nodeFiles.readText(options.config)) : {};
  const config = mergeTuneConfigs(file, configOf('krait tune', givenSettings(command, CONFIG_SETTINGS)));
  const { model, data, out } = PLACE_SETTINGS;
  for (const setting of [model, data, out]) {
    if (config[setting.key]) continue;
    throw new UsageError(`krait tune: ${flagName(setting)} is missing; give it, or ${setting.key} in the file of -c`);
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

function resultLine({ status, step, loss, best, tokensPerSecond, peakBytes }: FineTuneResult, out: string): string {
  const steps = `${status}: ${step} steps, ${lossText(loss)}`;
  const validation = best ? `, best validation loss ${best.loss.toFixed(4)} at step ${best.step}` : '';
  const cost = `${tokensPerSecond.toFixed(0)} tok/s, ${formatBytes(peakBytes)} at most; ${out}`;
  return `${steps}${validation}, ${cost}${status === 'aborted' ? '; go on with --resume' : ''}`;
}

async function run(options: Options, command: Command, output: Output): Promise<void> {
  const config = await readConfig(options, command);
  const { fineTune } = await import('../tune/index.ts');
  const { nodeFiles } = await import('./files.ts');
  const { checkOutputFolder } = await import('./output-folder.ts');
  const { openModel } = await import('./session.ts');
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
    () => `${resultLine(result, out)}${report ? `\n\n${report.text}` : ''}`,
  );
  close();
  if (status === 'aborted') throw new Interrupted();
}

export function define(command: Command): Command {
  const { model, ...others } = CONFIG_SETTINGS;
  withCommonOptions(withProfileOption(command)).option(
    '-c, --config <file.yaml>',
    'settings from a file; flags win over it',
  );
  withSettingFlags(command, { model }).option('--revision <name>', 'branch, tag or commit on the hub');
  return withSettingFlags(command, others)
    .option('--resume', 'go on from the last checkpoint in --out')
    .option('--force', 'write over what --out holds')
    .action((options: Options, self: Command) => run(options, self, outputOf(options)));
}
