/**
 * Depthwise causal convolution with an optional SiLU: the local mixing of every Mamba block.
 *   y[t] = f(bias + sum_j weight[:, j] * x[t - k + 1 + j])
 * It remembers its last k-1 inputs, so a sequence may be cut anywhere.
 */
import { DTypeError, type Shape, ShapeError } from '../../core/index.ts';
import { record } from '../autograd.ts';
import type { Tensor } from '../tensor.ts';
import { add, mul, silu } from './elementwise.ts';
import { checkRagged, forEachPart, type RaggedPart, sequencesOf } from './ragged.ts';
import { concat, narrow, permute, reshape } from './shape.ts';

export interface SequenceOptions {
  /** i32 [b, l]: bit 0 resets the state before the position, bit 1 marks padding (see the kernel table). */
  flags?: Tensor | null;
  /** State before the first position; zeros if absent. */
  state?: Tensor | null;
  /** Whether to return the state after the last position. */
  wantState?: boolean;
  /**
   * Parts of a ragged batch: sequences of different lengths, one after the other in b = 1. Tensors [b, l, d] hold all their
   * positions; states have a row for each sequence. Without gradients.
   */
  ragged?: readonly RaggedPart[] | null;
}

export interface ConvOptions extends SequenceOptions {
  bias?: Tensor | null;
  /** Apply SiLU to the result. */
  activation?: boolean;
}

/** Shape of the convolution's state. */
export const convStateShape = (b: number, d: number, k: number): Shape => [b, k - 1, d];

function check(
  x: Tensor,
  weight: Tensor,
  { bias, flags, state, ragged }: ConvOptions,
): { b: number; l: number; d: number; k: number; sequences: number } {
  if (x.rank !== 3) throw new ShapeError('causalConv', 'x', '[b, l, d]', x.shape);
  const [b, l, d] = x.shape;
  const k = weight.cols;
  if (weight.rank !== 2 || weight.shape[0] !== d || k < 1)
    throw new ShapeError('causalConv', 'weight', `[${d}, k]`, weight.shape);
  if (bias && bias.size !== d) throw new ShapeError('causalConv', 'bias', `[${d}]`, bias.shape);
  checkFlags('causalConv', flags, b, l);
  if (ragged) checkRagged('causalConv', b * l, ragged, [x, weight, bias ?? null, state ?? null]);
  const sequences = ragged ? sequencesOf(ragged) : b;
  if (state && (state.size !== sequences * (k - 1) * d || state.cols !== d))
    throw new ShapeError('causalConv', 'state', `[${convStateShape(sequences, d, k)}]`, state.shape);
  return { b, l, d, k, sequences };
}

/** @throws ShapeError, DTypeError unless flags are i32 [b, l]. */
export function checkFlags(op: string, flags: Tensor | null | undefined, b: number, l: number): void {
  if (!flags) return;
  if (flags.dtype !== 'i32') throw new DTypeError(op, 'flags', 'i32', flags.dtype);
  if (flags.size !== b * l) throw new ShapeError(op, 'flags', `[${b}, ${l}]`, flags.shape);
}

/**
 * x [b, l, d], weight [d, k], bias [d], state [b, k-1, d] (oldest first) -> y [b, l, d] and, if wanted, the state
 * after the last position. The activation is computed again in the backward pass.
 * @throws ShapeError naming the argument that does not fit.
 */
export function causalConv(x: Tensor, weight: Tensor, options: ConvOptions = {}): { y: Tensor; state: Tensor | null } {
  const { b, l, d, k, sequences } = check(x, weight, options);
  const { bias = null, flags = null, state: stateIn = null, wantState = false, activation = false } = options;
  const { device } = x;
  const dims = { b, l, d, k, silu: Number(activation) };
  const y = device.empty(x.shape, x.dtype);
  const stateType = x.dtype === 'f64' ? 'f64' : 'f32';
  const stateOut = wantState ? device.empty(convStateShape(sequences, d, k), stateType) : null;
  if (options.ragged) {
    forEachPart(options.ragged, ({ rows, length, positions, sequences: own }) => {
      const sequence = { x: positions(x), flags: positions(flags), y: positions(y) };
      const states = { stateIn: own(stateIn), stateOut: own(stateOut) };
      device.launch('causal_conv', { ...sequence, weight, bias, ...states }, { ...dims, b: rows, l: length });
    });
    return { y, state: stateOut };
  }
  device.launch('causal_conv', { x, weight, bias, flags, stateIn, y, stateOut }, dims);
  const optional = [bias, flags, stateIn];
  const saved = [x, weight, ...optional.filter((t) => t !== null)];
  record(
    'causalConv',
    [x, weight, bias, stateIn],
    [y, stateOut],
    saved,
    ([dy, dstateOut], [input, w, ...rest], needs) => {
      const [bs, fl, st] = optional.map((t) => (t ? rest.shift()! : null));
      const dx = device.empty(input.shape, input.dtype);
      const dweight = needs[1] ? device.zeros(w.shape, w.dtype) : null;
      const dbias = needs[2] ? device.zeros(bs!.shape, bs!.dtype) : null;
      const dstateIn = needs[3] ? device.empty(st!.shape, st!.dtype) : null;
      const gradient = dy ?? device.zeros(input.shape, input.dtype);
      device.launch(
        'causal_conv_bwd',
        {
          x: input,
          weight: w,
          bias: bs,
          flags: fl,
          stateIn: st,
          dy: gradient,
          dstateOut,
          dx,
          dweight,
          dbias,
          dstateIn,
        },
        dims,
      );
      return [needs[0] ? dx : null, dweight, dbias, dstateIn];
    },
  );
  return { y, state: stateOut };
}

/** `causalConv` composed from slices and products: its twin for tests. No flags. */
export function causalConvRef(
  x: Tensor,
  weight: Tensor,
  options: ConvOptions = {},
): { y: Tensor; state: Tensor | null } {
  const { b, l, d, k } = check(x, weight, options);
  const past = options.state ?? x.device.zeros(convStateShape(b, d, k), x.dtype);
  const padded = k > 1 ? concat([reshape(past, convStateShape(b, d, k)), x], 1) : x; // [b, k-1+l, d]
  const byOffset = permute(weight, [1, 0]); // [k, d]
  let y: Tensor | null = options.bias ? reshape(options.bias, [1, 1, d]) : null;
  for (let j = 0; j < k; j++) {
    const term = mul(narrow(padded, 1, j, l), reshape(narrow(byOffset, 0, j, 1), [1, 1, d]));
    y = y ? add(term, y) : term;
  }
  return { y: options.activation ? silu(y!) : y!, state: options.wantState ? narrow(padded, 1, l, k - 1) : null };
}
