/** The program of browser-forecast.slow.test.ts's page: from the text of a CSV file to a forecast, on the WASM device. */
import { createWasmBackend, type WasmOptions } from '../src/backend/wasm/index.ts';
import { analyse, forecastAfter, parseTable, regularise } from '../src/forecast/index.ts';
import { Device } from '../src/tensor/index.ts';

export interface ForecastReport {
  /** Model and test score of each that was compared. */
  readonly scores: readonly [string, number][];
  readonly coverage: readonly number[];
  /** Of the first variable. */
  readonly values: readonly number[];
  readonly low: readonly number[];
  readonly order: readonly number[] | null;
}

/** What a user would do with `krait/forecast`. */
export async function forecastOf(csv: string, options: WasmOptions): Promise<ForecastReport> {
  const backend = await createWasmBackend(options);
  const device = new Device(backend);
  const series = regularise(await parseTable('data.csv', [csv]));
  const settings = { layers: 1, d: 4, patch: 4, calendar: ['hour'] } as const;
  const { dataset, fitted, comparison, quantiles } = await analyse({
    device,
    series,
    model: 'mambats',
    horizon: 4,
    levels: [0.1, 0.9],
    changes: { lookback: 16, epochs: 2, batchSize: 16, settings },
    seed: 1,
  });
  const { forecaster } = fitted;
  const { names } = dataset.series;
  const saved = { forecaster, names, frequency: dataset.raw.frequency, scaling: dataset.scaling, quantiles };
  const future = await forecastAfter(saved, series);
  forecaster.model.dispose();
  device.close();
  return {
    scores: comparison.map(({ model, mse }) => [model, mse]),
    coverage: quantiles.coverage.map(({ share }) => share),
    values: [...future.values[0]],
    low: [...future.quantiles[0][0]],
    order: forecaster.order,
  };
}

const report = ({ csv, options }: { csv: string; options: WasmOptions }): Promise<ForecastReport> =>
  forecastOf(csv, options);

(globalThis as unknown as { report: typeof report }).report = report;
