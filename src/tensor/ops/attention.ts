/**
 * Causal attention without a stored length x length matrix, rotary embeddings, and the positions that both go by.
 * Sources: Vaswani et al. 2017, section 3.2; Su et al. 2021 (rotary embeddings); Dao et al. 2022 (blocks of scores).
 */
import { DTypeError, ShapeError } from '../../core/index.ts';
import { record, willRecord } from '../autograd.ts';
import type { Device } from '../device.ts';
import type { Tensor } from '../tensor.ts';
import { checkFlags } from './causal-conv.ts';
import { add, cast, mul, relu, scale as scaled, shift, square, sub } from './elementwise.ts';
import { matmul } from './matmul.ts';
import { softmax } from './reduce.ts';
import { concat, contiguous, expand, narrow, permute, reshape } from './shape.ts';

const wholeType = (x: Tensor) => (x.dtype === 'f64' ? 'f64' : 'f32');

/** Positions and documents; all f32, so that they can be part of a state. Not differentiable. */
export interface SequencePositions {
  /** [b, l]: the number of the position within its document, not counting padding. */
  readonly positions: Tensor;
  /** [b, l]: the number of its document, -1 for padding. */
  readonly documents: Tensor;
  /** [b, 2]: next position and document now, to go on from. */
  readonly after: Tensor;
}

/**
 * Positions and documents from flags i32 [b, l] (absent: one document without padding), after `before` [b, 2] if given.
 * @throws ShapeError, DTypeError if flags or before do not fit
 */
export function sequencePositions(
  flags: Tensor | null,
  b: number,
  l: number,
  before: Tensor | null,
  device: Device,
): SequencePositions {
  checkFlags('sequencePositions', flags, b, l);
  if (before && (before.size !== 2 * b || before.cols !== 2)) {
    throw new ShapeError('sequencePositions', 'before', `[${b}, 2]`, before.shape);
  }
  const column = (t: Tensor) => t.alias([b * l, 1]);
  const [positions, documents] = [device.empty([b, l]), device.empty([b, l])];
  const after = device.empty([b, 2]);
  device.scope(() => {
    const tensors = { flags, before, positions: column(positions), documents: column(documents), after };
    device.launch('sequence_positions', tensors, { b, l });
  });
  return { positions, documents, after };
}

export interface RotaryOptions {
  readonly heads: number;
  /** Elements of each head that are turned, from its first; even. */
  readonly rotated: number;
  /** Pair i turns by base^(-2i/rotated) radians a position. */
  readonly base: number;
}

function checkRotary(x: Tensor, positions: Tensor, { heads, rotated }: RotaryOptions): number {
  const d = x.cols / heads;
  if (!Number.isInteger(d) || rotated > d || rotated % 2 !== 0) {
    throw new ShapeError('rotary', 'x', `[..., ${heads} heads of at least ${rotated} (an even number)]`, x.shape);
  }
  if (positions.size !== x.rows) throw new ShapeError('rotary', 'positions', `${x.rows} positions`, positions.shape);
  if (positions.dtype !== 'f32') throw new DTypeError('rotary', 'positions', 'f32', positions.dtype);
  return d;
}

const ratesOf = ({ rotated, base }: RotaryOptions): number[] =>
  Array.from({ length: rotated / 2 }, (_, i) => base ** ((-2 * i) / rotated));

/**
 * x [..., heads*d] with the pairs (i, i + rotated/2) of each head turned by its position (f32, one for each row of x).
 * @throws ShapeError, DTypeError naming the argument that does not fit
 */
export function rotary(x: Tensor, positions: Tensor, options: RotaryOptions): Tensor {
  const d = checkRotary(x, positions, options);
  const { heads, rotated } = options;
  const { device } = x;
  const turn = (from: Tensor, at: Tensor, inverse: number): Tensor => {
    const y = device.empty(from.shape, from.dtype);
    device.scope(() => {
      const rates = device.from(ratesOf(options), [1, rotated / 2]);
      const tensors = { x: from, positions: at.alias([at.size, 1]), rates, y };
      device.launch('rotary', tensors, { rows: from.rows, heads, d, rotated, inverse });
    });
    return y;
  };
  const y = turn(x, positions, 0);
  record('rotary', [x], [y], [positions], ([dy], [at]) => [turn(dy!, at, 1)]);
  return y;
}

/** `rotary` of positions that are plain numbers, composed from primitives: its twin for tests. */
export function rotaryRef(x: Tensor, positions: readonly number[], options: RotaryOptions): Tensor {
  const { heads, rotated } = options;
  const { device, rows } = x;
  const half = rotated / 2;
  const d = x.cols / heads;
  const rates = Float32Array.from(ratesOf(options));
  const [sine, cosine] = [Math.sin, Math.cos].map((f) => {
    const values = Array.from({ length: rows * half }, (_, i) => f(positions[Math.floor(i / half)] * rates[i % half]));
    return device.from(values, [rows, 1, half], x.dtype);
  });
  const whole = reshape(x, [rows, heads, d]);
  const part = (from: number, length: number) => contiguous(narrow(whole, 2, from, length));
  const [first, second] = [part(0, half), part(half, half)];
  const turned = [sub(mul(first, cosine), mul(second, sine)), add(mul(second, cosine), mul(first, sine))];
  return reshape(concat(rotated < d ? [...turned, part(rotated, d - rotated)] : turned, 2), x.shape);
}

export interface AttentionOptions {
  readonly heads: number;
  /** Heads of keys and values, each read by heads / kvHeads heads; as many unless given. */
  readonly kvHeads?: number;
  /** 1/sqrt(d) unless given. */
  readonly scale?: number;
  /** Documents of queries f32 [b, lq] and keys f32 [b, lk]; absent: all of one. -1 is padding. */
  readonly queryDocuments?: Tensor | null;
  readonly keyDocuments?: Tensor | null;
}

function checkAttention(q: Tensor, k: Tensor, v: Tensor, options: AttentionOptions) {
  const { heads, kvHeads = heads, queryDocuments = null, keyDocuments = null } = options;
  if (q.rank !== 3) throw new ShapeError('attention', 'q', '[b, lq, heads*d]', q.shape);
  const [b, lq, width] = q.shape;
  const d = width / heads;
  if (!Number.isInteger(d)) throw new ShapeError('attention', 'q', `[b, lq, ${heads} heads]`, q.shape);
  if (heads % kvHeads !== 0) throw new ShapeError('attention', 'k', `heads that divide ${heads}`, [kvHeads]);
  const lk = k.shape[1];
  const expect = (name: string, t: Tensor | null, shape: number[]) => {
    if (!t || (t.rank === shape.length && shape.every((n, i) => t.shape[i] === n))) return;
    throw new ShapeError('attention', name, `[${shape.join(', ')}]`, t.shape);
  };
  expect('k', k, [b, lk, kvHeads * d]);
  expect('v', v, [b, lk, kvHeads * d]);
  expect('queryDocuments', queryDocuments, [b, lq]);
  expect('keyDocuments', keyDocuments, [b, lk]);
  if (!queryDocuments !== !keyDocuments) {
    throw new ShapeError('attention', 'keyDocuments', 'documents of both or of neither', keyDocuments?.shape ?? []);
  }
  return { b, lq, lk, heads, kvHeads, d, scale: options.scale ?? 1 / Math.sqrt(d), queryDocuments, keyDocuments };
}

/**
 * Softmax over the keys that a query sees, times their values: of q [b, lq, heads*d] against k and v
 * [b, lk, kvHeads*d]. The queries are the last lq of lk positions; each sees the keys up to its own that are of its
 * document. Padding gives zeros. The result has q's shape and dtype. Memory grows as the length.
 * @throws ShapeError naming the argument that does not fit
 */
export function attention(q: Tensor, k: Tensor, v: Tensor, options: AttentionOptions): Tensor {
  const { queryDocuments, keyDocuments, scale, ...dims } = checkAttention(q, k, v, options);
  const { device } = q;
  const y = device.empty(q.shape, q.dtype);
  const lse = willRecord(q, k, v) ? device.empty([dims.b * dims.lq, dims.heads], wholeType(q)) : null;
  const column = (t: Tensor | null) => t?.alias([t.size, 1]) ?? null;
  const documents = () => ({ queryDocuments: column(queryDocuments), keyDocuments: column(keyDocuments) });
  device.scope(() => device.launch('attention', { q, k, v, ...documents(), y, lse }, dims, { scale }));
  if (!lse) return y;
  const known = queryDocuments && keyDocuments ? [queryDocuments, keyDocuments] : [];
  record('attention', [q, k, v], [y], [q, k, v, y, lse, ...known], ([dy], [sq, sk, sv, sy, sums, own, seen]) => {
    const [dq, dk, dv] = [sq, sk, sv].map((t) => device.empty(t.shape, t.dtype));
    device.scope(() => {
      const which = { queryDocuments: column(own ?? null), keyDocuments: column(seen ?? null) };
      device.launch('attention_bwd', { q: sq, k: sk, v: sv, ...which, y: sy, lse: sums, dy, dq, dk, dv }, dims, {
        scale,
      });
    });
    return [dq, dk, dv];
  });
  lse.dispose();
  return y;
}

/** Far below any score; its exponential is 0. */
const HIDDEN = -1e9;

/** `attention` composed from primitives, with all scores in memory: its twin for tests. */
export function attentionRef(q: Tensor, k: Tensor, v: Tensor, options: AttentionOptions): Tensor {
  const { b, lq, lk, heads, kvHeads, d, scale, queryDocuments, keyDocuments } = checkAttention(q, k, v, options);
  const { device } = q;
  const perHead = (t: Tensor, l: number, count: number) => permute(reshape(t, [b, l, count, d]), [0, 2, 1, 3]);
  const repeated = (t: Tensor) =>
    reshape(expand(reshape(perHead(t, lk, kvHeads), [b, kvHeads, 1, lk, d]), [b, kvHeads, heads / kvHeads, lk, d]), [
      b,
      heads,
      lk,
      d,
    ]);
  const isLater = (i: number) => (i % lk) - (lk - lq) > Math.floor(i / lk);
  const later = Array.from({ length: lq * lk }, (_, i) => (isLater(i) ? HIDDEN : 0));
  let scores = add(
    scaled(matmul(perHead(q, lq, heads), repeated(k), { transB: true }), scale),
    device.from(later, [1, 1, lq, lk], q.dtype),
  );
  if (queryDocuments && keyDocuments) {
    const own = expand(reshape(cast(queryDocuments, q.dtype), [b, 1, lq, 1]), [b, 1, lq, lk]);
    const apart = square(sub(own, expand(reshape(cast(keyDocuments, q.dtype), [b, 1, 1, lk]), [b, 1, lq, lk])));
    scores = add(scores, scaled(apart, HIDDEN));
  }
  const y = reshape(permute(matmul(softmax(scores), repeated(v)), [0, 2, 1, 3]), q.shape);
  if (!queryDocuments) return y;
  const isThere = shift(scaled(relu(scaled(cast(queryDocuments, q.dtype), -1)), -1), 1); // 1 - max(0, -document)
  return mul(y, reshape(isThere, [b, lq, 1]));
}
