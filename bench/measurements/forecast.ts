/** Forecasting: an epoch of MambaTS against PyTorch with a sequential scan; whether its cost grows with the look-back and no faster. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { ForecastOptions } from '../lanes/forecast.ts';
import { sameLosses } from '../suite/checks.ts';
import { figure, programsOf, rateText } from '../suite/figures.ts';
import { script } from '../suite/lane.ts';
import type { Context, Figure, Measurement } from '../suite/measurement.ts';
import { type Entry, race, roundsOf } from '../suite/race.ts';
import { medianRatio } from '../suite/statistics.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const FOLDER = join(process.env['KRAIT_SHARED_DATA'] ?? join(ROOT, '../shared/data'), 'ett');
const FILE = join(FOLDER, 'ETTh2.csv');

/** The published settings of ETTh2, horizon 96. */
const SETTINGS = { dataDir: FOLDER, data: 'etth2', horizon: 96, batchSize: 8, layers: 5, d: 16 } as const;
const LOOKBACK = 720;
const LONG_LOOKBACK = 5760;

const lane = (context: Context, options: Pick<ForecastOptions, 'lookback' | 'steps' | 'start'>) =>
  script('lanes/forecast.ts', {
    ...SETTINGS,
    dataDir: FOLDER,
    threads: context.threads,
    ...options,
  } satisfies ForecastOptions);

const missing = (): string | null => (existsSync(FILE) ? null : `no ${FILE}; set KRAIT_SHARED_DATA`);

/** Seconds of an epoch, from those of the steps that were taken. */
function epochs(entry: Entry, stepsPerEpoch: number): number[] {
  const [seconds, steps] = [roundsOf(entry, 'seconds'), roundsOf(entry, 'steps')];
  return seconds.map((value, i) => (value / steps[i]) * stepsPerEpoch);
}

export const forecast: Measurement = {
  name: 'forecast',
  about: 'an epoch of MambaTS on ETTh2 against PyTorch, and look-backs of 720 and 5,760',
  async measure(context) {
    const figures: Figure[] = [];
    const epoch = { row: 'forecast', what: 'ETTh2, horizon 96, published settings', unit: 'x', least: 5 } as const;
    const growth = { row: 'lookback', what: '5,760 over 720', unit: 'x', most: 8.8 } as const;
    const problem = missing();
    if (problem !== null) {
      for (const subject of [epoch, growth]) figures.push({ ...subject, value: null, problem });
      return { figures, raw: null };
    }
    const steps = context.isQuick ? 10 : 60;
    const rounds = context.isQuick ? 1 : 3;
    const lengths = await race(
      context,
      {
        long: lane(context, { lookback: LONG_LOOKBACK, steps, start: null }),
        short: lane(context, { lookback: LOOKBACK, steps, start: null }),
      },
      { rounds: context.isQuick ? 1 : 5 },
    );
    figures.push(
      figure(growth, () => {
        const [a, b] = [lengths.long, lengths.short].map((entry) => roundsOf(entry, 'seconds').map((s) => s / steps));
        return { value: medianRatio(a, b), from: `a step ${rateText(a, 's')} against ${rateText(b, 's')}` };
      }),
    );
    const start = join(context.work, 'forecast-start.safetensors');
    const rival = {
      command: [context.python ?? 'python3', 'bench/rivals/torch_mambats.py'],
      options: { ...SETTINGS, file: FILE, lookback: LOOKBACK, steps, start, threads: context.threads },
    };
    if (context.python === null) {
      figures.push({ ...epoch, value: null, problem: 'no Python with torch; give --python PATH' });
      return { figures, programs: programsOf(lengths), raw: { lengths } };
    }
    const sides = await race(
      context,
      { Krait: lane(context, { lookback: LOOKBACK, steps, start }), PyTorch: rival },
      { rounds },
    );
    const check = sameLosses('forecasting, squared error of the first windows on the first weights', sides);
    figures.push(
      figure(epoch, () => {
        if (check.isOk === false) throw new Error('the contestants do not compute the same');
        const [stepsPerEpoch] = roundsOf(sides.Krait, 'stepsPerEpoch');
        const [a, b] = [sides.PyTorch, sides.Krait].map((entry) => epochs(entry, stepsPerEpoch));
        const from = `PyTorch ${rateText(a, 's')}, Krait ${rateText(b, 's')}, from ${steps} of ${stepsPerEpoch} steps`;
        return { value: medianRatio(a, b), from };
      }),
    );
    return { figures, checks: [check], programs: programsOf({ ...sides, ...lengths }), raw: { lengths, sides } };
  },
};
