/** Contract cases of the loss and the optimiser. */
import { ELEMENT, EXACT, type Tolerance } from '../comparison.ts';
import { type Draw, dense, type Operand } from '../operands.ts';
import type { Launch } from '../runner.ts';
import { type CaseTable, type ContractCase, SHAPES, single, sized, variants } from './case.ts';

const IGNORE = -100;
const LOSS: Tolerance = { rel: 3e-6, floor: 2 };

/** Targets inside the columns, every fourth row ignored. */
const targetsFor = (draw: Draw, rows: number, cols: number): Operand =>
  draw.values(rows, 1, (i) => (i % 4 === 3 ? IGNORE : draw.random.integer(cols)), 'i32');

export function crossEntropy(draw: Draw, rows: number, cols: number, withGradient: boolean, gradScale: number): Launch {
  return {
    kernel: 'cross_entropy',
    tensors: {
      logits: draw.normal(rows, cols, draw.any(), 3),
      targets: targetsFor(draw, rows, cols),
      losses: draw.output(rows, 1, draw.fixed()),
      dlogits: withGradient ? draw.output(rows, cols) : null,
    },
    dims: { rows, cols, ignore: IGNORE },
    scalars: { gradScale },
  };
}

const cross_entropy: ContractCase[] = [
  ...[...SHAPES.filter(([, cols]) => cols > 0), [4, 3001] as const].flatMap(([rows, cols]) => [
    ...sized(rows * cols, `${rows}x${cols}`, LOSS, (draw) => crossEntropy(draw, rows, cols, false, 1)),
    ...sized(rows * cols, `with gradient ${rows}x${cols}`, LOSS, (draw) => crossEntropy(draw, rows, cols, true, 0.25)),
  ]),
  ...variants('gradient in place', LOSS, (draw) => {
    const launch = crossEntropy(draw, 6, 37, true, 2);
    const tensors = { ...launch.tensors, dlogits: launch.tensors.logits };
    return { ...launch, tensors, inPlace: { dlogits: 'logits' } };
  }),
  ...variants('all rows ignored', LOSS, (draw) => {
    const launch = crossEntropy(draw, 5, 9, true, 1);
    return { ...launch, tensors: { ...launch.tensors, targets: draw.values(5, 1, () => IGNORE, 'i32') } };
  }),
  ...single('large logits', { rel: 1e-6, floor: 1000 }, (draw) => {
    const launch = crossEntropy(draw, 6, 40, true, 1);
    const logits = draw.values(6, 40, () => 1000 * draw.random.normal(), 'f32');
    return { ...launch, tensors: { ...launch.tensors, logits } };
  }),
];

function clipping(draw: Draw, acc: number, maxNorm: number, inverseScale: number): Launch {
  return {
    kernel: 'clip_control',
    tensors: { acc: draw.values(1, 1, () => acc, 'f32'), control: draw.output(1, 4, 'f32') },
    dims: {},
    scalars: { maxNorm, inverseScale },
  };
}

const CLIPPINGS: readonly (readonly [label: string, acc: number, maxNorm: number, inverseScale: number])[] = [
  ['below the limit', 4, 5, 1],
  ['above the limit', 400, 5, 1],
  ['scaled', 4e6, 1, 2 ** -10],
  ['no limit', 1e6, 0, 0.5],
  ['no gradient', 0, 1, 1],
  ['infinite', Number.POSITIVE_INFINITY, 1, 1],
  ['not a number', Number.NaN, 0, 1],
];

const clip_control: ContractCase[] = CLIPPINGS.flatMap(([label, ...values]) =>
  single(label, { rel: 1e-6, floor: 1e-30 }, (draw) => clipping(draw, ...values)),
);

interface Step {
  readonly step?: number;
  readonly weightDecay?: number;
  /** Values of the control block. */
  readonly control?: readonly number[];
  readonly half?: 'bf16' | 'f16';
  /** Both moments, and no gradient. */
  readonly stale?: number;
}

function optimising(draw: Draw, n: number, { step = 1, weightDecay = 0.1, control, half, stale }: Step): Launch {
  const state = (make: () => number) => dense(draw.values(1, n, make, 'f32'));
  return {
    kernel: 'adamw',
    tensors: {
      param: state(() => draw.random.normal()),
      grad: dense(stale === undefined ? draw.normal(1, n) : draw.values(1, n, () => 0)),
      m: state(() => stale ?? (step === 1 ? 0 : 0.1 * draw.random.normal())),
      v: state(() => stale ?? (step === 1 ? 0 : draw.random.uniform())),
      control: control ? draw.values(1, 4, (i) => control[i], 'f32') : null,
      half: half ? dense(draw.output(1, n, half)) : null,
    },
    dims: { n },
    scalars: { lr: 1e-2, beta1: 0.9, beta2: 0.999, eps: 1e-8, weightDecay, step },
  };
}

const STEPS: readonly (readonly [label: string, step: Step])[] = [
  ['first step', {}],
  ['later step', { step: 137 }],
  ['no decay', { step: 2, weightDecay: 0 }],
  ['clipped', { step: 5, control: [0.125, 8, 1, 0] }],
  ['with bf16 copy', { step: 5, control: [1, 1, 1, 0], half: 'bf16' }],
  ['with f16 copy', { step: 5, half: 'f16' }],
];

const adamw: ContractCase[] = [
  ...STEPS.flatMap(([label, step]) =>
    [0, 1, 7, 33, 5000].flatMap((n) =>
      sized(n, `${label} n=${n}`, { rel: 1e-6, floor: 0.1 }, (draw) => optimising(draw, n, step)),
    ),
  ),
  // The least normal number is 1.1755e-38: both moments become subnormal, which is 0.
  ...variants('long without a gradient', EXACT, (draw) =>
    optimising(draw, 37, { step: 2000, weightDecay: 0, stale: 1.176e-38 }),
  ),
  ...variants('skipped', ELEMENT, (draw) => {
    const launch = optimising(draw, 37, { step: 3, control: [0, Number.POSITIVE_INFINITY, 0, 0] });
    const half = dense(draw.normal(1, 37, 'bf16'));
    return { ...launch, tensors: { ...launch.tensors, half } };
  }),
];

export const lossCases: CaseTable<'cross_entropy' | 'clip_control' | 'adamw'> = { cross_entropy, clip_control, adamw };
