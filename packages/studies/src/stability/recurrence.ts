/**
 * The recurrences of a model along real text, layer by layer, each by itself:
 *
 *   h[t] = exp(steps[t] A) h[t-1] + (what the input adds)
 *
 * With the later inputs fixed the state's Jacobian dh[T]/dh[0] is diagonal, exp(A sum_t steps[t]), so that
 *
 * - the exponent of state i of channel c is A[i, c] times the mean step of c: the accumulated logarithm over T. The
 *   maximal Lyapunov exponent of the layer is the largest of them, for lim 1/T log ||prod_t J_t||_2 is that of a diagonal;
 * - a deviation of the state goes by itself, d[t] = exp(steps[t] A) d[t-1]: the scan without an input. It is carried by
 *   the device's own scan, and never grows where A < 0 and steps > 0, which is what the theorem says: its norm is at
 *   most exp(A_max-path) times the planted one, the norm of the Jacobian so far.
 */
import { HostRandom } from 'krait/core';
import type { LanguageModel, LayerDecay, ModelState } from 'krait/models';
import { type Device, selectiveScan, sum, type Tensor } from 'krait/tensor';

/** Positions between two cuts, in all texts. */
export interface Stretch {
  /** Positions that were read before it and after it. */
  readonly from: number;
  readonly to: number;
  /** Sums of the steps of each channel, text after text: [texts * channels]. */
  readonly steps: Float64Array;
  /** Norms of the deviations at its end, planted as 1: [directions][texts]. */
  readonly deviations: readonly Float64Array[];
}

/** What was seen of one layer. */
export interface LayerTrace {
  readonly layer: number;
  readonly states: number;
  readonly channels: number;
  /** A [states, channels]. */
  readonly rates: Float64Array;
  readonly stretches: Stretch[];
}

export interface RecurrenceInput {
  readonly model: LanguageModel;
  /** Tokens of each text after the warm-up, all of one length. */
  readonly texts: readonly (readonly number[])[];
  /** State after the warm-up, a row for each text; not consumed. */
  readonly state: ModelState;
  /** Where the run is cut; the last is the length of the texts. */
  readonly cuts: readonly number[];
  readonly directions: number;
  readonly seed: number;
  readonly onStretch?: (share: number) => void;
}

/** What one layer is followed by on the device. */
interface Follower {
  trace: LayerTrace | null;
  rates: Tensor | null;
  /** Steps of the window that was queued last: [texts, channels]. */
  steps: Tensor | null;
  /** Deviations of each direction, [texts, states, channels]. */
  deviations: Tensor[];
}

/** Normal numbers of norm 1 for each row: [rows, size]. */
export function randomDirections(rows: number, size: number, seed: number, stream: number): Float64Array {
  const random = new HostRandom(seed, stream);
  const values = Float64Array.from({ length: rows * size }, () => random.normal());
  for (let row = 0; row < rows; row++) {
    const part = values.subarray(row * size, (row + 1) * size);
    const [norm] = norms(part, 1);
    part.forEach((value, i) => {
      part[i] = value / norm;
    });
  }
  return values;
}

/** Norms of `rows` rows of equal length. */
export function norms(values: ArrayLike<number>, rows: number): Float64Array {
  const size = values.length / rows;
  return Float64Array.from({ length: rows }, (_, row) => {
    let total = 0;
    for (let i = row * size; i < (row + 1) * size; i++) total += values[i] * values[i];
    return Math.sqrt(total);
  });
}

/** d[t] = exp(dt[t] A) d[t-1] over the positions of dt [b, l, channels]; d [b, states, channels]. */
export function carryDeviation(deviation: Tensor, { dt, A }: Pick<LayerDecay, 'dt' | 'A'>): Tensor {
  const { device } = deviation;
  const [b, l] = dt.shape;
  const none = device.zeros([b, l, A.shape[0]], dt.dtype);
  const u = device.zeros(dt.shape, dt.dtype);
  const inputs = { u, dt, A, B: none, C: none };
  return selectiveScan(inputs, { state: deviation, softplus: false, wantState: true }).state!;
}

function plant(device: Device, { A }: LayerDecay, layer: number, texts: number, input: RecurrenceInput): Tensor[] {
  const [states, channels] = A.shape;
  return Array.from({ length: input.directions }, (_, k) => {
    const values = randomDirections(texts, states * channels, input.seed, layer * input.directions + k);
    return device.from(values, [texts, states, channels], A.dtype);
  });
}

/** Queues what one layer's stretch does to its deviations, and the sums of its steps. */
function follow(follower: Follower, decay: LayerDecay, input: RecurrenceInput): void {
  const { device } = input.model;
  const texts = decay.dt.shape[0];
  const before = follower.deviations.length > 0 ? follower.deviations : plant(device, decay, decay.layer, texts, input);
  follower.rates ??= device.keep(decay.A.alias());
  follower.steps = device.keep(sum(decay.dt, 1));
  follower.deviations = before.map((deviation) => {
    const after = device.keep(carryDeviation(deviation, decay));
    deviation.dispose();
    return after;
  });
}

/** Reads what a stretch left. */
async function collect(follower: Follower, layer: number, from: number, to: number): Promise<void> {
  const steps = Float64Array.from(await follower.steps!.read());
  const texts = follower.steps!.shape[0];
  follower.steps!.dispose();
  follower.steps = null;
  const deviations: Float64Array[] = [];
  for (const deviation of follower.deviations) deviations.push(norms(await deviation.read(), texts));
  if (!follower.trace) {
    const [states, channels] = follower.rates!.shape;
    const rates = Float64Array.from(await follower.rates!.read());
    follower.trace = { layer, states, channels, rates, stretches: [] };
  }
  follower.trace.stretches.push({ from, to, steps, deviations });
}

function release({ rates, steps, deviations }: Follower): void {
  for (const tensor of [rates, steps, ...deviations]) tensor?.dispose();
}

/**
 * Runs the texts once and watches every recurrence: sums of steps, and deviations of norm 1 planted in each layer's own
 * state, carried with the gates of the run as it is. Empty for a model without recurrences.
 */
export async function traceRecurrences(input: RecurrenceInput): Promise<LayerTrace[]> {
  const { model, texts, cuts } = input;
  const { device } = model;
  const followers = new Map<number, Follower>();
  const followerOf = (layer: number): Follower => {
    const known = followers.get(layer) ?? { trace: null, rates: null, steps: null, deviations: [] };
    followers.set(layer, known);
    return known;
  };
  let carried: ModelState | null = null;
  try {
    for (const [i, to] of cuts.entries()) {
      const from = i > 0 ? cuts[i - 1] : 0;
      const before: ModelState = carried ?? input.state;
      const after: ModelState = device.noGrad(() =>
        device.scope(() => {
          const ids = texts.flatMap((text) => text.slice(from, to));
          const observe = (decay: LayerDecay) => follow(followerOf(decay.layer), decay, input);
          const rows = device.from(ids, [texts.length, to - from], 'i32');
          const { state } = model.forward(rows, { state: before, wantState: true, observe });
          return state!;
        }),
      );
      carried?.dispose();
      carried = after;
      for (const [layer, follower] of followers) await collect(follower, layer, from, to);
      input.onStretch?.(to / cuts[cuts.length - 1]);
    }
    return [...followers.values()].map(({ trace }) => trace!);
  } finally {
    carried?.dispose();
    for (const follower of followers.values()) release(follower);
  }
}
