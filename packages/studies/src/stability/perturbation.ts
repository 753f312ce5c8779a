/**
 * A small perturbation of a run along real text, everything computed again: gates, convolutions, later layers. It is
 * planted in the recurrent state of every layer after the warm-up, or in the residual stream where it enters the first
 * layer, at one position. No theorem covers this: steps, B and C depend on what was perturbed.
 *
 * All directions of a text run as rows of one batch, with two rows more: the unperturbed run, and one whose perturbation
 * has the size of f32 rounding, which tells how much of a deviation is noise.
 */
import { type LanguageModel, type ModelState, selectRows, stateOf } from 'krait/models';
import { add, type Tensor } from 'krait/tensor';
import { curveOf, type DeviationCurve, type Series } from './curve.ts';
import { compareSides, type Distances, runStretch } from './paired-run.ts';
import { norms, randomDirections } from './recurrence.ts';
import { type StabilitySettings, sampleTimes } from './settings.ts';

/** Half a unit in the last place of f32. */
const ROUNDING = 2 ** -24;

export interface PerturbationResult {
  /** |deviation of all recurrent states| / |planted|; null where nothing was planted there. */
  readonly states: DeviationCurve | null;
  /** The same of each layer's state, by itself. */
  readonly layers: readonly DeviationCurve[];
  /** Relative deviation of the hidden states after the final norm, over the planted relative one: an amplification. */
  readonly hidden: DeviationCurve;
  /** Root mean square deviation of the logits, over the planted relative one. */
  readonly logits: DeviationCurve;
}

/** Where a perturbation is planted. */
export type Target = 'state' | 'stream';

/** Size of row i's perturbation: none, that of rounding, then epsilon. */
const sizeOfRow = (row: number, epsilon: number): number => [0, ROUNDING][row] ?? epsilon;

/** Offsets for [rows, size]: random directions, each of the row's size times `norm`. */
function offsets(rows: number, size: number, norm: number, epsilon: number, seed: number, stream: number) {
  const values = randomDirections(rows, size, seed, stream);
  return values.map((value, i) => value * norm * sizeOfRow(Math.floor(i / size), epsilon));
}

interface Plan {
  readonly model: LanguageModel;
  readonly settings: StabilitySettings;
  readonly rows: number;
  /** Number of the text: each has directions of its own. */
  readonly text: number;
}

/** A state of `rows` rows, each layer's recurrent state moved; and the norms that were planted, [layers][rows]. */
async function plantInState(state: ModelState, { settings, rows, text }: Plan) {
  const { epsilon, seed } = settings;
  const repeated = selectRows(state, new Array<number>(rows).fill(0));
  const planted: Float64Array[] = [];
  const layers: Record<string, Tensor>[] = [];
  for (const [i, layer] of repeated.layers.entries()) {
    const { scan } = layer;
    const { device, shape, size, dtype } = scan;
    const [norm] = norms(await state.layers[i]['scan'].read(), 1);
    const values = offsets(rows, size / rows, norm, epsilon, seed, text * repeated.layers.length + i);
    planted.push(norms(values, rows));
    const moved = device.noGrad(() => device.scope(() => add(scan, device.from(values, shape, dtype))));
    scan.dispose();
    layers.push({ ...layer, scan: moved });
  }
  return { state: stateOf(rows, layers, repeated.sequence), planted };
}

/** An offset of the residual stream at one position, [rows, 1, hiddenSize], relative to the token's own embedding. */
async function plantInStream({ model, settings, rows, text }: Plan, token: number): Promise<Tensor> {
  const { device, hiddenSize, activations } = model;
  const dtype = activations === 'f64' ? 'f64' : 'f32';
  const ids = device.from([token], [1], 'i32');
  const embedded = device.noGrad(() => model.embeddings.forward(ids, { dtype }));
  const [norm] = norms(await embedded.read(), 1);
  for (const tensor of [ids, embedded]) tensor.dispose();
  const values = offsets(rows, hiddenSize, norm, settings.epsilon, settings.seed, text);
  return device.from(values, [rows, 1, hiddenSize], dtype);
}

/** What a batch showed: distances at each cut, against what was planted. */
interface Batch {
  readonly distances: readonly Distances[];
  /** Norms in the states of each layer, [layers][rows]; none where the stream was perturbed. */
  readonly states: readonly Float64Array[];
  /** Relative size of each row's perturbation, by which amplification is counted. */
  readonly relative: Float64Array;
}

/** Runs the rows of one text from `state` (one row, not consumed) along `ids`. */
async function runBatch(plan: Plan, target: Target, state: ModelState, ids: readonly number[]): Promise<Batch> {
  const { model, settings, rows } = plan;
  const relative = Float64Array.from({ length: rows }, (_, row) => sizeOfRow(row, settings.epsilon));
  let offset: Tensor | null = null;
  let carried: ModelState;
  let planted: Float64Array[] = [];
  if (target === 'state') ({ state: carried, planted } = await plantInState(state, plan));
  else {
    carried = selectRows(state, new Array<number>(rows).fill(0));
    offset = await plantInStream(plan, ids[0]);
  }
  const distances: Distances[] = [];
  try {
    let from = 0;
    for (const to of sampleTimes(settings.horizon)) {
      const part = ids.slice(from, to);
      const streamOffset = from === 0 ? offset : null; // the first stretch is one position
      const side = runStretch(model, new Array<readonly number[]>(rows).fill(part), { state: carried, streamOffset });
      carried.dispose();
      carried = side.state;
      distances.push(await compareSides(model, side));
      for (const tensor of [side.hidden, side.logits]) tensor.dispose();
      from = to;
    }
    return { distances, states: planted, relative };
  } finally {
    carried.dispose();
    offset?.dispose();
  }
}

/** Rows before the directions: the unperturbed one, and that of the size of rounding. */
const REFERENCES = 2;
const NOISE_ROW = 1;

type Measure = (distances: Distances, row: number) => number;

function curve(
  cuts: readonly number[],
  batches: readonly Batch[],
  measure: (batch: Batch) => Measure,
  planted: boolean,
) {
  const series = (batch: Batch, row: number): Series => batch.distances.map((d) => measure(batch)(d, row));
  const rows = batches[0].relative.length;
  const byText = batches.map((batch) =>
    Array.from({ length: rows - REFERENCES }, (_, k) => series(batch, REFERENCES + k)),
  );
  // What rounding leaves is counted in the unit of the perturbation proper.
  const noise = batches.map((batch) => {
    const share = batch.relative[NOISE_ROW] / batch.relative[REFERENCES];
    return series(batch, NOISE_ROW).map((value) => value * share);
  });
  return curveOf(cuts, byText, { noise, planted: planted ? 1 : undefined });
}

/**
 * Perturbs runs of texts that were read up to `states`, one state of one row for each.
 * @param texts tokens of each text after the warm-up
 */
export async function perturb(
  model: LanguageModel,
  target: Target,
  input: {
    readonly texts: readonly (readonly number[])[];
    readonly states: readonly ModelState[];
    readonly settings: StabilitySettings;
    readonly onText?: (done: number) => void;
  },
): Promise<PerturbationResult> {
  const { texts, states, settings, onText } = input;
  const cuts = sampleTimes(settings.horizon);
  const batches: Batch[] = [];
  for (const [text, ids] of texts.entries()) {
    const plan = { model, settings, rows: settings.directions + REFERENCES, text };
    batches.push(await runBatch(plan, target, states[text], ids));
    onText?.(text + 1);
  }
  const layers = batches[0].states.map((_, layer) =>
    curve(cuts, batches, (b) => (d, row) => d.states[layer].difference[row] / b.states[layer][row], true),
  );
  const whole = (b: Batch) => (d: Distances, row: number) =>
    Math.hypot(...d.states.map((s) => s.difference[row])) / Math.hypot(...b.states.map((norm) => norm[row]));
  return {
    states: layers.length > 0 ? curve(cuts, batches, whole, true) : null,
    layers,
    hidden: curve(cuts, batches, (b) => (d, row) => d.hidden[row] / b.relative[row], false),
    logits: curve(cuts, batches, (b) => (d, row) => d.logits[row] / b.relative[row], false),
  };
}
