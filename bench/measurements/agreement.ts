/** Whether node-llama-cpp, on the files that Krait wrote, computes what Krait computes: else its speed means nothing. */
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { Check, Measurement } from '../suite/measurement.ts';
import { ggufFile, modelFolder } from '../suite/weights.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

/** What a program printed, and the code that it ended with. */
interface Ended {
  readonly stdout?: string;
  readonly stderr?: string;
  readonly code?: unknown;
}

/** Lines that say something, those first that say what was computed. */
const lines = (text: string | undefined): string[] =>
  (text ?? '')
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '' && !line.startsWith('Krait: '));

/** The verdict of `llama-tokens.ts` on a type: its exit code. Without the rival nothing was compared. */
export function verdictOf(type: string, { stdout, stderr, code = 0 }: Ended): Check {
  const said = lines(stdout)
    .slice(0, 4)
    .join('; ')
    .replace(/^(ok|FAIL) +/, '')
    .replace(/ +/g, ' ');
  const text = `logits and greedy tokens of node-llama-cpp, ${said || `${type}: ${lines(stderr).pop() ?? 'no answer'}`}`;
  const isMissing = said === '' && text.includes('npm install --prefix bench');
  return { isOk: isMissing ? null : code === 0 && said !== '', text };
}

export const agreement: Measurement = {
  name: 'agreement',
  about: 'logits and greedy tokens of node-llama-cpp against Krait, on the same weights',
  async measure(context) {
    const model = await modelFolder(context);
    const types = context.isQuick ? (['f32'] as const) : (['f32', 'bf16', 'q8_0'] as const);
    const checks: Check[] = [];
    for (const type of types) {
      await ggufFile(context, type);
      context.say(type);
      const flags = { model, types: type, prompts: 5, tokens: 40, threads: context.threads, keep: context.work };
      const args = Object.entries(flags).flatMap(([name, value]) => [`--${name}`, String(value)]);
      const command = ['--import', 'tsx', 'bench/rivals/llama-tokens.ts', ...args];
      const ended: Ended = await promisify(execFile)(process.execPath, command, { cwd: ROOT }).catch((error) => error);
      checks.push(verdictOf(type, ended));
    }
    return { figures: [], checks, raw: null };
  },
};
