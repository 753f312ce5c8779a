/**
 * Errors are data: what was wrong, what was expected, what to do. The command line prints `message` on one
 * line; `UsageError` exits with 2, every other `KraitError` with 1.
 */

export class KraitError extends Error {
  /**
   * Exit code of a command that fails with it. The command line recognises errors of Krait by this field, from any copy
   * of the package.
   */
  readonly exitCode: number = 1;

  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = new.target.name;
  }
}

/** Wrong flags, config keys or arguments: exit code 2. */
export class UsageError extends KraitError {
  override readonly exitCode = 2;
}

/** A shape that an operation cannot take: `[op] argument: expected X, got Y`. */
export class ShapeError extends KraitError {
  constructor(
    readonly op: string,
    readonly argument: string,
    readonly expected: string,
    readonly got: readonly number[] | string,
  ) {
    super(`[${op}] ${argument}: expected ${expected}, got ${typeof got === 'string' ? got : `[${got.join(', ')}]`}`);
  }
}

export class DTypeError extends KraitError {
  constructor(
    readonly op: string,
    readonly argument: string,
    readonly expected: string,
    readonly got: string,
  ) {
    super(`[${op}] ${argument}: expected ${expected}, got ${got}`);
  }
}

/** A kernel or dtype that a device does not have. */
export class UnsupportedOpError extends KraitError {
  constructor(
    readonly op: string,
    readonly dtype: string,
    readonly backend: string,
    remedy = 'use another device or dtype',
  ) {
    super(`[${op}] ${dtype} is not supported on ${backend}; ${remedy}`);
  }
}

/** A file that is not what it should be. `file` always names it. */
export class FileFormatError extends KraitError {
  constructor(
    readonly file: string,
    problem: string,
    readonly remedy?: string,
  ) {
    super(`${file}: ${problem}${remedy ? `; ${remedy}` : ''}`);
  }
}

/** A tensor in a checkpoint that contradicts the model. */
export class CheckpointError extends FileFormatError {
  constructor(
    readonly key: string,
    readonly expected: string,
    readonly got: string,
    file: string,
    remedy?: string,
  ) {
    super(file, `tensor ${key}: expected ${expected}, got ${got}`, remedy);
  }
}

/** Training whose loss or gradient is not finite. */
export class DivergedError extends KraitError {
  constructor(
    /** Optimiser step, counted from 1. */
    readonly step: number,
    /** What is not finite, with its value: `loss is NaN`. */
    readonly reason: string,
    /** State of the run, and remedies. */
    remedies: readonly string[] = [],
  ) {
    super(`step ${step}: the ${[reason, ...remedies].join('; ')}`);
  }
}

/** A configuration value that cannot be used. */
export class ConfigError extends UsageError {}

/** Something missing in the surroundings (compiler, data, network), with what to do about it. */
export class EnvironmentError extends KraitError {
  constructor(
    problem: string,
    readonly remedies: readonly string[],
  ) {
    super(`${problem}; ${remedies.join(', or ')}`);
  }
}
