/**
 * Causal depthwise convolution of width k, along each of the d channels:
 *   y[t] = f(bias + sum_j weight[j] window[t][j]),  f = SiLU or identity,
 * where window[t] holds the last k inputs of t's document, oldest first, ending with x[t]; inputs that a
 * document does not have are 0. Before the first position come the k-1 inputs of `stateIn`.
 * A reset empties the window before its position; a padded position is skipped as if it were not there (also
 * its reset), and gets 0.
 */
import { FLAG_PAD, FLAG_RESET } from '../kernels.ts';
import { silu, siluSlope } from './functions.ts';
import type { MatrixView, Numbers, Tensors } from './view.ts';

/** Number of an empty place of a window. Other places hold the number of an input: states first, then positions. */
const EMPTY = -1;

/**
 * Runs over one sequence and calls `visit` at each position that is not padding with the k inputs of its window.
 * Returns the last k-1 inputs. Input j < k-1 is row j of the state, input k-1+t is position t.
 */
function eachWindow(
  flags: MatrixView | null,
  batch: number,
  { l, k }: Numbers,
  visit: (t: number, window: readonly number[]) => void,
): number[] {
  let history = Array.from({ length: k - 1 }, (_, j) => j);
  for (let t = 0; t < l; t++) {
    const flag = flags?.get(batch, t) ?? 0;
    if (flag & FLAG_PAD) continue;
    if (flag & FLAG_RESET) history = history.map(() => EMPTY);
    const window = [...history, k - 1 + t];
    visit(t, window);
    history = window.slice(1);
  }
  return history;
}

/** The inputs of one channel by their number. */
function inputsOf(x: MatrixView, stateIn: MatrixView | null, batch: number, channel: number, { l, k }: Numbers) {
  return Float64Array.from({ length: k - 1 + l }, (_, i) =>
    i < k - 1 ? (stateIn?.get(batch * (k - 1) + i, channel) ?? 0) : x.get(batch * l + i - (k - 1), channel),
  );
}

function weighted(weight: MatrixView, channel: number, window: readonly number[], inputs: Float64Array): number {
  let sum = 0;
  for (let j = 0; j < window.length; j++) if (window[j] !== EMPTY) sum += weight.get(channel, j) * inputs[window[j]];
  return sum;
}

export function causalConv(
  t: Tensors<'x' | 'weight' | 'y', 'bias' | 'flags' | 'stateIn' | 'stateOut'>,
  dims: Numbers,
): void {
  const { b, l, d, k } = dims;
  for (let batch = 0; batch < b; batch++) {
    for (let channel = 0; channel < d; channel++) {
      const inputs = inputsOf(t.x, t.stateIn, batch, channel, dims);
      const bias = t.bias?.get(0, channel) ?? 0;
      for (let i = 0; i < l; i++) t.y.set(batch * l + i, channel, 0);
      const history = eachWindow(t.flags, batch, dims, (i, window) => {
        const sum = bias + weighted(t.weight, channel, window, inputs);
        t.y.set(batch * l + i, channel, dims.silu ? silu(sum) : sum);
      });
      history.forEach((input, j) => {
        t.stateOut?.set(batch * (k - 1) + j, channel, input === EMPTY ? 0 : inputs[input]);
      });
    }
  }
}

export function causalConvBwd(
  t: Tensors<
    'x' | 'weight' | 'dy' | 'dx',
    'bias' | 'flags' | 'stateIn' | 'dstateOut' | 'dweight' | 'dbias' | 'dstateIn'
  >,
  dims: Numbers,
): void {
  const { b, l, d, k } = dims;
  for (let channel = 0; channel < d; channel++) {
    const dweight = new Float64Array(k);
    const bias = t.bias?.get(0, channel) ?? 0;
    let dbias = 0;
    for (let batch = 0; batch < b; batch++) {
      const inputs = inputsOf(t.x, t.stateIn, batch, channel, dims);
      const dinputs = new Float64Array(inputs.length);
      const history = eachWindow(t.flags, batch, dims, (i, window) => {
        const slope = dims.silu ? siluSlope(bias + weighted(t.weight, channel, window, inputs)) : 1;
        const dsum = t.dy.get(batch * l + i, channel) * slope;
        dbias += dsum;
        window.forEach((input, j) => {
          if (input === EMPTY) return;
          dweight[j] += dsum * inputs[input];
          dinputs[input] += dsum * t.weight.get(channel, j);
        });
      });
      history.forEach((input, j) => {
        if (input !== EMPTY) dinputs[input] += t.dstateOut?.get(batch * (k - 1) + j, channel) ?? 0;
      });
      for (let j = 0; j < k - 1; j++) t.dstateIn?.set(batch * (k - 1) + j, channel, dinputs[j]);
      for (let i = 0; i < l; i++) t.dx.set(batch * l + i, channel, dinputs[k - 1 + i]);
    }
    dweight.forEach((value, j) => void t.dweight?.add(channel, j, value));
    t.dbias?.add(0, channel, dbias);
  }
}
