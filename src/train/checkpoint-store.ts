/**
 * Checkpoints of a run: folders `step-00000100` and two small files, `last` and `best`, that name one each.
 *
 * A checkpoint is written into a folder aside, file by file synced, and renamed; only then is the pointer switched, by
 * an atomic rename too. So a kill or a full disk at any moment leaves `last` at a whole checkpoint. What a killed save
 * left is removed at the next start.
 */
import { FileFormatError } from '../core/index.ts';
import {
  engineDType,
  type FileSystem,
  isRecord,
  joinPath,
  openSafetensors,
  parseJsonObject,
  tensorEntry,
  writeSafetensors,
} from '../io/index.ts';
import type { Device, Tensor } from '../tensor/index.ts';

export const CHECKPOINT_FOLDER = 'checkpoints';
const STATE_FILE = 'state.json';
const ASIDE = '.tmp-';

export type Pointer = 'last' | 'best';

/** Content of a checkpoint: groups of tensors, one file each, and plain JSON. */
export interface CheckpointContent {
  readonly groups: Readonly<Record<string, ReadonlyMap<string, Tensor>>>;
  readonly json: Record<string, unknown>;
}

const folderOf = (step: number): string => `step-${String(step).padStart(8, '0')}`;
const stepOf = (name: string): number | undefined => {
  const digits = /^step-(\d{8,})$/.exec(name)?.[1];
  return digits === undefined ? undefined : Number(digits);
};

export class CheckpointStore {
  private readonly folder: string;

  constructor(
    private readonly files: FileSystem,
    run: string,
  ) {
    this.folder = joinPath(run, CHECKPOINT_FOLDER);
  }

  pathOf(step: number): string {
    return joinPath(this.folder, folderOf(step));
  }

  /** Whether there is a whole checkpoint of a step. */
  has(step: number): Promise<boolean> {
    return this.files.exists(joinPath(this.pathOf(step), STATE_FILE));
  }

  /** The step that a pointer names, or undefined. @throws FileFormatError if what it names is not there */
  async pointer(which: Pointer): Promise<number | undefined> {
    const path = joinPath(this.folder, which);
    if (!(await this.files.exists(path))) return undefined;
    const name = (await this.files.readText(path)).trim();
    const step = stepOf(name);
    if (step === undefined || !(await this.files.exists(joinPath(this.folder, name, STATE_FILE)))) {
      throw new FileFormatError(path, `names the checkpoint ${JSON.stringify(name)}, which is not there`, REMEDY);
    }
    return step;
  }

  /**
   * Removes what no pointer leads to: folders aside of killed saves, and checkpoints that were written but never
   * became the last. `isFresh` removes everything, for a run that starts anew.
   */
  async clean(isFresh: boolean): Promise<void> {
    const { files, folder } = this;
    if (!(await files.exists(folder))) return;
    if (isFresh) return files.remove(folder);
    const last = (await this.pointer('last')) ?? -1;
    for (const name of await files.list(folder)) {
      const step = stepOf(name);
      if (name.startsWith(ASIDE) || (step !== undefined && step > last)) await files.remove(joinPath(folder, name));
    }
  }

  /** Writes a checkpoint whole or not at all, and makes `which` point to it. */
  async save(step: number, content: CheckpointContent, which: readonly Pointer[]): Promise<void> {
    const { files, folder } = this;
    const aside = joinPath(folder, `${ASIDE}${folderOf(step)}`);
    await files.remove(aside);
    try {
      await files.makeFolder(aside);
      for (const [group, tensors] of Object.entries(content.groups)) {
        const entries = [...tensors].map(([name, tensor]) => tensorEntry(name, tensor));
        await writeSafetensors(files, joinPath(aside, `${group}.safetensors`), entries, { krait: 'checkpoint' });
      }
      await files.writeAtomic(joinPath(aside, STATE_FILE), `${JSON.stringify(content.json, null, 2)}\n`);
      await files.remove(this.pathOf(step));
      await files.rename(aside, this.pathOf(step));
    } catch (error) {
      await files.remove(aside).catch(() => undefined);
      throw error;
    }
    for (const pointer of which) await this.point(pointer, step);
  }

  async point(which: Pointer, step: number): Promise<void> {
    await this.files.writeAtomic(joinPath(this.folder, which), `${folderOf(step)}\n`);
  }

  /** Removes all but the newest `keep` checkpoints and what a pointer names. */
  async prune(keep: number): Promise<void> {
    const named = [await this.pointer('last'), await this.pointer('best')];
    const steps = (await this.files.list(this.folder)).map(stepOf).filter((step) => step !== undefined);
    const old = steps.sort((a, b) => b - a).slice(keep);
    for (const step of old) if (!named.includes(step)) await this.files.remove(this.pathOf(step));
  }

  async readJson(step: number): Promise<Record<string, unknown>> {
    const path = joinPath(this.pathOf(step), STATE_FILE);
    return parseJsonObject(path, await this.files.readText(path));
  }

  /**
   * Fills tensors from a group of a checkpoint.
   * @throws CheckpointError if one is missing or has another shape or type
   */
  async readInto(step: number, group: string, tensors: ReadonlyMap<string, Tensor>): Promise<void> {
    const source = await openSafetensors(this.files, joinPath(this.pathOf(step), `${group}.safetensors`));
    try {
      for (const [name, tensor] of tensors) source.info(name, tensor.shape);
      const extra = [...source.tensors.keys()].find((name) => !tensors.has(name));
      if (extra !== undefined) {
        throw new FileFormatError(source.path, `tensor ${extra} is not part of this run`, REMEDY);
      }
      for (const [name, tensor] of tensors) {
        tensor.write(await source.readAs(name, tensor.dtype));
      }
    } finally {
      await source.close();
    }
  }

  /** All tensors of a group as fresh ones; none if the checkpoint has no such group. */
  async readNew(step: number, group: string, device: Device): Promise<Map<string, Tensor>> {
    const path = joinPath(this.pathOf(step), `${group}.safetensors`);
    const tensors = new Map<string, Tensor>();
    if (!(await this.files.exists(path))) return tensors;
    const source = await openSafetensors(this.files, path);
    await source.close();
    for (const [name, { shape, dtype }] of source.tensors) {
      tensors.set(name, device.keep(device.empty(shape, engineDType(dtype))));
    }
    await this.readInto(step, group, tensors);
    return tensors;
  }
}

const REMEDY = 'remove the checkpoints folder to start anew';

/** A number of a checkpoint's JSON. */
export function numberOf(json: Record<string, unknown>, key: string, where: string): number {
  const value = json[key];
  if (typeof value === 'number') return value;
  throw new FileFormatError(where, `${key}: expected a number, got ${JSON.stringify(value)}`, REMEDY);
}

/** An object of a checkpoint's JSON. */
export function recordOf(json: Record<string, unknown>, key: string, where: string): Record<string, unknown> {
  const value = json[key];
  if (isRecord(value)) return value;
  throw new FileFormatError(where, `${key}: expected an object, got ${JSON.stringify(value)}`, REMEDY);
}
