/**
 * A trained forecaster as a folder: `forecast.json` (what it is, what it expects, how values are scaled) and
 * `forecast.safetensors` (weights, and the offsets of its quantiles).
 */
import { FileFormatError, UsageError } from '../core/index.ts';
import {
  type FileSystem,
  isRecord,
  joinPath,
  openSafetensors,
  parseJsonObject,
  tensorEntry,
  writeSafetensors,
} from '../io/index.ts';
import type { Device } from '../tensor/index.ts';
import type { Quantiles } from './conformal.ts';
import {
  dateAt,
  describeFrequency,
  type Frequency,
  type RegularSeries,
  type Scaling,
  scaleColumn,
} from './data/index.ts';
import type { FitSettings } from './fit.ts';
import { ModelForecaster } from './forecaster.ts';
import { createForecastModel } from './models/index.ts';

const JSON_FILE = 'forecast.json';
const WEIGHTS_FILE = 'forecast.safetensors';
const VERSION = 1;

export interface SavedForecaster {
  readonly forecaster: ModelForecaster;
  readonly fit: FitSettings;
  readonly names: readonly string[];
  readonly frequency: Frequency;
  readonly scaling: Scaling;
  readonly quantiles: Pick<Quantiles, 'levels' | 'offsets' | 'coverage' | 'judged'>;
}

/** Writes both files, each whole or not at all. */
export async function saveForecaster(files: FileSystem, folder: string, saved: SavedForecaster): Promise<void> {
  const { forecaster, fit, names, frequency, scaling, quantiles } = saved;
  const { levels, offsets, coverage, judged } = quantiles;
  const entries = [...forecaster.model.parameters].map(([name, tensor]) => tensorEntry(name, tensor));
  const bounds = levels.map((_, i) => ({
    name: `quantiles.${i}`,
    dtype: 'F32' as const,
    shape: [names.length, fit.horizon],
    data: () => new Uint8Array(offsets[i].buffer, offsets[i].byteOffset, offsets[i].byteLength),
  }));
  await writeSafetensors(files, joinPath(folder, WEIGHTS_FILE), [...entries, ...bounds], { krait: 'forecaster' });
  const { order } = forecaster;
  const json = { version: VERSION, fit, names, frequency, scaling, order, quantiles: { levels, coverage, judged } };
  await files.writeAtomic(joinPath(folder, JSON_FILE), `${JSON.stringify(json, null, 1)}\n`);
}

/** Reads what `saveForecaster` wrote. @throws FileFormatError for a folder that is not one, or of another version */
export async function loadForecaster(device: Device, files: FileSystem, folder: string): Promise<SavedForecaster> {
  const path = joinPath(folder, JSON_FILE);
  const json = parseJsonObject(path, await files.readText(path));
  const isOne =
    json['version'] === VERSION &&
    ['fit', 'frequency', 'scaling', 'quantiles'].every((key) => isRecord(json[key])) &&
    Array.isArray(json['names']);
  if (!isOne) {
    const remedy = 'give a folder that `krait forecast fit` wrote';
    throw new FileFormatError(path, `is no forecaster of version ${VERSION}`, remedy);
  }
  const { fit, names, frequency, scaling, order, quantiles } = json as unknown as SavedForecaster & {
    order: number[] | null;
  };
  const size = { lookback: fit.lookback, horizon: fit.horizon };
  const model = createForecastModel(fit.model, device, { k: names.length, ...size }, fit.settings, fit.seed);
  const source = await openSafetensors(files, joinPath(folder, WEIGHTS_FILE));
  try {
    for (const [name, tensor] of model.parameters) {
      source.info(name, tensor.shape);
      tensor.write(await source.readAs(name, tensor.dtype));
      tensor.trainable(false);
    }
    const offsets: Float32Array[] = [];
    for (let i = 0; i < quantiles.levels.length; i++) {
      offsets.push(Float32Array.from(await source.readAs(`quantiles.${i}`, 'f32')));
    }
    const forecaster = new ModelForecaster(model, size, order);
    return { forecaster, fit, names, frequency, scaling, quantiles: { ...quantiles, offsets } };
  } catch (error) {
    model.dispose();
    throw error;
  } finally {
    await source.close();
  }
}

/** Forecast of a series: `values[k][h]` and, for each level, `quantiles[i][k][h]`, unscaled. */
export interface FutureValues {
  readonly values: readonly Float64Array[];
  readonly quantiles: readonly (readonly Float64Array[])[];
}

/**
 * Forecasts what follows the last row of a series, which has the variables that the model knows (others are not read).
 * @throws UsageError for variables that are missing, another step between rows, or fewer rows than the look-back;
 * FileFormatError for a value that is too far from what was learned
 */
export async function forecastAfter(saved: Omit<SavedForecaster, 'fit'>, series: RegularSeries): Promise<FutureValues> {
  const { forecaster, names, frequency, scaling, quantiles } = saved;
  const { lookback, horizon } = forecaster.size;
  const [own, given] = [describeFrequency(frequency), describeFrequency(series.frequency)];
  if (own !== given) {
    const problem = `its rows are ${given} apart, those that the model learned ${own}`;
    throw new UsageError(`${series.file}: ${problem}; give rows that are ${own} apart, or fit a model for these`);
  }
  if (series.length < lookback) {
    throw new UsageError(`${series.file}: has ${series.length} rows, the model looks back ${lookback}; give more rows`);
  }
  const inputs = new Float32Array(names.length * lookback);
  names.forEach((name, k) => {
    const at = series.names.indexOf(name);
    if (at < 0) {
      const problem = `has no column ${JSON.stringify(name)}, which the model reads; it has ${series.names.join(', ')}`;
      throw new UsageError(`${series.file}: ${problem}: add it, or fit a model without it`);
    }
    const own = { mean: scaling.mean[k], std: scaling.std[k] };
    inputs.set(scaleColumn(series, at, own, series.length - lookback), k * lookback);
  });
  const first = [dateAt(series.start, frequency, series.length)];
  const scaled = await forecaster.forecast({ inputs, b: 1, ahead: { first, frequency } });
  const unscale = (k: number, offsets: Float32Array | null) =>
    Float64Array.from({ length: horizon }, (_, h) => {
      const at = k * horizon + h;
      return (scaled[at] + (offsets ? offsets[at] : 0)) * scaling.std[k] + scaling.mean[k];
    });
  return {
    values: names.map((_, k) => unscale(k, null)),
    quantiles: quantiles.offsets.map((offsets) => names.map((_, k) => unscale(k, offsets))),
  };
}
