/**
 * From the text of a CSV file to a forecast with quantiles. Run: npx tsx examples/forecast.ts [file.csv]
 * In a page the same works with `new Device(await createWasmBackend())` from 'krait/wasm' in place of `openDevice()`.
 */
import { readFileSync } from 'node:fs';
import { openDevice } from 'krait';
import { analyse, calendarParts, dateAt, forecastAfter, formatDate, parseTable, regularise } from 'krait/forecast';

/** Made-up hours of a shop: more by day than by night, more on some days of the week than on others. */
function madeUp(): string {
  const rows = Array.from({ length: 24 * 70 }, (_, t) => {
    const [hour, day] = [t % 24, Math.floor(t / 24) % 7];
    const noise = (((t * 7919) % 101) / 101 - 0.5) * 4;
    const visits = 40 + 30 * Math.sin(((hour - 8) / 24) * 2 * Math.PI) + (day > 4 ? 15 : 0) + noise;
    return `${new Date(Date.UTC(2024, 0, 1, t)).toISOString().slice(0, 19)},${visits.toFixed(2)},${(visits * 0.3 - noise).toFixed(2)}`;
  });
  return `date,visits,sales\n${rows.join('\n')}\n`;
}

const [file] = process.argv.slice(2);
const csv = file === undefined ? madeUp() : readFileSync(file, 'utf8');
const series = regularise(await parseTable(file ?? 'made-up.csv', [csv]));
for (const note of series.notes) console.log(note);

const device = await openDevice();
const { fitted, dataset, comparison, quantiles } = await analyse({
  device,
  series,
  model: 'mambats',
  horizon: 24,
  levels: [0.1, 0.9],
  // The look-back and the rest are chosen by what there is, unless given.
  changes: { lookback: 96, epochs: 6, settings: { d: 16, calendar: calendarParts(series.frequency) } },
  seed: 0,
});
for (const { model, mse, mae } of comparison) console.log(`${model}: MSE ${mse.toFixed(4)}, MAE ${mae.toFixed(4)}`);
for (const { level, share } of quantiles.coverage) {
  console.log(`${(100 * share).toFixed(1)} % of the values were at or below the quantile ${level}`);
}

const { frequency } = dataset.raw;
const { forecaster } = fitted;
const saved = { forecaster, names: series.names, frequency, scaling: dataset.scaling, quantiles };
const { values, quantiles: bounds } = await forecastAfter(saved, series);
for (let h = 0; h < 24; h += 6) {
  const date = formatDate(dateAt(series.start, frequency, series.length + h));
  const [low, high] = bounds.map((all) => all[0][h].toFixed(1));
  console.log(`${date}: ${series.names[0]} ${values[0][h].toFixed(1)} (${low} to ${high})`);
}
forecaster.model.dispose();
device.close();
