/** A run that is killed again and again at random moments ends with the same bytes as one that was left alone. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { HostRandom } from '../core/index.ts';
import { NODE_FLAGS } from '../core/testing/module-process.ts';
import { onlyInAll } from '../core/testing/only-in-all.ts';

const SCRIPT = fileURLToPath(new URL('testing/resumable-run.ts', import.meta.url));

/** Runs until it ends, or is killed `delayMs` after it has printed `step`. Returns the last step that was printed. */
function run(folder: string, kill?: { step: number; delayMs: number }): Promise<{ code: number | null; last: number }> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [...NODE_FLAGS, SCRIPT, folder], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let last = 0;
    child.stdout.on('data', (data: Buffer) => {
      last = Number(`${data}`.trim().split('\n').pop());
      if (kill && last >= kill.step) setTimeout(() => child.kill('SIGKILL'), kill.delayMs);
    });
    child.on('error', reject);
    child.on('close', (code) => resolve({ code, last }));
  });
}

const isSlow = onlyInAll('five processes');
test(
  'SIGKILL at random moments, then resume: the adapter is byte for byte that of an uninterrupted run',
  isSlow,
  async () => {
    const [plain, killed] = await Promise.all([0, 1].map(() => mkdtemp(join(tmpdir(), 'krait-kill-'))));
    const random = new HostRandom(12);
    assert.equal((await run(plain)).code, 0);
    const moments = [];
    for (const from of [1, 8, 16]) {
      const moment = { step: from + random.integer(6), delayMs: random.integer(12) };
      moments.push(moment);
      const { code } = await run(killed, moment);
      assert.ok(code !== 0 || from > 1, 'the first run was killed'); // a later one may be quicker
    }
    assert.equal((await run(killed)).code, 0);
    const message = `killed at ${JSON.stringify(moments)}`;
    for (const name of ['adapter/adapter_model.safetensors', 'adapter/adapter_config.json']) {
      assert.deepEqual(await readFile(join(killed, name)), await readFile(join(plain, name)), message);
    }
    const steps = (await readFile(join(killed, 'metrics.jsonl'), 'utf8'))
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, number>)
      .filter((line) => 'loss' in line)
      .map(({ step }) => step);
    assert.deepEqual(
      steps,
      [...Array(24).keys()].map((i) => i + 1),
      message,
    );
    await Promise.all([plain, killed].map((folder) => rm(folder, { recursive: true })));
  },
);
