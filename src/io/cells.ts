/**
 * Results on disk, so that interrupted work continues. Each is kept with an identity: a hash of everything that it depends on
 * (weights, data, settings, device). A result with another identity is not returned.
 *
 * `CellStore` has a file for each result, written whole or not at all: for results that take long. `CellLog` has one file
 * with a line for each, appended as they come: for many small ones.
 */
import { FileFormatError, textHash } from '../core/index.ts';
import { type FileSystem, joinPath } from './files.ts';
import { describe, isRecord, oneLine } from './json.ts';

/** Hash of all that a result depends on: a value that JSON can write, keys in their order. */
export const identityHash = (identity: unknown): Promise<string> => textHash(JSON.stringify(identity));

export interface CellStoreOptions {
  /** Key of the result in its file; `result` unless given. */
  readonly key?: string;
  /** Takes a line about a kept result that cannot be used. */
  readonly onWarning?: (line: string) => void;
}

/** A folder of results; each is a file `NAME.json` with `identity` and the result. A name may have `/` in it. */
export class CellStore<R> {
  private readonly key: string;
  private isTold = false;

  constructor(
    private readonly files: FileSystem,
    readonly folder: string,
    private readonly options: CellStoreOptions = {},
  ) {
    this.key = options.key ?? 'result';
  }

  /** Makes the folder. A run can then be resumed from it. */
  prepare(): Promise<void> {
    return this.files.makeFolder(this.folder);
  }

  private pathOf = (name: string): string => joinPath(this.folder, `${name}.json`);

  /**
   * The kept result of a name, as parsed JSON. Null if there is none. Null with a line if it is damaged or has another
   * identity; it is then measured again.
   * @param earlier reads a file of an earlier version, without identity; null if it belongs to something else
   */
  async read(
    name: string,
    identity: unknown,
    earlier?: (document: Record<string, unknown>) => R | null,
  ): Promise<R | null> {
    const path = this.pathOf(name);
    if (!(await this.files.exists(path))) return null;
    let document: unknown;
    try {
      document = JSON.parse(await this.files.readText(path));
    } catch (error) {
      this.options.onWarning?.(`${path}: ${oneLine(error)}; it is measured again`);
      return null;
    }
    if (!isRecord(document)) {
      this.options.onWarning?.(`${path}: not a kept result: ${describe(document)}; it is measured again`);
      return null;
    }
    const result = await this.resultIn(document, identity, earlier);
    if (result === null) this.tellOther(path);
    return result;
  }

  private async resultIn(
    document: Record<string, unknown>,
    identity: unknown,
    earlier: ((document: Record<string, unknown>) => R | null) | undefined,
  ): Promise<R | null> {
    if (document['identity'] === undefined) return earlier?.(document) ?? null;
    const isOfIt = document['identity'] === (await identityHash(identity));
    return isOfIt ? ((document[this.key] as R | undefined) ?? null) : null;
  }

  /** One line for all results of a run. */
  private tellOther(path: string): void {
    if (this.isTold) return;
    this.isTold = true;
    this.options.onWarning?.(
      `${path}: kept from other models, data, settings or another version; it, and others like it, are measured again`,
    );
  }

  /**
   * Keeps a result and replaces the one of the same name. Returns the value as it will be read: numbers that are not finite are null.
   * @param about values beside the result, for people who read the file
   */
  async write(name: string, identity: unknown, result: R, about: Readonly<Record<string, unknown>> = {}): Promise<R> {
    const text = JSON.stringify({ identity: await identityHash(identity), ...about, [this.key]: result });
    await this.files.writeAtomic(this.pathOf(name), `${text}\n`);
    return (JSON.parse(text) as Record<string, R>)[this.key];
  }
}

export interface CellLogOptions<R> {
  /** Name of a result: the key in its line, and the noun in errors. */
  readonly noun: string;
  /** The result in a parsed value; null if it is none. */
  readonly resultOf: (value: unknown) => R | null;
  /** Remedy for a file that holds something else. */
  readonly remedy: string;
}

/** A file of results, one JSON object a line: `{"key": identity, NOUN: result}`. */
export class CellLog<R> {
  private constructor(
    private readonly files: FileSystem,
    private readonly path: string,
    private readonly noun: string,
    private readonly results: Map<string, R>,
  ) {}

  /**
   * Opens the results that a file keeps, made if absent. A last line that a crash cut short is dropped.
   * @throws FileFormatError for a file that holds something else
   */
  static async open<R>(files: FileSystem, path: string, options: CellLogOptions<R>): Promise<CellLog<R>> {
    const content = (await files.exists(path)) ? await files.readText(path) : '';
    const whole = content.slice(0, content.lastIndexOf('\n') + 1);
    const results = new Map<string, R>();
    whole.split('\n').forEach((line, i) => {
      if (line !== '') results.set(...parseLine(`${path}:${i + 1}`, line, options));
    });
    const file = await files.openWritable(path);
    try {
      await file.truncate(new TextEncoder().encode(whole).length);
    } finally {
      await file.close();
    }
    return new CellLog(files, path, options.noun, results);
  }

  /** The result of an identity, by `identityHash`. */
  get(key: string): R | undefined {
    return this.results.get(key);
  }

  /** Returns when the results are on the disk. */
  async put(entries: readonly (readonly [key: string, result: R])[]): Promise<void> {
    const lines = entries.map(([key, result]) => `${JSON.stringify({ key, [this.noun]: result })}\n`);
    const file = await this.files.openWritable(this.path);
    try {
      await file.write(new TextEncoder().encode(lines.join('')));
      await file.sync();
    } finally {
      await file.close();
    }
    for (const [key, result] of entries) this.results.set(key, result);
  }
}

function parseLine<R>(place: string, line: string, { noun, resultOf, remedy }: CellLogOptions<R>): [string, R] {
  const fail = (problem: string) => new FileFormatError(place, `not a kept ${noun}: ${problem}`, remedy);
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch (error) {
    throw fail(oneLine(error));
  }
  const result = isRecord(value) ? resultOf(value[noun]) : null;
  if (!isRecord(value) || typeof value['key'] !== 'string' || result === null) throw fail(describe(value));
  return [value['key'], result];
}
