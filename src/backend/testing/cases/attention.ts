/** Attention with documents, padding, remembered keys and grouped heads; rotary embeddings; positions. */
import type { Tolerance } from '../comparison.ts';
import { EXACT } from '../comparison.ts';
import type { Draw, Operand } from '../operands.ts';
import { evaluate, type Launch } from '../runner.ts';
import { type CaseTable, type ContractCase, single, sized, variants } from './case.ts';
import { FLAG_MODES, type FlagMode, flagsFor } from './flags.ts';

export interface AttentionShape {
  readonly b: number;
  readonly lq: number;
  /** Keys from before the first query. */
  readonly past: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly d: number;
  readonly mode: FlagMode;
}

/** Document of every key: from flags, as `sequence_positions` would have it. */
async function documentsOf(draw: Draw, { mode, b }: AttentionShape, lk: number): Promise<Operand | null> {
  const flags = flagsFor(draw, mode, b, lk);
  if (!flags) return null;
  const { documents } = await evaluate(positionsLaunch(draw, b, lk, flags, false));
  return draw.values(b * lk, 1, (i) => documents[i], draw.fixed());
}

function positionsLaunch(draw: Draw, b: number, l: number, flags: Operand | null, isLater: boolean): Launch {
  const column = () => draw.output(b * l, 1, draw.fixed());
  return {
    kernel: 'sequence_positions',
    tensors: {
      flags,
      before: isLater ? draw.values(b, 2, (i) => 3 + 5 * i, draw.fixed()) : null,
      positions: column(),
      documents: column(),
      after: isLater ? draw.output(b, 2, draw.fixed()) : null,
    },
    dims: { b, l },
    scalars: {},
  };
}

/** The last `lq` of every `lk` rows. */
function tailRows(draw: Draw, keys: Operand, b: number, lq: number, lk: number): Operand {
  const at = (i: number) => Math.floor(i / lq) * lk + (lk - lq) + (i % lq);
  return draw.values(b * lq, 1, (i) => keys.values![at(i)], draw.fixed());
}

export async function attentionForward(draw: Draw, shape: AttentionShape, spread = 1): Promise<Launch> {
  const { b, lq, past, heads, kvHeads, d } = shape;
  const lk = past + lq;
  const keyDocuments = await documentsOf(draw, shape, lk);
  return {
    kernel: 'attention',
    tensors: {
      q: draw.normal(b * lq, heads * d, draw.any(), spread),
      k: draw.normal(b * lk, kvHeads * d),
      v: draw.normal(b * lk, kvHeads * d),
      queryDocuments: keyDocuments && tailRows(draw, keyDocuments, b, lq, lk),
      keyDocuments,
      y: draw.output(b * lq, heads * d),
      lse: draw.output(b * lq, heads, draw.fixed()),
    },
    dims: { b, lq, lk, heads, kvHeads, d },
    scalars: { scale: 1 / Math.sqrt(d) },
  };
}

export async function attentionBackward(draw: Draw, forward: Launch): Promise<Launch> {
  const { q, k, v, queryDocuments, keyDocuments, y, lse } = forward.tensors;
  const found = await evaluate(forward);
  const like = (x: Operand | null | undefined) => draw.output(x!.rows, x!.cols);
  const given = (x: Operand, values: Float64Array) => draw.values(x.rows, x.cols, (i) => values[i], x.dtype);
  return {
    kernel: 'attention_bwd',
    tensors: {
      ...{ q, k, v, queryDocuments, keyDocuments },
      y: given(y!, found.y),
      lse: given(lse!, found.lse),
      dy: draw.normal(y!.rows, y!.cols),
      ...{ dq: like(q), dk: like(k), dv: like(v) },
    },
    dims: forward.dims,
    scalars: forward.scalars,
  };
}

export function rotaryLaunch(
  draw: Draw,
  rows: number,
  heads: number,
  d: number,
  rotated: number,
  inverse: 0 | 1,
): Launch {
  return {
    kernel: 'rotary',
    tensors: {
      x: draw.normal(rows, heads * d),
      positions: draw.values(rows, 1, (i) => (i % 3 ? 17 * i : 100_003 * i), draw.fixed()),
      rates: draw.values(1, rotated / 2, (i) => 10_000 ** ((-2 * i) / rotated), draw.fixed()),
      y: draw.output(rows, heads * d),
    },
    dims: { rows, heads, d, rotated, inverse },
    scalars: {},
  };
}

const BASE: AttentionShape = { b: 2, lq: 5, past: 0, heads: 2, kvHeads: 2, d: 8, mode: 'none' };
const SHAPES: readonly (readonly [label: string, shape: Partial<AttentionShape>])[] = [
  ['plain', {}],
  ['one query', { lq: 1, past: 70 }],
  ['three queries', { lq: 3, past: 64 }],
  ['nothing', { lq: 0 }],
  ['remembered keys', { lq: 7, past: 13 }],
  ['several blocks', { b: 1, lq: 75, past: 60, d: 12 }],
  ['grouped heads', { heads: 6, kvHeads: 2, d: 5 }],
  ['one element', { d: 1, heads: 1, kvHeads: 1 }],
  ['wide heads', { d: 67, heads: 1, kvHeads: 1, lq: 40 }],
  ...FLAG_MODES.slice(1).map((mode) => [`flags ${mode}`, { mode, lq: 9, past: 4 }] as const),
  ['documents over blocks', { b: 1, mode: 'mixed', lq: 100, past: 3, heads: 1, kvHeads: 1 }],
];

const TOLERANCE: Tolerance = { rel: 4e-6, floor: 'largest' };

/** Where a query sees itself alone, what cancels to 0 leaves a rounding error. */
const GRADIENT: Tolerance = { rel: 1e-5, floor: 1 };

const attention: ContractCase[] = [
  ...SHAPES.flatMap(([label, shape]) => {
    const whole = { ...BASE, ...shape };
    return sized(whole.lq * (whole.lq + whole.past), label, TOLERANCE, (draw) => attentionForward(draw, whole));
  }),
  ...single('large scores', { rel: 1e-4, floor: 'largest' }, (draw) =>
    attentionForward(draw, { ...BASE, lq: 40 }, 300),
  ),
  ...single('equal scores', TOLERANCE, (draw) => attentionForward(draw, { ...BASE, lq: 70 }, 0)),
  ...single('no logarithms', TOLERANCE, async (draw) => {
    const launch = await attentionForward(draw, BASE);
    return { ...launch, tensors: { ...launch.tensors, lse: null } };
  }),
];

const attention_bwd: ContractCase[] = SHAPES.flatMap(([label, shape]) => {
  const whole = { ...BASE, ...shape };
  return sized(whole.lq * (whole.lq + whole.past), label, GRADIENT, async (draw) =>
    attentionBackward(draw, await attentionForward(draw, whole)),
  );
});

const rotary: ContractCase[] = [
  ...(
    [
      [1, 1, 2, 2],
      [7, 3, 10, 6],
      [5, 2, 8, 0],
      [40, 4, 16, 16],
      [0, 2, 4, 4],
    ] as const
  ).flatMap(([rows, heads, d, rotated]) =>
    ([0, 1] as const).flatMap((inverse) =>
      variants(`${rows} x ${heads} x ${d}, ${rotated} turned, inverse ${inverse}`, { rel: 1e-6, floor: 1 }, (draw) =>
        rotaryLaunch(draw, rows, heads, d, rotated, inverse),
      ),
    ),
  ),
  ...variants('in place', { rel: 1e-6, floor: 1 }, (draw) => {
    const launch = rotaryLaunch(draw, 6, 3, 10, 6, 0);
    return { ...launch, tensors: { ...launch.tensors, y: launch.tensors.x }, inPlace: { y: 'x' } };
  }),
];

const sequence_positions: ContractCase[] = FLAG_MODES.flatMap((mode) =>
  [false, true].flatMap((isLater) =>
    single(`${mode} ${isLater ? 'later' : 'first'}`, EXACT, (draw) =>
      positionsLaunch(draw, 3, 11, flagsFor(draw, mode, 3, 11), isLater),
    ),
  ),
);

export const attentionCases: CaseTable<'sequence_positions' | 'rotary' | 'attention' | 'attention_bwd'> = {
  sequence_positions,
  rotary,
  attention,
  attention_bwd,
};
