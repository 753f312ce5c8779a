/** Contract cases of the causal convolution. The makers are used by gradient checks and tests of properties too. */
import type { Tolerance } from '../comparison.ts';
import type { Draw } from '../operands.ts';
import type { Launch } from '../runner.ts';
import { type CaseTable, type ContractCase, single, variants } from './case.ts';
import { FLAG_MODES, type FlagMode, flagsFor } from './flags.ts';

export interface ConvShape {
  readonly b: number;
  readonly l: number;
  readonly d: number;
  readonly k: number;
  readonly silu: 0 | 1;
}

export interface ConvOptions {
  readonly flags: FlagMode;
  readonly bias: boolean;
  readonly stateIn: boolean;
  readonly stateOut: boolean;
  /** Parameters that want no gradient. */
  readonly frozen?: readonly ('weight' | 'bias')[];
}

const TOLERANCE: Tolerance = { rel: 1e-5, floor: 'largest' };
export const CONV_EVERYTHING: ConvOptions = { flags: 'mixed', bias: true, stateIn: true, stateOut: true };
const BARE: ConvOptions = { flags: 'none', bias: false, stateIn: false, stateOut: false };

export function convForward(draw: Draw, shape: ConvShape, options: ConvOptions): Launch {
  const { b, l, d, k } = shape;
  return {
    kernel: 'causal_conv',
    tensors: {
      x: draw.normal(b * l, d),
      weight: draw.normal(d, k, draw.fixed()),
      bias: options.bias ? draw.normal(1, d) : null,
      flags: flagsFor(draw, options.flags, b, l),
      stateIn: options.stateIn ? draw.normal(b * (k - 1), d) : null,
      y: draw.output(b * l, d),
      stateOut: options.stateOut ? draw.output(b * (k - 1), d) : null,
    },
    dims: { ...shape },
    scalars: {},
  };
}

/** The backward launch for a forward one; gradients of what that does not have, or is frozen, are left out. */
export function convBackward(draw: Draw, forward: Launch, frozen: ConvOptions['frozen'] = []): Launch {
  const { b, l, d, k } = forward.dims;
  const { x, weight, bias, flags, stateIn, stateOut } = forward.tensors;
  return {
    kernel: 'causal_conv_bwd',
    tensors: {
      x,
      weight,
      bias,
      flags,
      stateIn,
      dy: draw.normal(b * l, d),
      dstateOut: stateOut && draw.normal(b * (k - 1), d),
      dx: draw.output(b * l, d),
      dweight: frozen.includes('weight') ? null : draw.normal(d, k, draw.fixed()),
      dbias: frozen.includes('bias') ? null : bias && draw.normal(1, d, draw.fixed()),
      dstateIn: stateIn && draw.output(b * (k - 1), d),
    },
    dims: forward.dims,
    scalars: {},
  };
}

/** Widths of 1 (no state), 2, the usual 4 and more than the length; channels around the vector widths and blocks. */
const SHAPES: readonly (readonly [b: number, l: number, d: number, k: number])[] = [
  [0, 3, 4, 4],
  [2, 0, 5, 4],
  [1, 1, 1, 1],
  [1, 1, 3, 4],
  [2, 2, 8, 4],
  [1, 7, 17, 2],
  [2, 9, 5, 3],
  [3, 6, 66, 9],
  [2, 67, 33, 4],
  [2, 130, 71, 4],
];

const OPTIONS: readonly (readonly [label: string, options: ConvOptions])[] = [
  ['bare', BARE],
  ['bias', { ...BARE, bias: true }],
  ['state in', { ...BARE, stateIn: true }],
  ['state out', { ...BARE, stateOut: true }],
  ['everything', CONV_EVERYTHING],
];
const FROZEN: typeof OPTIONS = [
  ['frozen weight', { ...CONV_EVERYTHING, frozen: ['weight'] }],
  ['frozen', { ...CONV_EVERYTHING, frozen: ['weight', 'bias'] }],
];

type Make = (draw: Draw, shape: ConvShape, options: ConvOptions) => Launch;

function casesOf(make: Make, all: typeof OPTIONS): ContractCase[] {
  const shapes = SHAPES.flatMap(([b, l, d, k]) =>
    ([0, 1] as const).flatMap((silu) =>
      all.flatMap(([label, options]) =>
        variants(
          `${label} b=${b} l=${l} d=${d} k=${k} silu=${silu}`,
          TOLERANCE,
          (draw) => make(draw, { b, l, d, k, silu }, options),
          label === 'everything' && l < 50 ? undefined : ['mixed'],
        ),
      ),
    ),
  );
  const flags = FLAG_MODES.flatMap((mode) =>
    [1, 5, 70].flatMap((l) =>
      [2, 4].flatMap((k) =>
        single(`flags ${mode} l=${l} k=${k}`, TOLERANCE, (draw) =>
          make(draw, { b: 3, l, d: 19, k, silu: 1 }, { ...CONV_EVERYTHING, flags: mode }),
        ),
      ),
    ),
  );
  return [...shapes, ...flags];
}

export const convCases: CaseTable<'causal_conv' | 'causal_conv_bwd'> = {
  causal_conv: casesOf(convForward, OPTIONS),
  causal_conv_bwd: casesOf(
    (draw, shape, options) => convBackward(draw, convForward(draw, shape, options), options.frozen),
    [...OPTIONS, ...FROZEN],
  ),
};
