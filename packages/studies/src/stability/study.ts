/**
 * The stability study of several models: each is a cell, measured by itself and kept in a file of its own, so that a run
 * that was stopped goes on where it was.
 */
import { textHash } from 'krait/core';
import { type CacheFileSystem, isRecord, joinPath, loadTokenizer } from 'krait/io';
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

/** Files by which a model or an adapter is known. */
const MATERIAL = /\.(safetensors|json)$/;

async function contentsOf(files: CacheFileSystem, folder: string | null): Promise<Record<string, string>> {
  const contents: Record<string, string> = {};
  if (folder === null) return contents;
  for (const name of await files.list(folder)) {
    if (MATERIAL.test(name)) contents[name] = await files.sha256(joinPath(folder, name));
  }
  return contents;
}

/** What a result depends on, as one hash. */
async function identityOf(input: StabilityInput, model: StabilityModel, texts: number[][]): Promise<string> {
  const { files, settings, device } = input;
  const contents = [await contentsOf(files, model.folder), await contentsOf(files, model.adapter)];
  return textHash(JSON.stringify({ version: VERSION, settings, texts, contents, device: device.name }));
}

/** A name for a file, from a label; labels that differ in what is dropped differ in the number. */
function fileName(label: string, index: number): string {
  const slug = label.replace(/[^\w.-]+/g, '-').slice(0, 60);
  return `${String(index + 1).padStart(2, '0')}-${slug}.json`;
}

async function readKept(input: StabilityInput, path: string, identity: string): Promise<StabilityCell | null> {
  if (!(await input.files.exists(path))) return null;
  try {
    const kept: unknown = JSON.parse(await input.files.readText(path));
    if (isRecord(kept) && kept['identity'] === identity) return kept['cell'] as StabilityCell;
  } catch (error) {
    input.onWarning?.(`${path}: ${(error as Error).message}; it is measured again`);
  }
  return null;
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
    const openHalf = (type: HalfType) => openModel({ ...input, onWarning: undefined }, spec, type); // what is odd was said
    const result = await measureStability({ model: opened.model, openHalf, texts, settings, signal, onProgress });
    const cell = { ...spec, seconds: (performance.now() - startedMs) / 1000, result };
    return JSON.parse(JSON.stringify(cell)) as StabilityCell; // as it will be read from its file
  } finally {
    opened.dispose();
  }
}

/**
 * Measures every model that has no result yet.
 * @throws the signal's reason once it fires: what was measured is kept
 */
export async function studyStability(input: StabilityInput): Promise<StabilityStudy> {
  const { files, models, settings, source, device, out } = input;
  // What is wrong with a later model's texts is found before the first is measured.
  const texts: number[][][] = [];
  for (const { folder } of models) {
    texts.push(tokensOf(await loadTokenizer(files, folder), input.documents, settings, source));
  }
  const cells: StabilityCell[] = [];
  for (const [i, spec] of models.entries()) {
    input.signal?.throwIfAborted();
    const path = joinPath(out ?? '', CELLS_FOLDER, fileName(spec.label, i));
    const identity = await identityOf(input, spec, texts[i]);
    const kept = out === null ? null : await readKept(input, path, identity);
    input.onModel?.(spec.label, kept !== null);
    const cell = kept ?? (await measureCell(input, spec, texts[i]));
    if (out !== null && !kept) await files.writeAtomic(path, `${JSON.stringify({ identity, cell })}\n`);
    cells.push({ ...cell, ...spec });
  }
  return { settings, source, device: `${device.name} ${device.backend.variant}`, cells };
}
