/**
 * The cells of the study: each is measured by itself and kept in a file of its own as soon as it is done, under a hash of
 * all that its result depends on. A run that was stopped or killed loses at most the cell that ran.
 */
import { CellStore, type FileSystem, identityHash, joinPath, type ModelIdentity } from 'krait/io';
import type { Precision } from 'krait/train';
import type { Method } from './methods.ts';
import type { Scores } from './scoring.ts';
import type { TuningCost } from './tuning.ts';

/** What a cell is; `model` is a label. */
export type CellSpec =
  | { readonly kind: 'untuned'; readonly model: string; readonly precision: Precision; readonly seed: number }
  | { readonly kind: 'trial'; readonly model: string; readonly method: Method; readonly rate: number }
  | { readonly kind: 'meta'; readonly model: string; readonly seed: number }
  | {
      readonly kind: 'tuned';
      readonly model: string;
      readonly method: Method;
      readonly precision: Precision;
      readonly seed: number;
    };

export type UntunedSpec = Extract<CellSpec, { kind: 'untuned' }>;
export type TrialSpec = Extract<CellSpec, { kind: 'trial' }>;
/** The meta-training of a model, whose weights later cells of its seed start from. */
export type MetaSpec = Extract<CellSpec, { kind: 'meta' }>;
export type TunedSpec = Extract<CellSpec, { kind: 'tuned' }>;

export interface CellResult {
  readonly seconds: number;
  /** Null of trials and meta-training, and where tuning diverged. */
  readonly scores: Scores | null;
  readonly cost: TuningCost | null;
  /** Learning rate of what was trained; null where nothing was. */
  readonly rate: number | null;
  /** Why there is no more: what a diverged tuning said. */
  readonly failure: string | null;
  /** Hashes of the files of meta-training, by name. */
  readonly weights?: ModelIdentity;
}

export interface StudyCell<S extends CellSpec = CellSpec> {
  readonly spec: S;
  readonly result: CellResult;
}

const CELLS_FOLDER = 'cells';
const TUNING_FOLDER = 'tuning';
const META_FOLDER = 'meta';
/** What a run of the study leaves in its folder. */
export const STUDY_FOLDERS = [CELLS_FOLDER, TUNING_FOLDER, META_FOLDER];

/** A name for people, and for the cell's file. */
export function cellName(spec: CellSpec): string {
  switch (spec.kind) {
    case 'untuned':
      return `${spec.model}, untuned, ${spec.precision}, seed ${spec.seed}`;
    case 'trial':
      return `${spec.model}, trial of ${spec.method}, rate ${spec.rate}`;
    case 'meta':
      return `${spec.model}, meta-training, seed ${spec.seed}`;
    case 'tuned':
      return `${spec.model}, ${spec.method}, ${spec.precision}, seed ${spec.seed}`;
  }
}

/** Labels that differ in what a file's name cannot have are told apart by the number of the model. */
export const cellFile = (spec: CellSpec, modelNumber: number): string =>
  `${modelNumber}-${cellName(spec).replace(/[^\w.-]+/g, '-')}`;

/** The folder of a study: results, checkpoints of tunings that run, meta-trained weights. */
export class StudyFolder {
  readonly cells: CellStore<CellResult>;

  constructor(
    private readonly files: FileSystem,
    private readonly folder: string,
    onWarning?: (line: string) => void,
  ) {
    this.cells = new CellStore(files, joinPath(folder, CELLS_FOLDER), { onWarning });
  }

  /** Where a tuning keeps its checkpoints: another place for another identity, so that none goes on from another's. */
  tuningFolder = (name: string, identity: unknown): Promise<string> => this.ownFolder(TUNING_FOLDER, name, identity);

  /** Where meta-trained weights are kept. */
  metaFolder = (name: string, identity: unknown): Promise<string> => this.ownFolder(META_FOLDER, name, identity);

  /** Removes what other meta-trainings of that name left; `kept` is what `metaFolder` gave. */
  async removeOtherMeta(name: string, kept: string): Promise<void> {
    const folder = joinPath(this.folder, META_FOLDER);
    if (!(await this.files.exists(folder))) return;
    for (const entry of await this.files.list(folder)) {
      const path = joinPath(folder, entry);
      const isOfName = entry.startsWith(`${name}-`) && /^[0-9a-f]{12}$/.test(entry.slice(name.length + 1));
      if (isOfName && path !== kept) await this.files.remove(path);
    }
  }

  private async ownFolder(kind: string, name: string, identity: unknown): Promise<string> {
    const hash = await identityHash(identity);
    return joinPath(this.folder, kind, `${name}-${hash.slice(0, 12)}`);
  }
}
