/** Contract cases of the selective scan. The makers are used by gradient checks and tests of properties too. */
import type { Tolerance } from '../comparison.ts';
import type { Draw, Operand } from '../operands.ts';
import { evaluate, type Launch } from '../runner.ts';
import { type CaseTable, type ContractCase, single, variants } from './case.ts';
import { FLAG_MODES, type FlagMode, flagsFor } from './flags.ts';

export interface ScanShape {
  readonly b: number;
  readonly l: number;
  readonly d: number;
  readonly n: number;
  readonly chunk: number;
  readonly softplus: 0 | 1;
}

export interface ScanOptions {
  readonly flags: FlagMode;
  /** Skip d, gate z and dtBias. */
  readonly skip: boolean;
  readonly gate: boolean;
  readonly dtBias: boolean;
  readonly stateIn: boolean;
  readonly stateOut: boolean;
  readonly checkpoints: boolean;
  /** Steps beyond 20, where softplus is the identity and the state is forgotten at once. */
  readonly largeSteps?: boolean;
  /** Whether a, d and dtBias want no gradient. */
  readonly isFrozen?: boolean;
}

const TOLERANCE: Tolerance = { rel: 1e-5, floor: 'largest' };
const BARE: ScanOptions = {
  flags: 'none',
  skip: false,
  gate: false,
  dtBias: false,
  stateIn: false,
  stateOut: false,
  checkpoints: false,
};
export const SCAN_EVERYTHING: ScanOptions = {
  flags: 'mixed',
  skip: true,
  gate: true,
  dtBias: true,
  stateIn: true,
  stateOut: true,
  checkpoints: true,
};

/** Without softplus steps must not be negative; with it they are raw. */
function steps(draw: Draw, rows: number, d: number, softplus: number, largeSteps = false): Operand {
  if (!softplus) return draw.uniform(rows, d, 0.01, 0.5);
  const make = () => (largeSteps && draw.random.uniform() < 0.5 ? 30 : draw.random.normal() - 1);
  return draw.values(rows, d, make);
}

export function scanForward(draw: Draw, shape: ScanShape, options: ScanOptions): Launch {
  const { b, l, d, n, chunk, softplus } = shape;
  const fixed = draw.fixed();
  return {
    kernel: 'selective_scan',
    tensors: {
      u: draw.normal(b * l, d),
      dt: steps(draw, b * l, d, softplus, options.largeSteps),
      a: draw.uniform(n, d, -6, -0.2, fixed),
      b: draw.normal(b * l, n),
      c: draw.normal(b * l, n),
      d: options.skip ? draw.normal(1, d, fixed) : null,
      z: options.gate ? draw.normal(b * l, d) : null,
      dtBias: options.dtBias ? draw.uniform(1, d, 0, 0.3, fixed) : null,
      flags: flagsFor(draw, options.flags, b, l),
      stateIn: options.stateIn ? draw.normal(b * n, d, fixed) : null,
      y: draw.output(b * l, d),
      stateOut: options.stateOut ? draw.output(b * n, d, fixed) : null,
      checkpoints: options.checkpoints ? draw.output(b * Math.ceil(l / chunk) * n, d, fixed) : null,
    },
    dims: { ...shape },
    scalars: {},
  };
}

/**
 * The backward launch for a forward one, with checkpoints of the reference device. Gradients of what the forward launch does
 * not have, or is frozen, are left out.
 */
export async function scanBackward(draw: Draw, forward: Launch, isFrozen = false): Promise<Launch> {
  const { b, l, d, n, chunk } = forward.dims;
  const { u, dt, a, b: bMatrix, c, d: skip, z, dtBias, flags, stateIn, stateOut } = forward.tensors;
  const fixed = draw.fixed();
  const rows = b * Math.ceil(l / chunk) * n;
  const withCheckpoints = { ...forward.tensors, checkpoints: draw.output(rows, d, fixed) };
  const { checkpoints } = await evaluate({ ...forward, tensors: withCheckpoints });
  return {
    kernel: 'selective_scan_bwd',
    tensors: {
      ...{ u, dt, a, b: bMatrix, c, d: skip, z, dtBias, flags },
      checkpoints: draw.place(rows, d, checkpoints, fixed),
      dy: draw.normal(b * l, d),
      dstateOut: stateOut && draw.normal(b * n, d, fixed),
      du: draw.output(b * l, d),
      ddt: draw.output(b * l, d),
      da: isFrozen ? null : draw.normal(n, d, fixed),
      db: draw.output(b * l, n),
      dc: draw.output(b * l, n),
      dd: isFrozen ? null : skip && draw.normal(1, d, fixed),
      dz: z && draw.output(b * l, d),
      ddtBias: isFrozen ? null : dtBias && draw.normal(1, d, fixed),
      dstateIn: stateIn && draw.output(b * n, d, fixed),
    },
    dims: forward.dims,
    scalars: {},
  };
}

const CHUNK = 8;
/** Lengths around the chunk, channels around the vector widths, states that are not the usual 16. */
const SHAPES: readonly (readonly [b: number, l: number, d: number, n: number])[] = [
  [0, 3, 4, 4],
  [2, 0, 5, 4],
  [1, 1, 1, 1],
  [2, 1, 3, 16],
  [1, CHUNK - 1, 7, 16],
  [2, CHUNK, 8, 5],
  [1, CHUNK + 1, 17, 16],
  [2, 2 * CHUNK + 3, 33, 3],
  [1, 10, 16, 33],
  [2, 60, 37, 16],
];

const OPTIONS: readonly (readonly [label: string, options: ScanOptions])[] = [
  ['bare', BARE],
  ['skip', { ...BARE, skip: true }],
  ['gate', { ...BARE, gate: true }],
  ['dtBias', { ...BARE, dtBias: true }],
  ['states', { ...BARE, stateIn: true, stateOut: true }],
  ['model', { ...SCAN_EVERYTHING, flags: 'none', stateIn: false, stateOut: false }],
  ['everything', SCAN_EVERYTHING],
];
const FROZEN: typeof OPTIONS = [['frozen', { ...SCAN_EVERYTHING, isFrozen: true }]];

type Make = (draw: Draw, shape: ScanShape, options: ScanOptions) => Launch | Promise<Launch>;

function casesOf(make: Make, all: typeof OPTIONS): ContractCase[] {
  const shapes = SHAPES.flatMap(([b, l, d, n]) =>
    ([0, 1] as const).flatMap((softplus) =>
      all.flatMap(([label, options]) =>
        variants(
          `${label} b=${b} l=${l} d=${d} n=${n} softplus=${softplus}`,
          TOLERANCE,
          (draw) => make(draw, { b, l, d, n, chunk: CHUNK, softplus }, options),
          label === 'everything' && l < 50 ? undefined : ['mixed'],
        ),
      ),
    ),
  );
  const flags = FLAG_MODES.flatMap((mode) =>
    [1, 5, 40].flatMap((l) =>
      single(`flags ${mode} l=${l}`, TOLERANCE, (draw) =>
        make(draw, { b: 3, l, d: 19, n: 4, chunk: CHUNK, softplus: 1 }, { ...SCAN_EVERYTHING, flags: mode }),
      ),
    ),
  );
  const chunks = [1, 3, 16, 64].flatMap((chunk) =>
    single(`chunk=${chunk}`, TOLERANCE, (draw) =>
      make(draw, { b: 2, l: 50, d: 9, n: 6, chunk, softplus: 1 }, SCAN_EVERYTHING),
    ),
  );
  const large = variants('large steps', TOLERANCE, (draw) =>
    make(draw, { b: 1, l: 12, d: 18, n: 4, chunk: CHUNK, softplus: 1 }, { ...SCAN_EVERYTHING, largeSteps: true }),
  );
  return [...shapes, ...flags, ...chunks, ...large];
}

export const scanCases: CaseTable<'selective_scan' | 'selective_scan_bwd'> = {
  selective_scan: casesOf(scanForward, OPTIONS),
  selective_scan_bwd: casesOf(
    async (draw, shape, options) => scanBackward(draw, scanForward(draw, shape, options), options.isFrozen),
    [...OPTIONS, ...FROZEN],
  ),
};
