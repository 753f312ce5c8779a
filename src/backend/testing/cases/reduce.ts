/** Contract cases of the reductions, softmax and the norm of gradients. */
import { REDUCE_OPS } from '../../kernels.ts';
import { ELEMENT, EXACT, SUM, type Tolerance } from '../comparison.ts';
import { type Draw, dense } from '../operands.ts';
import { evaluate } from '../runner.ts';
import { type CaseTable, type ContractCase, SHAPES, single, sized, variants } from './case.ts';

/** [outer, n, inner] with nothing along each axis, contiguous and strided reductions, and large ones. */
const REDUCTIONS = [
  [3, 0, 5],
  [0, 4, 5],
  [3, 4, 0],
  [1, 1, 1],
  [4, 33, 1],
  [1, 700, 1],
  [2, 7, 19],
  [1, 65, 33],
  [5, 3, 130],
  [300, 37, 1],
  [1, 500, 260],
] as const;

const reduce: ContractCase[] = REDUCE_OPS.flatMap((op, code) => {
  const tolerance: Tolerance = op === 'max' || op === 'min' ? EXACT : SUM;
  return REDUCTIONS.flatMap(([outer, n, inner]) =>
    sized(outer * n * inner, `${op} ${outer}x${n}x${inner}`, tolerance, (draw) => ({
      kernel: 'reduce',
      tensors: { x: dense(draw.normal(outer * n, inner)), y: dense(draw.output(outer, inner)) },
      dims: { outer, n, inner, op: code },
      scalars: {},
    })),
  );
});

const argmax: ContractCase[] = SHAPES.filter(([, cols]) => cols > 0).flatMap(([rows, cols]) => [
  ...sized(rows * cols, `${rows}x${cols}`, EXACT, (draw) => ({
    kernel: 'argmax',
    tensors: { x: draw.normal(rows, cols), y: dense(draw.output(1, rows, 'i32')) },
    dims: { rows, cols },
    scalars: {},
  })),
  ...single(`ties ${rows}x${cols}`, EXACT, (draw) => ({
    kernel: 'argmax',
    tensors: {
      x: draw.values(rows, cols, () => draw.random.integer(3) - 5, 'f32'),
      y: dense(draw.output(1, rows, 'i32')),
    },
    dims: { rows, cols },
    scalars: {},
  })),
]);

const softmaxTolerance = (log: number): Tolerance => ({ rel: 1e-5, floor: log ? 1 : 1e-6 });

const softmax: ContractCase[] = [0, 1].flatMap((log) => [
  ...SHAPES.flatMap(([rows, cols]) =>
    sized(rows * cols, `log=${log} ${rows}x${cols}`, softmaxTolerance(log), (draw) => ({
      kernel: 'softmax',
      tensors: { x: draw.normal(rows, cols, draw.any(), 3), y: draw.output(rows, cols) },
      dims: { rows, cols, log },
      scalars: {},
    })),
  ),
  ...variants(`log=${log} large, in place`, softmaxTolerance(log), (draw) => {
    const x = draw.values(5, 41, () => 400 + 2 * draw.random.normal());
    return {
      kernel: 'softmax',
      tensors: { x, y: x },
      dims: { rows: 5, cols: 41, log },
      scalars: {},
      inPlace: { y: 'x' },
    };
  }),
]);

const softmaxBwd: ContractCase[] = [0, 1].flatMap((log) =>
  SHAPES.flatMap(([rows, cols]) =>
    sized(rows * cols, `log=${log} ${rows}x${cols}`, { rel: 1e-5, floor: 'largest' }, async (draw) => {
      const x = draw.normal(rows, cols);
      const dims = { rows, cols, log };
      const { y } = await evaluate({ kernel: 'softmax', tensors: { x, y: x }, dims, scalars: {} });
      return {
        kernel: 'softmax_bwd',
        tensors: { y: draw.place(rows, cols, y, draw.any()), dy: draw.normal(rows, cols), dx: draw.output(rows, cols) },
        dims,
        scalars: {},
      };
    }),
  ),
);

const accumulator = (draw: Draw, value: number) => draw.values(1, 1, () => value, 'f32');

const sumSquares: ContractCase[] = [
  ...[...SHAPES, [3, 70001] as const].flatMap(([rows, cols]) =>
    sized(rows * cols, `${rows}x${cols}`, { rel: 2e-7, floor: 'largest' }, (draw) => ({
      kernel: 'sum_squares',
      tensors: { x: draw.normal(rows, cols), acc: accumulator(draw, 3.5) },
      dims: { rows, cols },
      scalars: {},
    })),
  ),
  ...[Number.POSITIVE_INFINITY, Number.NaN].flatMap((special) =>
    variants(`${special} among the values`, ELEMENT, (draw) => ({
      kernel: 'sum_squares',
      tensors: {
        x: draw.values(3, 50, (i) => (i === 77 ? special : draw.random.normal())),
        acc: accumulator(draw, 1),
      },
      dims: { rows: 3, cols: 50 },
      scalars: {},
    })),
  ),
  ...single('infinity before', ELEMENT, (draw) => ({
    kernel: 'sum_squares',
    tensors: { x: draw.normal(2, 9), acc: accumulator(draw, Number.POSITIVE_INFINITY) },
    dims: { rows: 2, cols: 9 },
    scalars: {},
  })),
];

export const reduceCases: CaseTable<'reduce' | 'argmax' | 'softmax' | 'softmax_bwd' | 'sum_squares'> = {
  reduce,
  argmax,
  softmax,
  softmax_bwd: softmaxBwd,
  sum_squares: sumSquares,
};
