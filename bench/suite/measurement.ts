/**
 * What a measurement is: it runs Krait and its rivals and gives figures, each of them for a row of `ROWS`. What it is
 * not: it prints nothing and writes nothing but its own files in `work`.
 */
import type { RowId } from './rows.ts';

export type Unit = 'x' | '%' | 's' | 'tok/s';

export interface Figure {
  readonly row: RowId;
  /** Which case of the row. */
  readonly what: string;
  /** Null if it was not measured; `problem` says why. Shares are of 1. */
  readonly value: number | null;
  readonly unit: Unit;
  /** What it should be at least, or at most; neither where nothing was asked. */
  readonly least?: number;
  readonly most?: number;
  /** What it was computed from. */
  readonly from?: string;
  readonly problem?: string;
}

/** Whether contestants compute the same. */
export interface Check {
  /** Null if they could not be compared; `text` says why. */
  readonly isOk: boolean | null;
  readonly text: string;
}

/** A line of a profile: a kernel's share of the time, and of what the roofline allows. */
export interface ProfileLine {
  readonly kernel: string;
  readonly calls: number;
  readonly share: number;
  readonly gflops: number;
  readonly gigabytesPerSecond: number;
  readonly roofShare: number;
  /** The same with a transcendental as one operation; of scans. */
  readonly plainShare?: number;
}

export interface Measured {
  readonly figures: readonly Figure[];
  /** What the kernels did, by name of the work. */
  readonly profiles?: Readonly<Record<string, readonly ProfileLine[]>>;
  readonly checks?: readonly Check[];
  /** Programs that took part, with their versions. */
  readonly programs?: readonly string[];
  /** Everything that was read off, for whoever doubts a figure. */
  readonly raw: unknown;
}

export interface Context {
  /** A folder for models and the like, which outlives the run. */
  readonly work: string;
  readonly threads: number;
  /** Less of everything: for a look, not for the record. */
  readonly isQuick: boolean;
  /** Rounds where the measurement has no reason for fewer. */
  readonly rounds: number;
  /** A Python with torch and transformers; null if there is none. */
  readonly python: string | null;
  /** Tells, in one line, what is under way. */
  say(line: string): void;
}

export interface Measurement {
  readonly name: string;
  /** One line: what is compared. */
  readonly about: string;
  measure(context: Context): Promise<Measured>;
}

/** Whether a figure holds what was asked; null if nothing was, or it was not measured. */
export function holds({ value, least, most }: Figure): boolean | null {
  if (value === null || (least === undefined && most === undefined)) return null;
  return value >= (least ?? Number.NEGATIVE_INFINITY) && value <= (most ?? Number.POSITIVE_INFINITY);
}
