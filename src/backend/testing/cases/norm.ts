/** Contract cases of the norms. The makers are used by the gradient checks too. */
import type { Tolerance } from '../comparison.ts';
import type { Draw, Operand } from '../operands.ts';
import { evaluate, type Launch } from '../runner.ts';
import { type CaseTable, type ContractCase, SHAPES, sized, variants } from './case.ts';

export type NormKind = 'rms' | 'layer';

export interface NormOptions {
  readonly residual: boolean;
  readonly weight: boolean;
  /** Also store what the backward pass needs. */
  readonly training: boolean;
}

const EPS = 1e-5;
const SHAPES_WITH_COLUMNS = SHAPES.filter(([, cols]) => cols > 0);
const TOLERANCE: Tolerance = { rel: 1e-5, floor: 'largest' };
/** dx is what little is left of g, of size 1, when it has few columns. */
const GRADIENT: Tolerance = { rel: 3e-6, floor: 3 };

/** Rows of different size around different means; the first is all zeros, where eps alone counts. */
function activations(draw: Draw, rows: number, cols: number, dtype = draw.any()): Operand {
  const scale = (i: number) => (i < cols && rows > 1 ? 0 : 1 + (Math.floor(i / cols) % 3));
  return draw.values(rows, cols, (i) => scale(i) * (draw.random.normal() + 0.5), dtype);
}

export function normForward(draw: Draw, kind: NormKind, rows: number, cols: number, options: NormOptions): Launch {
  const { residual, weight, training } = options;
  const vector = () => draw.normal(1, cols);
  const column = () => draw.output(rows, 1, draw.fixed());
  const shared = {
    x: activations(draw, rows, cols),
    residual: residual ? draw.normal(rows, cols) : null,
    weight: weight ? vector() : null,
    y: draw.output(rows, cols),
    sum: training ? draw.output(rows, cols) : null,
    rstd: training ? column() : null,
  };
  const extra: Record<string, Operand | null> =
    kind === 'layer' ? { bias: weight ? vector() : null, mean: training ? column() : null } : {};
  return {
    kernel: kind === 'rms' ? 'rms_norm' : 'layer_norm',
    tensors: { ...shared, ...extra },
    dims: { rows, cols },
    scalars: { eps: EPS },
  };
}

/** The backward launch for a forward one in training: s, mean and rstd come from the reference device, rounded as stored. */
export async function normBackward(
  draw: Draw,
  kind: NormKind,
  forward: Launch,
  { withSum = true, withParameters = true } = {},
): Promise<Launch> {
  const { rows, cols } = forward.dims;
  const outputs = await evaluate(forward);
  const gradient = () => draw.normal(1, cols, draw.fixed());
  const column = (values: Float64Array) => draw.place(rows, 1, values, draw.fixed());
  const shared = {
    s: draw.place(rows, cols, outputs.sum, draw.any()),
    weight: forward.tensors.weight,
    rstd: column(outputs.rstd),
    dy: draw.normal(rows, cols),
    dsum: withSum ? draw.normal(rows, cols) : null,
    dx: draw.output(rows, cols),
    dweight: withParameters ? gradient() : null,
  };
  const extra: Record<string, Operand | null> =
    kind === 'layer' ? { mean: column(outputs.mean), dbias: withParameters ? gradient() : null } : {};
  return {
    kernel: kind === 'rms' ? 'rms_norm_bwd' : 'layer_norm_bwd',
    tensors: { ...shared, ...extra },
    dims: { rows, cols },
    scalars: {},
  };
}

const OPTIONS: readonly (readonly [label: string, options: NormOptions])[] = [
  ['plain', { residual: false, weight: false, training: false }],
  ['weight', { residual: false, weight: true, training: false }],
  ['residual', { residual: true, weight: true, training: false }],
  ['training', { residual: true, weight: true, training: true }],
  ['training without residual', { residual: false, weight: true, training: true }],
];

const forwardCases = (kind: NormKind): ContractCase[] => [
  ...SHAPES_WITH_COLUMNS.flatMap(([rows, cols]) =>
    OPTIONS.flatMap(([label, options]) =>
      sized(rows * cols, `${label} ${rows}x${cols}`, TOLERANCE, (draw) => normForward(draw, kind, rows, cols, options)),
    ),
  ),
  ...variants('no columns', TOLERANCE, (draw) => normForward(draw, kind, 3, 0, OPTIONS[0][1])),
];

const backwardCases = (kind: NormKind): ContractCase[] =>
  SHAPES_WITH_COLUMNS.flatMap(([rows, cols]) =>
    [true, false].flatMap((all) =>
      sized(rows * cols, `${all ? 'everything' : 'dx alone'} ${rows}x${cols}`, GRADIENT, (draw) => {
        const forward = normForward(draw, kind, rows, cols, { residual: true, weight: all, training: true });
        // Rows of zeros have rstd = 316: their gradients would set the scale for all the others.
        const x = draw.normal(rows, cols);
        return normBackward(
          draw,
          kind,
          { ...forward, tensors: { ...forward.tensors, x } },
          {
            withSum: all,
            withParameters: all,
          },
        );
      }),
    ),
  );

export const normCases: CaseTable<'rms_norm' | 'rms_norm_bwd' | 'layer_norm' | 'layer_norm_bwd'> = {
  rms_norm: forwardCases('rms'),
  rms_norm_bwd: backwardCases('rms'),
  layer_norm: forwardCases('layer'),
  layer_norm_bwd: backwardCases('layer'),
};
