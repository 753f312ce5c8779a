/** `krait generate`: continues a prompt and streams the text. */
import type { Command } from 'commander';
import { type FinishReason, generate } from '../../models/generate/index.ts';
import { Interrupted, turn, withInterrupt } from '../interrupt.ts';
import { checkProfileFile, type ProfileFlag, profiled, reportProfile, withProfileOption } from '../profile.ts';
import {
  integer,
  type ModelOptions,
  number,
  Output,
  openModelAndTokenizer,
  readStdin,
  withModelOptions,
} from '../session.ts';

interface Options extends ModelOptions {
  prompt: string;
  maxTokens: number;
  temperature: number;
  topK?: number;
  topP?: number;
  repetitionPenalty: number;
  stop?: string[];
  seed: number;
  profile: ProfileFlag;
}

interface Run {
  completion: string;
  tokens: number[];
  finish: FinishReason | 'interrupted' | null;
  prefillSeconds: number;
  decodeSeconds: number;
}

async function run(options: Options, output: Output): Promise<void> {
  await checkProfileFile(options.profile);
  const { model, device, tokenizer, loadSeconds } = await openModelAndTokenizer(options, output);
  const prompt = options.prompt === '-' ? await readStdin() : options.prompt;
  const promptTokens = tokenizer.encode(prompt).length;
  const done: Run = { completion: '', tokens: [], finish: null, prefillSeconds: 0, decodeSeconds: 0 };
  const print = (text: string) => options.json || process.stdout.write(text);
  const startedMs = performance.now();
  let firstMs = startedMs;
  const write = async (signal: AbortSignal) => {
    try {
      for await (const { token, text, finish } of generate(model, tokenizer, prompt, { ...options, signal })) {
        if (done.tokens.length === 0) {
          firstMs = performance.now();
          output.flush();
          print(prompt);
        }
        done.tokens.push(token);
        done.completion += text;
        done.finish = finish;
        print(text);
        await turn();
      }
    } catch (error) {
      if (!signal.aborted) throw error;
      done.finish = 'interrupted';
    }
  };
  const { profile } = await profiled(device.backend, options.profile, () =>
    withInterrupt(output, 'stopping after this token', write),
  );
  print(done.tokens.length === 0 ? `${prompt}\n` : '\n');
  done.prefillSeconds = (firstMs - startedMs) / 1000;
  done.decodeSeconds = (performance.now() - firstMs) / 1000;
  const perSecond = (count: number, seconds: number) => (seconds > 0 && count > 0 ? count / seconds : null);
  const timings = {
    loadSeconds,
    prefillTokensPerSecond: perSecond(promptTokens, done.prefillSeconds),
    decodeTokensPerSecond: perSecond(done.tokens.length - 1, done.decodeSeconds),
  };
  const rate = (value: number | null) => (value === null ? '-' : `${value.toFixed(0)} tok/s`);
  output.say(
    `${done.tokens.length} tokens; load ${loadSeconds.toFixed(2)} s, prefill ${rate(timings.prefillTokensPerSecond)}, ` +
      `decode ${rate(timings.decodeTokensPerSecond)}`,
  );
  const report = await reportProfile(device.backend, 'generate', profile, options.profile);
  if (report && !options.json) output.say(`\n${report.text}`);
  const { completion, tokens, finish } = done;
  const about = { device: device.name, dtype: options.dtype, ...(report && { profile: report.json }) };
  output.result({ prompt, completion, tokens, finish, timings, ...about });
  device.close();
  if (finish === 'interrupted') throw new Interrupted();
}

export function define(command: Command): Command {
  return withModelOptions(withProfileOption(command), { takesInt8: true })
    .requiredOption('--prompt <text|->', 'text to continue; - reads standard input')
    .option('--max-tokens <n>', 'most tokens to write', integer(0), 128)
    .option('--temperature <t>', '0 takes the most probable token', number(0), 0)
    .option('--top-k <k>', 'choose among the k most probable', integer(1))
    .option('--top-p <p>', 'choose among the most probable that hold this share', number(0, 1, { open: true }))
    .option(
      '--repetition-penalty <x>',
      'above 1 makes tokens that were there less probable',
      number(0, Number.POSITIVE_INFINITY, { open: true }),
      1,
    )
    .option('--stop <text...>', 'texts that end the completion')
    .option('--seed <s>', 'same seed, same text', integer(0), 0)
    .action((options: Options) => run(options, new Output(options.json ?? false)));
}
