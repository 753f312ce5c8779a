/**
 * The kernel table: for every kernel its name, the order of its arguments (which is the ABI of the native and
 * WASM devices), what it computes, and its cost. The plain definition of each stands in `reference/`.
 *
 * Every tensor argument is a matrix seen through (address, ld, dtype): `ld` is the distance between rows in
 * elements, columns are dense. Higher ranks arrive flattened to rows; `[b, l, d]` is b*l rows of d columns.
 * A name with `?` may be null. `+=` marks outputs that are added to. Arithmetic is f32 (f64 on the reference)
 * whatever the storage type; outputs are rounded once. Outputs never alias inputs unless the row says so.
 *
 * i8 is the type of quantised weights and of nothing else: one tensor of `QUANTISED` kernels may have it, if and only if
 * its `scale` is given too.
 *
 * Sequence kernels take `flags`, i32 [b, l]: bit 0 set means the state is zeroed before this position (a new
 * document starts), bit 1 set means the position is padding: it is skipped as if it were not there, its
 * outputs and gradients are 0.
 */
export const FLAG_RESET = 1;
export const FLAG_PAD = 2;

export const UNARY_OPS = [
  'neg',
  'abs',
  'square',
  'sqrt',
  'rsqrt',
  'reciprocal',
  'exp',
  'log',
  'sigmoid',
  'silu',
  'softplus',
  'tanh',
  'relu',
  'gelu',
  'scale',
  'shift',
] as const; // scale: x*param, shift: x+param, gelu: exact (erf), softplus: x <= 20 ? log1p(exp(x)) : x
export type UnaryOp = (typeof UNARY_OPS)[number];

export const BINARY_OPS = ['add', 'sub', 'mul', 'div', 'max', 'rsub', 'rdiv'] as const; // rsub: b-a, rdiv: b/a
export type BinaryOp = (typeof BINARY_OPS)[number];

/** How the second argument of `binary` is stretched over the rows and columns of the first. */
export const BROADCAST_MODES = ['same', 'row', 'column', 'scalar'] as const; // row: b is [1, cols]; column: b is [rows, 1] (ld applies)
export type BroadcastMode = (typeof BROADCAST_MODES)[number];

export const REDUCE_OPS = ['sum', 'max', 'min', 'sum_squares'] as const;
export type ReduceOp = (typeof REDUCE_OPS)[number];

type Dims = Record<string, number>;

export interface KernelSpec {
  readonly tensors: readonly string[];
  readonly dims: readonly string[];
  readonly scalars: readonly string[];
  readonly doc: string;
  /**
   * Floating-point operations: a fused multiply-add counts as 2, a division or square root as 1, a transcendental as 1
   * but in scans and convolutions (`EXP_FLOPS`).
   */
  readonly flops: (d: Dims) => number;
  /**
   * Elements of each tensor that must be read or written, doubled where both (`+=` doubles by itself): a list in the
   * order of `tensors`, or one number for all. d: dims, s: scalars. `costOf` makes bytes of it.
   */
  readonly elements: (d: Dims, s: Dims) => number | readonly number[];
}

const row = (
  tensors: string,
  dims: string,
  scalars: string,
  doc: string,
  flops: (d: Dims) => number,
  elements: KernelSpec['elements'],
): KernelSpec => {
  const words = (s: string) => (s === '' ? [] : s.split(' '));
  return { tensors: words(tensors), dims: words(dims), scalars: words(scalars), doc, flops, elements };
};

const none = () => 0;
const rc = (d: Dims) => d.rows * d.cols;
const bld = (d: Dims) => d.b * d.l * d.d;
const permuted = (d: Dims) => d.n0 * d.n1 * d.n2 * d.n3 * d.n4 * d.n5;
const unrepeated = (d: Dims) =>
  Math.min(
    permuted(d),
    [0, 1, 2, 3, 4, 5].reduce((count, i) => count * (d[`s${i}`] === 0 ? 1 : d[`n${i}`]), 1),
  );
const convState = (d: Dims) => d.b * (d.k - 1) * d.d;
const convInputs = (d: Dims) => [bld(d), d.d * d.k, d.d, d.b * d.l, convState(d)];

/**
 * Operations of e^x where they are the work: 3 that split the argument, 5 fused multiply-adds of a polynomial that is
 * right to f32, 1 that scales; a convention, some variants take others. Those of softplus (e^x, log(1 + u) by a polynomial, a quotient) and of x/(1 + e^-x).
 */
export const EXP_FLOPS = 14;
export const SOFTPLUS_FLOPS = EXP_FLOPS + 20;
const SILU = EXP_FLOPS + 3;

/** Sizes of attention: pairs of a query and a visible key over all heads; elements of queries and of keys. */
const pairs = (d: Dims) => d.b * d.heads * d.lq * Math.max(0, d.lk - (d.lq - 1) / 2);
const attentionSizes = (d: Dims) => ({ query: d.b * d.lq * d.heads * d.d, key: d.b * d.lk * d.kvHeads * d.d });

/** Sizes of selective_scan: its channels, its selections, a state for each sequence, and the checkpoints. */
const scanSizes = (d: Dims) => ({
  flow: bld(d),
  select: d.b * d.l * d.n,
  state: d.b * d.n * d.d,
  kept: d.b * Math.ceil(d.l / Math.max(1, d.chunk)) * d.n * d.d,
});

export const KERNELS = {
  // --- memory -------------------------------------------------------------------------------------------
  fill: row('y', 'rows cols', 'value', 'y = value', none, rc),
  copy: row('x y', 'rows cols', '', 'y = x, converting the dtype', none, rc),
  accumulate: row(
    'x y',
    'rows cols',
    'alpha',
    'y += alpha * x, converting the dtype',
    (d) => 2 * rc(d),
    (d) => [rc(d), 2 * rc(d)],
  ),
  permute: row(
    'x y',
    'n0 n1 n2 n3 n4 n5 s0 s1 s2 s3 s4 s5',
    '',
    'y (dense, [n0..n5]) = x[i0*s0 + ... + i5*s5]: transposes, slices and broadcasts (stride 0); x.ld, y.ld unused',
    none,
    (d) => [unrepeated(d), permuted(d)],
  ),
  // --- elementwise and reductions -------------------------------------------------------------------------
  unary: row('x y', 'rows cols op', 'param', 'y = UNARY_OPS[op](x); y may be x', rc, rc),
  unary_bwd: row('x dy dx', 'rows cols op', 'param', "dx = dy * op'(x); dx may be dy", (d) => 3 * rc(d), rc),
  binary: row(
    'a b y',
    'rows cols op mode',
    '',
    'y = a op b, b stretched by BROADCAST_MODES[mode]; y may be a',
    rc,
    (d) => [rc(d), [rc(d), d.cols, d.rows, 1][d.mode], rc(d)],
  ),
  reduce: row(
    'x y',
    'outer n inner op',
    '',
    'x dense [outer, n, inner] -> y dense [outer, inner] by REDUCE_OPS[op]; sum of nothing is 0; x.ld, y.ld unused',
    (d) => d.outer * d.n * d.inner,
    (d) => [d.outer * d.n * d.inner, d.outer * d.inner],
  ),
  argmax: row('x y', 'rows cols', '', 'y i32 [rows] = first column of the largest of a row', rc, (d) => [
    rc(d),
    d.rows,
  ]),
  softmax: row(
    'x y',
    'rows cols log',
    '',
    'y = softmax(x) over columns, or its logarithm; y may be x',
    (d) => 4 * rc(d),
    rc,
  ),
  softmax_bwd: row('y dy dx', 'rows cols log', '', 'gradient of softmax from its output y', (d) => 4 * rc(d), rc),
  dropout: row(
    'x y',
    'rows cols seed stream',
    'p',
    'element i = row*cols+col is kept if unit(philoxBlock(seed, stream, i>>2)[i&3]) >= p: y = x/(1-p), else 0; y may be x',
    (d) => 2 * rc(d),
    rc,
  ),
  random_uniform: row(
    'y',
    'rows cols seed stream',
    'low high',
    'y = low + (high-low)*unit, numbered as in dropout',
    (d) => 2 * rc(d),
    rc,
  ),
  // --- matrix products --------------------------------------------------------------------------------------
  matmul: row(
    'a b bias? c scale?',
    'batch m n k transA transB strideA strideB strideC',
    'alpha beta',
    'c[i] = alpha * op(a[i]) op(b[i]) + beta * c[i] + bias; op(a) is m x k (a stored k x m if transA), op(b) is k x n ' +
      '(b stored n x k if transB); bias [n]; strides between batches in elements, 0 shares; beta 0 never reads c; ' +
      'k = 0 gives beta * c + bias. Each of a, b, c may be f32, bf16 or f16; b may be i8, with scale f32 [n]: ' +
      'c[i] = alpha * op(a[i]) op(b[i]) * scale (of each column) + beta * c[i] + bias',
    (d) => 2 * d.batch * d.m * d.n * d.k,
    (d, s) => {
      const [a, b] = [d.strideA, d.strideB].map((stride) => (stride === 0 ? Math.min(1, d.batch) : d.batch));
      return [a * d.m * d.k, b * d.k * d.n, d.n, (s.beta === 0 ? 1 : 2) * d.batch * d.m * d.n, d.n];
    },
  ),
  // --- embedding ------------------------------------------------------------------------------------------
  embedding: row(
    'table ids y scale?',
    'n d v',
    '',
    'y[i] = table[ids[i]]; ids i32 [n, 1]; an id outside 0..v-1 gives zeros. table may be i8, with scale f32 [v]: ' +
      'y[i] = table[ids[i]] * scale[ids[i]]',
    none,
    (d) => [d.n * d.d, d.n, d.n * d.d, d.n],
  ),
  embedding_bwd: row(
    'dy ids dtable',
    'n d v',
    '',
    'dtable[ids[i]] += dy[i] in the order of i; ids outside are skipped',
    (d) => d.n * d.d,
    (d) => [d.n * d.d, d.n, 2 * d.n * d.d],
  ),
  // --- norms ----------------------------------------------------------------------------------------------
  rms_norm: row(
    'x residual? weight? y sum? rstd?',
    'rows cols',
    'eps',
    's = x (+ residual); rstd = 1/sqrt(mean(s^2) + eps), f32 [rows, 1]; y = s * rstd * weight; sum = s',
    (d) => 4 * rc(d),
    (d) => [rc(d), rc(d), d.cols, rc(d), rc(d), d.rows],
  ),
  rms_norm_bwd: row(
    's weight? rstd dy dsum? dx dweight+=?',
    'rows cols',
    '',
    'gradient with respect to s: dx = rstd*(g - s*rstd^2*mean(g*s)) + dsum with g = dy*weight; dweight (f32) += sum over rows of dy*s*rstd',
    (d) => 8 * rc(d),
    (d) => [rc(d), d.cols, d.rows, rc(d), rc(d), rc(d), d.cols],
  ),
  layer_norm: row(
    'x residual? weight? bias? y sum? mean? rstd?',
    'rows cols',
    'eps',
    's = x (+ residual); y = (s - mean)*rstd*weight + bias with rstd = 1/sqrt(var + eps), biased variance; sum = s',
    (d) => 6 * rc(d),
    (d) => [rc(d), rc(d), d.cols, d.cols, rc(d), rc(d), d.rows, d.rows],
  ),
  layer_norm_bwd: row(
    's weight? mean rstd dy dsum? dx dweight+=? dbias+=?',
    'rows cols',
    '',
    'gradient with respect to s (+ dsum), weight and bias',
    (d) => 10 * rc(d),
    (d) => [rc(d), d.cols, d.rows, d.rows, rc(d), rc(d), rc(d), d.cols, d.cols],
  ),
  // --- sequence mixing ------------------------------------------------------------------------------------
  causal_conv: row(
    'x weight bias? flags? stateIn? y stateOut?',
    'b l d k silu',
    '',
    'depthwise: y[t] = f(bias + sum_j weight[:, j] * x[t-k+1+j]) over the positions of the same document that are not padding, ' +
      'f = SiLU or identity. x, y [b*l, d]; weight f32 [d, k]; states [b*(k-1), d]: the last k-1 inputs, oldest first, zero where ' +
      'there were none',
    (d) => bld(d) * (2 * d.k + SILU * d.silu),
    (d) => [...convInputs(d), bld(d), convState(d)],
  ),
  causal_conv_bwd: row(
    'x weight bias? flags? stateIn? dy dstateOut? dx dweight+=? dbias+=? dstateIn?',
    'b l d k silu',
    '',
    'gradient of causal_conv; the activation is recomputed; dweight f32 [d, k], dbias f32 [d]',
    (d) => bld(d) * (6 * d.k + (SILU + 6) * d.silu),
    (d) => [...convInputs(d), bld(d), convState(d), bld(d), d.d * d.k, d.d, convState(d)],
  ),
  selective_scan: row(
    'u dt a b c d? z? dtBias? flags? stateIn? y stateOut? checkpoints?',
    'b l d n chunk softplus',
    '',
    'delta = dt + dtBias, through softplus if softplus = 1; h[t] = exp(delta*a)*h[t-1] + delta*u*b[t]; ' +
      'y = (sum_n c[t]*h[t] + d*u) * silu(z). u, dt, y, z [b*l, d]; a f32 [n, d] (negative; transposed against checkpoints of the hub); ' +
      'b, c [b*l, n]; d, dtBias f32 [d]; states f32 [b*n, d]; checkpoints f32 [b*ceil(l/chunk)*n, d]: h before the first position of each chunk',
    // A state: delta*a, e^x, decay*h + delta*u*b, its share of the sum. A position: bias, delta*u, d*u, the gate.
    (d) => bld(d) * ((EXP_FLOPS + 6) * d.n + 5 + SOFTPLUS_FLOPS * d.softplus + SILU),
    (d) => {
      const { flow, select, state, kept } = scanSizes(d);
      return [flow, flow, d.n * d.d, select, select, d.d, flow, d.d, d.b * d.l, state, flow, state, kept];
    },
  ),
  selective_scan_bwd: row(
    'u dt a b c d? z? dtBias? flags? checkpoints dy dstateOut? du ddt da+=? db dc dd+=? dz? ddtBias+=? dstateIn?',
    'b l d n chunk softplus',
    '',
    'gradient of selective_scan; h is recomputed chunk by chunk from the checkpoints; ddt is with respect to dt before bias and softplus; ' +
      'da f32 [n, d], dd, ddtBias f32 [d] are added to; db, dc [b*l, n], dstateIn f32 [b*n, d] are overwritten',
    // A state: all of selective_scan's again, then dh, db, dc, du, ddt and da, 2 operations each, and 2 products.
    (d) => bld(d) * ((EXP_FLOPS + 20) * d.n + 25 + (SOFTPLUS_FLOPS + 3) * d.softplus + SILU),
    (d) => {
      const { flow, select, state, kept } = scanSizes(d);
      const inputs = [flow, flow, d.n * d.d, select, select, d.d, flow, d.d, d.b * d.l, kept, flow, state];
      return [...inputs, flow, flow, d.n * d.d, select, select, d.d, flow, d.d, state];
    },
  ),
  // --- attention ------------------------------------------------------------------------------------------
  sequence_positions: row(
    'flags? before? positions documents after?',
    'b l',
    '',
    'where positions stand: positions f32 [b*l, 1], the number within the document without padding (padding has that of ' +
      'the next); documents f32 [b*l, 1], the number of the document, -1 for padding. before, after f32 [b, 2]: next ' +
      'position and document now, 0 and 0 where there was nothing. A reset starts document + 1 at position 0, but not at padding',
    none,
    (d) => [d.b * d.l, 2 * d.b, d.b * d.l, d.b * d.l, 2 * d.b],
  ),
  rotary: row(
    'x positions rates y',
    'rows heads d rotated inverse',
    '',
    'of each head (d columns) the elements i and i + rotated/2, i < rotated/2, turned by the angle ' +
      'positions[row] * rates[i], back if inverse = 1; the rest copied. x, y [rows, heads*d], positions f32 [rows, 1], ' +
      'rates f32 [1, rotated/2]; y may be x',
    (d) => d.rows * (3 * d.heads * d.rotated + d.rotated),
    (d) => [d.rows * d.heads * d.d, d.rows, d.rotated / 2, d.rows * d.heads * d.d],
  ),
  attention: row(
    'q k v queryDocuments? keyDocuments? y lse?',
    'b lq lk heads kvHeads d',
    'scale',
    'y[t] = sum_s softmax_s(scale * q[t].k[s]) v[s] over the keys s <= t + lk - lq of the same document, of each head; ' +
      'head h reads k and v of head floor(h * kvHeads / heads). q, y [b*lq, heads*d]; k, v [b*lk, kvHeads*d]; documents f32 ' +
      '[b*lq, 1] and [b*lk, 1] (both or none), -1 is padding; a query that sees nothing gives zeros. lse f32 [b*lq, heads]: ' +
      'log sum_s e^(scale * q[t].k[s]), 0 where nothing is seen',
    (d) => pairs(d) * (4 * d.d + EXP_FLOPS),
    (d) => {
      const { query, key } = attentionSizes(d);
      return [query, key, key, d.b * d.lq, d.b * d.lk, query, d.b * d.lq * d.heads];
    },
  ),
  attention_bwd: row(
    'q k v queryDocuments? keyDocuments? y lse dy dq dk dv',
    'b lq lk heads kvHeads d',
    'scale',
    'gradient of attention; the probabilities are recomputed from lse',
    (d) => pairs(d) * (10 * d.d + EXP_FLOPS + 2),
    (d) => {
      const { query, key } = attentionSizes(d);
      const inputs = [query, key, key, d.b * d.lq, d.b * d.lk, query, d.b * d.lq * d.heads, query];
      return [...inputs, query, key, key];
    },
  ),
  // --- loss and optimiser ---------------------------------------------------------------------------------
  cross_entropy: row(
    'logits targets losses dlogits?',
    'rows cols ignore',
    'gradScale',
    'losses f32 [rows, 1] = logsumexp(logits) - logits[target], 0 where target = ignore; targets i32 [rows, 1]; ' +
      'dlogits = gradScale * (softmax - onehot), zeros where ignored; dlogits may be logits',
    (d) => 5 * rc(d),
    (d) => [rc(d), d.rows, d.rows, rc(d)],
  ),
  sum_squares: row(
    'x acc+=',
    'rows cols',
    '',
    'acc f32 [1] += sum of x^2, summed in f64 in fixed blocks; not finite stays not finite',
    (d) => 2 * rc(d),
    (d) => [rc(d), 1],
  ),
  clip_control: row(
    'acc control',
    '',
    'maxNorm inverseScale',
    'norm = sqrt(acc)*inverseScale; control f32 [4] = [finite ? inverseScale*min(1, maxNorm/(norm + 1e-6)) : 0, norm, finite ? 1 : 0, 0]; ' +
      'maxNorm 0 means no clipping',
    () => 4,
    () => [1, 4],
  ),
  adamw: row(
    'param grad m v control? half?',
    'n',
    'lr beta1 beta2 eps weightDecay step',
    'g = grad*control[0]; nothing changes if control[2] = 0; m, v, param f32, m and v 0 instead of subnormal; param -= lr*weightDecay*param, then ' +
      'param -= lr * mhat / (sqrt(vhat) + eps) with bias correction for `step` (from 1); half = param rounded to its dtype',
    (d) => 14 * d.n,
    (d) => [2 * d.n, d.n, 2 * d.n, 2 * d.n, 4, d.n],
  ),
} as const satisfies Record<string, KernelSpec>;

export type KernelName = keyof typeof KERNELS;
export const KERNEL_NAMES = Object.keys(KERNELS) as KernelName[];

/** The tensor of a kernel that may be i8: then, and only then, `scale` is given. */
export const QUANTISED: { readonly [K in KernelName]?: string } = { matmul: 'b', embedding: 'table' };

/** Argument name without its marks (`dweight+=?` is `dweight`). */
export const argumentName = (mark: string): string => mark.replace(/[+=?]+$/, '');
export const isOptional = (mark: string): boolean => mark.endsWith('?');
