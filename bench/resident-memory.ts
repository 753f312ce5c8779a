/**
 * Resident memory of a long run, at every fiftieth step, of a LoRA run and of a full fine-tuning run of the model that
 * the repository carries, through the library:
 *
 *   npx tsx bench/resident-memory.ts [--method lora|full] [--steps N] [--batch-size N] [--max-length N]
 *
 * Each run has a process of its own and records of its own lengths, so that blocks are of all shapes. Growth is counted
 * from the first row on; `heap` is what V8 holds for JavaScript, `device` what the device holds for tensors.
 */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { HostRandom } from '../src/core/index.ts';
import { Krait } from '../src/index.ts';

const EVERY = 50;
const WORDS = 'the ship sails over a calm sea and no man knows where the wind will carry it tonight'.split(' ');

const { values } = parseArgs({
  options: {
    method: { type: 'string' },
    steps: { type: 'string', default: '500' },
    'batch-size': { type: 'string', default: '2' },
    'max-length': { type: 'string', default: '128' },
  },
});

interface Row {
  step: number;
  rss: number;
  heap: number;
  heapUsed: number;
  buffers: number;
  device: number;
}

function recordsOf(count: number): { text: string }[] {
  const random = new HostRandom(1);
  const sentence = (words: number) => Array.from({ length: words }, () => WORDS[random.integer(WORDS.length)]);
  return Array.from({ length: count }, () => ({ text: sentence(5 + random.integer(80)).join(' ') }));
}

function rowOf(step: number, krait: Krait): Row {
  const { rss, heapTotal, heapUsed, external } = process.memoryUsage();
  const device = krait.device.memory().bytesReserved;
  return { step, rss, heap: heapTotal, heapUsed, buffers: external, device };
}

async function measure(method: 'lora' | 'full'): Promise<void> {
  const krait = await Krait.load(fileURLToPath(new URL('../models/base', import.meta.url)));
  const rows: Row[] = [];
  await krait.tune({
    method,
    data: recordsOf(2000),
    steps: Number(values.steps),
    batchSize: Number(values['batch-size']),
    maxLength: Number(values['max-length']),
    learningRate: 1e-4,
    onStep({ step }) {
      if (step % EVERY === 0) rows.push(rowOf(step, krait));
    },
  });
  const name = krait.device.name;
  krait.close();
  print(method, name, rows);
}

function print(method: string, device: string, rows: readonly Row[]): void {
  const columns = ['rss', 'heap', 'heapUsed', 'buffers', 'device'] as const;
  const line = (cells: readonly string[]) => console.log(cells.map((cell) => cell.padStart(10)).join(''));
  const mebibytes = (bytes: number) => (bytes / 2 ** 20).toFixed(1);
  const [first] = rows;
  const last = rows[rows.length - 1];
  console.log(`${method} on ${device}, MiB`);
  line(['step', ...columns]);
  for (const row of rows) line([`${row.step}`, ...columns.map((name) => mebibytes(row[name]))]);
  line(['grown', ...columns.map((name) => mebibytes(last[name] - first[name]))]);
  console.log(`rss from step ${first.step} to ${last.step}: ${(100 * (last.rss / first.rss - 1)).toFixed(1)} %\n`);
}

if (values.method === 'lora' || values.method === 'full') await measure(values.method);
else {
  for (const method of ['lora', 'full']) {
    const args = [...process.execArgv, ...process.argv.slice(1), '--method', method];
    const { status } = spawnSync(process.execPath, args, { stdio: 'inherit' });
    if (status !== 0) process.exitCode = 1;
  }
}
