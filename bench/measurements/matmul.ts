/** Matrix products: native against the peak of the vector units, WASM against onnxruntime-web. */
import type { DType } from '../../src/core/index.ts';
import type { MatmulOptions } from '../lanes/matmul.ts';
import type { OnnxOptions } from '../lanes/onnx.ts';
import { figure, programsOf, rateText } from '../suite/figures.ts';
import { script } from '../suite/lane.ts';
import type { Figure, Measurement } from '../suite/measurement.ts';
import { type Entry, race } from '../suite/race.ts';
import type { RowId } from '../suite/rows.ts';
import { medianRatio } from '../suite/statistics.ts';

/** As a layer has them: the weights are n x k. */
const SHAPES = [
  { m: 512, n: 3072, k: 768, transB: true },
  { m: 2048, n: 1536, k: 768, transB: true },
];
const NAMES = SHAPES.map(({ m, n, k }) => `${m}x${n}x${k}`);
const SECONDS = 0.25;

const products = (options: Pick<MatmulOptions, 'device' | 'threads' | 'dtype'>) =>
  script('lanes/matmul.ts', { ...options, shapes: SHAPES, seconds: SECONDS } satisfies MatmulOptions);

/** GFLOP/s of a shape in each round. @throws Error with the entrant's problem */
function ratesOf(entry: Entry, shape: number): number[] {
  if ('problem' in entry) throw new Error(entry.problem);
  return entry.rounds.map(({ rates }) => (rates as number[])[shape] / 1e9);
}

/** Of each round by the peak that was measured in it. */
function peakShare(row: RowId, least: number, entry: Entry, shape: number): Figure {
  return figure({ row, what: NAMES[shape], unit: '%', least }, () => {
    const rates = ratesOf(entry, shape);
    const peaks = 'rounds' in entry ? entry.rounds.map(({ peak }) => Number(peak) / 1e9) : [];
    const from = `${rateText(rates, 'GFLOP/s')} of ${rateText(peaks, 'GFLOP/s')}`;
    return { value: medianRatio(rates, peaks), from };
  });
}

export const matmul: Measurement = {
  name: 'matmul',
  about: 'native matrix products, f32 and bf16, by the peak of the vector units',
  async measure(context) {
    const lane = (dtype: DType) => products({ device: 'native', threads: context.threads, dtype });
    const entries = await race(
      context,
      { f32: lane('f32'), bf16: lane('bf16') },
      { rounds: context.isQuick ? 3 : 2 * context.rounds },
    );
    const figures = SHAPES.flatMap((_, i) => [
      peakShare('matmul-f32', 0.88, entries.f32, i),
      peakShare('matmul-bf16', 0.8, entries.bf16, i),
    ]);
    return { figures, raw: entries };
  },
};

export const wasmMatmul: Measurement = {
  name: 'wasm-matmul',
  about: 'WASM matrix products in f32 against onnxruntime-web',
  async measure(context) {
    const { threads } = context;
    const entries = await race(
      context,
      {
        krait: products({ device: 'wasm', threads, dtype: 'f32' }),
        onnx: script('lanes/onnx.ts', { threads, shapes: SHAPES, seconds: SECONDS } satisfies OnnxOptions),
      },
      { rounds: context.isQuick ? 3 : 2 * context.rounds },
    );
    const figures = NAMES.map((what, i) =>
      figure({ row: 'wasm-matmul', what, unit: 'x' }, () => {
        const [ours, theirs] = [ratesOf(entries.krait, i), ratesOf(entries.onnx, i)];
        const from = `Krait ${rateText(ours, 'GFLOP/s')}, onnxruntime-web ${rateText(theirs, 'GFLOP/s')}`;
        return { value: medianRatio(ours, theirs), from };
      }),
    );
    return { figures, programs: programsOf(entries), raw: entries };
  },
};
