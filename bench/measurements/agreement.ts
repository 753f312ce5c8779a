/** Whether node-llama-cpp, on the files that Krait wrote, computes what Krait computes: else its speed means nothing. */
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { Measurement } from '../suite/measurement.ts';
import { ggufFile, modelFolder } from '../suite/weights.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

/** Lines that say something, those first that say what was computed. */
const lines = (text: string | undefined): string[] =>
  (text ?? '')
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '' && !line.startsWith('Krait: '));

export const agreement: Measurement = {
  name: 'agreement',
  about: 'logits and greedy tokens of node-llama-cpp against Krait, on the same weights',
  async measure(context) {
    const model = await modelFolder(context);
    const types = context.isQuick ? (['f32'] as const) : (['f32', 'bf16', 'q8_0'] as const);
    const remarks: string[] = [];
    for (const type of types) {
      await ggufFile(context, type);
      context.say(type);
      const flags = { model, types: type, prompts: 2, tokens: 16, threads: context.threads, keep: context.work };
      const args = Object.entries(flags).flatMap(([name, value]) => [`--${name}`, String(value)]);
      const command = ['--import', 'tsx', 'bench/rivals/llama-tokens.ts', ...args];
      const { stdout, stderr } = await promisify(execFile)(process.execPath, command, { cwd: ROOT }).catch(
        (error) => error,
      );
      remarks.push(lines(stdout).slice(0, 4).join('; ') || `FAIL ${type}: ${lines(stderr).pop() ?? 'no answer'}`);
    }
    return { figures: [], remarks, raw: null };
  },
};
