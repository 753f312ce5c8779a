/** Work of `krait generate`. */
import type { OpenedModel } from '../../krait/open.ts';
import { type FinishReason, generate } from '../../models/generate/index.ts';
import { Interrupted, turn, withInterrupt } from '../interrupt.ts';
import type { Output } from '../output.ts';
import { checkProfileFile, profiled, reportProfile } from '../profile.ts';
import { openModel } from '../session.ts';
import { readStdin } from '../stdin.ts';
import type { GenerateFlags } from './command.ts';

interface Run {
  completion: string;
  tokens: number[];
  finish: FinishReason | 'interrupted' | null;
  prefillSeconds: number;
  decodeSeconds: number;
}

export async function run(options: GenerateFlags, output: Output): Promise<void> {
  await checkProfileFile(options.profile);
  const opened = await openModel(options, output);
  try {
    await write(options, opened, output);
  } finally {
    opened.close();
  }
}

/** Streams the completion to standard output, and says how fast it was. */
async function write(
  options: GenerateFlags,
  { model, device, tokenizer, loadSeconds }: OpenedModel,
  output: Output,
): Promise<void> {
  const prompt = options.prompt === '-' ? await readStdin() : options.prompt;
  const promptTokens = tokenizer.encode(prompt).length;
  const done: Run = { completion: '', tokens: [], finish: null, prefillSeconds: 0, decodeSeconds: 0 };
  const print = (text: string) => options.json || process.stdout.write(text);
  const startedMs = performance.now();
  let firstMs = startedMs;
  const stream = async (signal: AbortSignal) => {
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
    withInterrupt(output, 'stopping after this token', stream),
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
  if (finish === 'interrupted') throw new Interrupted();
}
