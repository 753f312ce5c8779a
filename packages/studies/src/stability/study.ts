/**
 * The stability study of several models: each is a cell, measured by itself and kept in a file of its own, so that a run
 * that was stopped goes on where it was.
 */
import { type CacheFileSystem, CellStore, joinPath, loadTokenizer, modelIdentity } from 'krait/io';
import { loadModel } from 'krait/models';
import type { Device } from 'krait/tensor';
import { detachLora, loadAdapter } from 'krait/tune';
import { type ModelStability, measureStability, type OpenedModel } from './measure.ts';
import type { HalfType, StabilitySettings } from './settings.ts';
import { tokensOf } from './texts.ts';

/** One model of the study. */
export interface StabilityModel {
  /** What it is called; no two have the same. */
  readonly label: string;
  /** Folder of the model, and of its adapter, if it has one. */
  readonly folder: string;
  readonly adapter: string | null;
}

export interface StabilityCell extends StabilityModel {
  readonly seconds: number;
  /** Read from a file: what is not a finite number is null there. */
  readonly result: ModelStability;
}

export interface StabilityStudy {
  readonly settings: StabilitySettings;
  /** What was read. */
  readonly source: string;
  readonly device: string;
  readonly cells: readonly StabilityCell[];
}

export interface StabilityInput {
  readonly device: Device;
  readonly files: CacheFileSystem;
  readonly models: readonly StabilityModel[];
  readonly settings: StabilitySettings;
  readonly documents: readonly string[];
  readonly source: string;
  /** Folder whose `cells` keep results; none are kept without. */
  readonly out: string | null;
  readonly signal?: AbortSignal;
  readonly onWarning?: (line: string) => void;
  readonly onModel?: (label: string, isKept: boolean) => void;
  readonly onProgress?: (share: number, note: string) => void;
}

/** Folder of the results that are kept. */
export const CELLS_FOLDER = 'cells';

/** Format of the files; results of another are measured again. */
const VERSION = 1;

/** All that a result depends on. */
async function identityOf(input: StabilityInput, model: StabilityModel, texts: number[][]): Promise<unknown> {
  const { files, settings, device } = input;
  const adapter = model.adapter === null ? {} : await modelIdentity(files, model.adapter);
  const contents = [await modelIdentity(files, model.folder), adapter];
  return { version: VERSION, settings, texts, contents, device: device.name };
}

/** A name for a cell, from a label; labels that differ in what is dropped differ in the number. */
function cellName(label: string, index: number): string {
  const slug = label.replace(/[^\w.-]+/g, '-').slice(0, 60);
  return `${String(index + 1).padStart(2, '0')}-${slug}`;
}

/** Loads a model with its adapter. */
async function openModel(input: StabilityInput, spec: StabilityModel, dtype: 'f32' | HalfType): Promise<OpenedModel> {
  const { device, files, onWarning } = input;
  const model = await loadModel(device, files, spec.folder, { dtype, onWarning });
  if (spec.adapter === null) return { model, dispose: () => model.dispose() };
  try {
    const adapter = await loadAdapter(model, files, spec.adapter);
    const dispose = () => {
      detachLora(adapter);
      model.dispose();
    };
    return { model, dispose };
  } catch (error) {
    model.dispose();
    throw error;
  }
}

async function measureCell(input: StabilityInput, spec: StabilityModel, texts: number[][]): Promise<StabilityCell> {
  const { settings, signal, onProgress } = input;
  const startedMs = performance.now();
  const opened = await openModel(input, spec, 'f32');
  try {
    const openHalf = (type: HalfType) => openModel({ ...input, onWarning: undefined }, spec, type); // warnings were shown for the full type
    const result = await measureStability({ model: opened.model, openHalf, texts, settings, signal, onProgress });
    return { ...spec, seconds: (performance.now() - startedMs) / 1000, result };
  } finally {
    opened.dispose();
  }
}

/** Keeps a cell where there is a store. Returns it as it will be read: what is no finite number is null. */
async function keep(
  store: CellStore<StabilityCell> | null,
  name: string,
  identity: unknown,
  cell: StabilityCell,
): Promise<StabilityCell> {
  return store ? store.write(name, identity, cell) : (JSON.parse(JSON.stringify(cell)) as StabilityCell);
}

/**
 * Measures every model that has no result yet.
 * @throws the signal's reason once it fires: what was measured is kept
 */
export async function studyStability(input: StabilityInput): Promise<StabilityStudy> {
  const { files, models, settings, source, device, out, onWarning } = input;
  // What is wrong with a later model's texts is found before the first is measured.
  const texts: number[][][] = [];
  for (const { folder } of models) {
    texts.push(tokensOf(await loadTokenizer(files, folder), input.documents, settings, source));
  }
  const folder = out === null ? null : joinPath(out, CELLS_FOLDER);
  const store = folder === null ? null : new CellStore<StabilityCell>(files, folder, { key: 'cell', onWarning });
  const cells: StabilityCell[] = [];
  for (const [i, spec] of models.entries()) {
    input.signal?.throwIfAborted();
    const name = cellName(spec.label, i);
    const identity = await identityOf(input, spec, texts[i]);
    const kept = (await store?.read(name, identity)) ?? null;
    input.onModel?.(spec.label, kept !== null);
    const cell = kept ?? (await keep(store, name, identity, await measureCell(input, spec, texts[i])));
    cells.push({ ...cell, ...spec });
  }
  return { settings, source, device: `${device.name} ${device.backend.variant}`, cells };
}
