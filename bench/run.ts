/**
 * The benchmark suite: Krait and its rivals in turn, each in a process of its own, on the same shapes and weights.
 *
 *   npm install --prefix bench --ignore-scripts     # the rivals that npm has
 *   npx tsx bench/run.ts [--only matmul,decode,...] [--rounds 5] [--threads N] [--quick] [--resume]
 *       [--python PATH] [--work DIR] [--out FILE] [--docs FILE] [--json]
 *
 * Prints a table (with --json the document), writes the results to --out (bench/results.json) after every
 * measurement and the report to --docs (docs/benchmarks.md; a quick run writes none unless told). --resume goes on
 * with a run that was killed; --only replaces those results and keeps the others. The Python of --python or
 * KRAIT_ORACLE_PYTHON needs torch, transformers and safetensors. Exit codes: 0 done, 1 a measurement failed or contestants
 * do not compute the same, 2 wrong usage.
 */
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { MEASUREMENTS } from './measurements/index.ts';
import { describeMachine, kraitVersion } from './suite/machine.ts';
import type { Context, Measurement } from './suite/measurement.ts';
import { figuresTable, type Notes, reportText } from './suite/report.ts';
import {
  failuresOf,
  METHOD,
  planRun,
  type Result,
  type Results,
  readResults,
  writeResults,
  writeWhole,
} from './suite/store.ts';

const at = (path: string): string => fileURLToPath(new URL(path, import.meta.url));
const NAMES = MEASUREMENTS.map(({ name }) => name);

class Usage extends Error {}

function readOptions() {
  const { values } = parseArgs({
    options: {
      only: { type: 'string' },
      rounds: { type: 'string', default: '5' },
      threads: { type: 'string', default: '2' },
      quick: { type: 'boolean', default: false },
      resume: { type: 'boolean', default: false },
      python: { type: 'string', default: process.env['KRAIT_ORACLE_PYTHON'] },
      work: { type: 'string', default: join(tmpdir(), 'krait-bench') },
      out: { type: 'string', default: at('results.json') },
      docs: { type: 'string' },
      json: { type: 'boolean', default: false },
    },
  });
  const whole = (flag: 'rounds' | 'threads'): number => {
    const value = Number(values[flag]);
    if (!Number.isInteger(value) || value < 1)
      throw new Usage(`--${flag}: expected a number >= 1, got ${values[flag]}`);
    return value;
  };
  const wanted = values.only?.split(',').map((name) => name.trim()) ?? NAMES;
  const unknown = wanted.find((name) => !NAMES.includes(name));
  if (unknown !== undefined) throw new Usage(`--only: there is no ${unknown}; give some of ${NAMES.join(',')}`);
  if (values.python !== undefined && !existsSync(values.python)) {
    throw new Usage(`--python: ${values.python} is not there; give the path of a Python that has torch`);
  }
  return { ...values, wanted, rounds: whole('rounds'), threads: whole('threads') };
}

const say = (line: string): void => void process.stderr.write(`${line}\n`);

async function measure(measurement: Measurement, context: Context): Promise<Result> {
  const startedMs = performance.now();
  const krait = kraitVersion();
  const found = await measurement.measure(context);
  const seconds = Math.round((performance.now() - startedMs) / 1000);
  const about = {
    method: METHOD,
    krait,
    finished: new Date().toISOString(),
    isQuick: context.isQuick,
    load: loadavg()[0],
  };
  return { ...about, seconds, ...found };
}

/** Runs what is to be run, writing after each; whether all of it could be. */
async function runAll(plan: { kept: Results; names: readonly string[] }, context: Context, out: string) {
  let results = plan.kept;
  let isWhole = true;
  for (const measurement of MEASUREMENTS.filter(({ name }) => plan.names.includes(name))) {
    const { name, about } = measurement;
    say(`${name}: ${about}`);
    try {
      const result = await measure(measurement, { ...context, say: (line) => say(`  ${name}: ${line}`) });
      results = { ...results, results: { ...results.results, [name]: result } };
      writeResults(out, results);
    } catch (error) {
      isWhole = false;
      say(`${name}: ${(error as Error).message}`);
    }
  }
  return { results, isWhole };
}

async function main(): Promise<number> {
  const options = readOptions();
  const { wanted, rounds, threads, quick: isQuick, resume: isResumed, work, out, python = null } = options;
  mkdirSync(work, { recursive: true });
  const machine = await describeMachine();
  const isPartial = options.only !== undefined;
  const plan = planRun(readResults(out), { machine, wanted, isPartial, isResumed, isQuick });
  const context: Context = { work, threads, isQuick, rounds, python, say };
  const { results, isWhole } = await runAll(plan, context, out);
  const failures = failuresOf(results, wanted);
  writeResults(out, results);
  const docs = options.docs ?? (isQuick ? null : at('../docs/benchmarks.md'));
  if (docs) {
    writeWhole(docs, reportText(results, JSON.parse(readFileSync(at('notes.json'), 'utf8')) as Notes));
    say(`wrote ${docs}`);
  }
  console.log(options.json ? JSON.stringify(results) : figuresTable(results));
  failures.forEach(say);
  return isWhole && failures.length === 0 ? 0 : 1;
}

process.exitCode = await main().catch((error: Error & { code?: string }) => {
  say(error.message);
  return error instanceof Usage || error.code?.startsWith('ERR_PARSE_ARGS') ? 2 : 1;
});
