/**
 * The results of a run as one JSON document, written after every measurement: aside first, then renamed, so that a run
 * that is killed leaves the last whole one, and can go on from it.
 */
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import type { Machine } from './machine.ts';
import type { Measured } from './measurement.ts';

const FORMAT = 1;
/**
 * How figures are made of what was read off. Results without it are of the suite before: ratios of medians, shares of the
 * highest roof of a run, products of bf16 against the peak of f32, `remarks` that nothing compared.
 */
export const METHOD = 2;

export interface Result extends Measured {
  readonly method?: number;
  readonly remarks?: readonly string[];
  readonly krait: string;
  /** ISO 8601. */
  readonly finished: string;
  readonly seconds: number;
  readonly isQuick: boolean;
  /** Processes that wanted a core in the last minute, at the end: the suite's own are no more than there are cores. */
  readonly load: number;
}

export interface Results {
  readonly format: number;
  readonly machine: Machine;
  /** By name of the measurement. */
  readonly results: Readonly<Record<string, Result>>;
}

export const noResults = (machine: Machine): Results => ({ format: FORMAT, machine, results: {} });

/**
 * The results that stand in a file; null if there is none.
 * @throws Error in one line if it is not such a file
 */
export function readResults(file: string): Results | null {
  if (!existsSync(file)) return null;
  const remedy = 'give another with --out, or remove it';
  let document: Partial<Results>;
  try {
    document = JSON.parse(readFileSync(file, 'utf8')) as Partial<Results>;
  } catch (error) {
    throw new Error(`${file}: not JSON (${(error as Error).message}); ${remedy}`);
  }
  if (document?.format !== FORMAT || !document.machine || !document.results) {
    throw new Error(`${file}: no results of the benchmark suite in format ${FORMAT}; ${remedy}`);
  }
  return document as Results;
}

/** Writes text aside, then renames it to `file`. */
export function writeWhole(file: string, text: string): void {
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(`${file}.new`, text);
  renameSync(`${file}.new`, file);
}

export const writeResults = (file: string, results: Results): void =>
  writeWhole(file, `${JSON.stringify(results, null, 1)}\n`);

export const isNow = ({ method }: Result): boolean => method === METHOD;

/** Of the measurements that are named, what contestants do not compute alike. */
export const failuresOf = ({ results }: Results, names: readonly string[]): string[] =>
  names.flatMap((name) => {
    const failed = results[name]?.checks?.filter(({ isOk }) => isOk === false) ?? [];
    return failed.map(({ text }) => `${name}: FAIL ${text}`);
  });

const sameMachine = (a: Machine, b: Machine): boolean => a.cpu === b.cpu && a.cores === b.cores && a.isa === b.isa;

/** What is to be kept of results that stand there, and what is to be measured. */
export interface Plan {
  readonly kept: Results;
  readonly names: readonly string[];
}

export interface PlanOptions {
  readonly machine: Machine;
  /** All measurements that are wanted. */
  readonly wanted: readonly string[];
  /** Whether others than the wanted ones stay. */
  readonly isPartial: boolean;
  /** Whether wanted ones stay that are there. */
  readonly isResumed: boolean;
  readonly isQuick: boolean;
}

/**
 * Results of another machine are never mixed with those of this one; neither quick ones nor those of another method stand
 * for whole ones.
 */
export function planRun(before: Results | null, options: PlanOptions): Plan {
  const { machine, wanted, isPartial, isResumed, isQuick } = options;
  const old = before && sameMachine(before.machine, machine) ? Object.entries(before.results) : [];
  const stays = ([name, result]: [string, Result]) =>
    wanted.includes(name) ? isResumed && isNow(result) && (isQuick || !result.isQuick) : isPartial || isResumed;
  const kept = { ...noResults(machine), results: Object.fromEntries(old.filter(stays)) };
  return { kept, names: wanted.filter((name) => !(name in kept.results)) };
}
