/** `krait generate` from nothing to its first token, as a program of an installed package. */
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { copyFile, link, mkdir, rm, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { figure, rateText } from '../suite/figures.ts';
import type { Context, Figure, Measurement } from '../suite/measurement.ts';
import { median } from '../suite/statistics.ts';
import { modelFolder } from '../suite/weights.ts';

const at = (path: string): string => fileURLToPath(new URL(`../../${path}`, import.meta.url));
const PROMPT = 'Hello, how are you?';

/** The files of this clone where an installation has them: no sources beside, so nothing is checked or built. */
async function installation(work: string): Promise<string> {
  const folder = join(work, 'installed');
  await rm(folder, { recursive: true, force: true });
  await mkdir(join(folder, 'bin'), { recursive: true });
  await copyFile(at('bin/krait.mjs'), join(folder, 'bin/krait.mjs'));
  for (const name of ['dist', 'package.json']) await symlink(at(name), join(folder, name));
  return join(folder, 'bin/krait.mjs');
}

/** The model with the tokenizer of the one that the package carries: any does, speed does not depend on it. */
async function writerModel(context: Context): Promise<string> {
  const model = await modelFolder(context);
  const folder = join(context.work, 'with-tokenizer');
  if (!existsSync(folder)) {
    await mkdir(folder);
    for (const name of ['config.json', 'model.safetensors']) await link(join(model, name), join(folder, name));
    await copyFile(at('models/base/tokenizer.json'), join(folder, 'tokenizer.json'));
  }
  return folder;
}

interface Run {
  readonly firstToken: number;
  readonly exit: number;
}

/** Runs the command; seconds until its first output, which is the prompt with the first token, and until it ends. */
function run(command: readonly string[]): Promise<Run> {
  return new Promise((resolve, reject) => {
    const startedMs = performance.now();
    const seconds = () => (performance.now() - startedMs) / 1000;
    const child = spawn(process.execPath, command, { stdio: ['ignore', 'pipe', 'pipe'] });
    let firstToken: number | null = null;
    let errors = '';
    child.stdout.on('data', () => {
      firstToken ??= seconds();
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      errors += text;
    });
    child.on('close', (code) => {
      if (code === 0 && firstToken !== null) resolve({ firstToken, exit: seconds() });
      else reject(new Error(errors.trim().split('\n').pop() || `krait generate ended with ${code}`));
    });
  });
}

export const coldStart: Measurement = {
  name: 'cold-start',
  about: '`krait generate` until its first token',
  async measure(context) {
    const model = await writerModel(context);
    const flags = ['--model', model, '--prompt', PROMPT, '--max-tokens', '1'];
    await run([at('bin/krait.mjs'), 'generate', ...flags]); // brings dist/ up to date, and the weights into the page cache
    const program = await installation(context.work);
    const types = ['f32', 'bf16'] as const;
    const commands = types.map((dtype) => [program, 'generate', ...flags, '--dtype', dtype]);
    const runs: Run[][] = types.map(() => []);
    for (let round = 0; round < (context.isQuick ? 3 : 9); round++) {
      for (const [i, command] of commands.entries()) runs[i].push(await run(command));
    }
    const figures = types.map(
      (dtype, i): Figure =>
        figure({ row: 'cold-start', what: dtype, unit: 's', most: 0.6 }, () => {
          const [first, exit] = [runs[i].map((one) => one.firstToken), runs[i].map((one) => one.exit)];
          return { value: median(first), from: `first token ${rateText(first, 's')}, end ${rateText(exit, 's')}` };
        }),
    );
    return { figures, raw: Object.fromEntries(types.map((dtype, i) => [dtype, runs[i]])) };
  },
};
