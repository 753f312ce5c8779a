/**
 * Fuzzes the safetensors and JSONL readers: no error but a KraitError, no hang, no memory beyond the file's size.
 *
 *   npx tsx test/fuzz-readers.ts [--seconds 60] [--seed N] [--reader safetensors|jsonl] [--case N [--cases M]]
 *
 * Cases are numbered and made from the seed: a failure prints the command that repeats it; `--case` runs that one, or M
 * from there, whatever the time. They run in a worker with a small heap; one that takes longer than 10 s counts as a hang. Prints one JSON document; exit 1 on failure.
 */
import { parseArgs } from 'node:util';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { LOAD_SOURCES } from '../src/core/testing/module-process.ts';
import { checkCase, makeCase, READERS, type Reader } from '../src/io/testing/fuzz-cases.ts';

const HANG_MS = 10_000;
const HEAP_MB = 128;
const SELF = new URL('./fuzz-readers.ts', import.meta.url).href;
const START = `(async () => { ${LOAD_SOURCES} await import('${SELF}'); })()`;

interface Job {
  readonly seed: number;
  readonly readers: readonly Reader[];
  /** First case, and how many; endless if absent. */
  readonly first: number;
  readonly count?: number;
  /** [case in progress, cases done, accepted, rejected]. */
  readonly progress: Int32Array;
}

/** In the worker: cases until told to stop. */
async function runCases({ seed, readers, first, count, progress }: Job): Promise<void> {
  for (let number = first; count === undefined || number < first + count; number++) {
    for (const [i, reader] of readers.entries()) {
      progress[0] = number;
      progress[4] = i;
      const isAccepted = await checkCase(reader, makeCase(reader, seed, number));
      progress[1]++;
      progress[isAccepted ? 2 : 3]++;
    }
  }
}

/** Runs the worker for a time, watching it. */
function watch(job: Job, seconds: number): Promise<string | null> {
  const worker = new Worker(START, {
    eval: true,
    workerData: job,
    resourceLimits: { maxOldGenerationSizeMb: HEAP_MB },
  });
  return new Promise((resolve) => {
    let seen = -1;
    let seenAt = 0;
    let end = Number.POSITIVE_INFINITY;
    const finish = async (failure: string | null) => {
      clearInterval(timer);
      await worker.terminate();
      resolve(failure);
    };
    const timer = setInterval(() => {
      const now = performance.now();
      if (job.progress[1] !== seen) {
        seen = job.progress[1];
        seenAt = now;
      }
      if (Number.isFinite(end) && now - seenAt > HANG_MS) finish(`no end after ${HANG_MS} ms`);
      else if (now > end && job.count === undefined) finish(null);
    }, 50);
    worker.on('message', (message) => {
      if (message === 'done') finish(null);
      else {
        seenAt = performance.now();
        end = seenAt + seconds * 1000;
      }
    });
    worker.on('error', (error) => finish(error.stack ?? error.message));
  });
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      seconds: { type: 'string', default: '60' },
      seed: { type: 'string', default: String(Date.now() % 2 ** 31) },
      reader: { type: 'string' },
      case: { type: 'string' },
      cases: { type: 'string', default: '1' },
    },
  });
  const readers = READERS.filter((reader) => !values.reader || reader === values.reader);
  const seed = Number(values.seed);
  const progress = new Int32Array(new SharedArrayBuffer(5 * 4));
  const job: Job = {
    seed,
    readers,
    first: Number(values.case ?? 0),
    count: values.case ? Number(values.cases) : undefined,
    progress,
  };
  const failure = await watch(job, Number(values.seconds));
  const [number, cases, accepted, rejected, reader] = progress;
  const report = { seed, cases, accepted, rejected, failure };
  if (failure) {
    const name = readers[reader];
    Object.assign(report, { repeat: `npx tsx test/fuzz-readers.ts --seed ${seed} --reader ${name} --case ${number}` });
    process.exitCode = 1;
  }
  console.log(JSON.stringify(report));
}

if (isMainThread) await main();
else {
  parentPort?.postMessage('started');
  await runCases(workerData as Job);
  parentPort?.postMessage('done');
}
