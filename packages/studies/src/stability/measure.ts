/** All measurements of the stability study on one model. */
import { UsageError } from 'krait/core';
import { type LanguageModel, type ModelState, prefill, selectRows } from 'krait/models';
import {
  type FrozenDecay,
  frozenDecay,
  halfLife,
  type LayerExponents,
  layerExponents,
  type Verdict,
  verdictOf,
  worstOf,
} from './exponents.ts';
import { type PerturbationResult, perturb } from './perturbation.ts';
import { traceRecurrences } from './recurrence.ts';
import { compareRounding, type RoundingResult } from './rounding.ts';
import { checkSettings, cutsOf, type HalfType, type StabilitySettings, sampleTimes } from './settings.ts';

/** The recurrences of a model, each layer by itself: what the theorem is about. */
export interface RecurrenceStability {
  readonly verdict: Verdict;
  /** The largest exponent of all layers, in nats a token, and its layer; NaN where a layer has no number. */
  readonly maximal: number;
  readonly layer: number;
  /** Tokens after which half of a deviation in the slowest state is left; null where it does not decay. */
  readonly halfLife: number | null;
  readonly layers: readonly LayerExponents[];
  readonly frozen: readonly FrozenDecay[];
}

export interface ModelStability {
  readonly family: string;
  readonly parameters: number;
  readonly layers: number;
  /** Null for a model without a recurrence. */
  readonly recurrence: RecurrenceStability | null;
  /** Everything computed again: perturbed states (null without a recurrence), and a perturbed position of the stream. */
  readonly state: PerturbationResult | null;
  readonly stream: PerturbationResult;
  readonly rounding: readonly RoundingResult[];
}

/** A model with what is attached to it. */
export interface OpenedModel {
  readonly model: LanguageModel;
  dispose(): void;
}

export interface MeasureInput {
  /** In f32 (f64 in tests). */
  readonly model: LanguageModel;
  /** Opens the same model in a half type; it is disposed of here. */
  readonly openHalf: (type: HalfType) => Promise<OpenedModel>;
  /** Tokens of each text, warm-up and horizon. */
  readonly texts: readonly (readonly number[])[];
  readonly settings: StabilitySettings;
  readonly signal?: AbortSignal;
  readonly onProgress?: (share: number, note: string) => void;
}

/** Parts of a measurement with their usual share of the time, for progress. */
const PARTS = { exponents: 0.15, state: 0.3, stream: 0.3, rounding: 0.25 } as const;

class Progress {
  private done = 0;

  constructor(private readonly input: MeasureInput) {}

  /** Tells how far a part is; throws the signal's reason if it fired. */
  tell(part: keyof typeof PARTS, share: number): void {
    this.input.signal?.throwIfAborted();
    this.input.onProgress?.(this.done + PARTS[part] * share, part);
  }

  finish(part: keyof typeof PARTS): void {
    this.done += PARTS[part];
  }
}

function summarise(layers: readonly LayerExponents[], frozen: readonly FrozenDecay[]): RecurrenceStability {
  const worst = layers.reduce((a, b) =>
    !(b.maximal.value <= a.maximal.value) && !Number.isNaN(a.maximal.value) ? b : a,
  );
  const maximal = worst.maximal.value;
  const verdict = worstOf([verdictOf(maximal), ...layers.map((layer) => layer.verdict)]);
  return { verdict, maximal, layer: worst.layer, halfLife: halfLife(maximal), layers, frozen };
}

async function measureRecurrence(
  input: MeasureInput,
  state: ModelState,
  texts: readonly (readonly number[])[],
  progress: Progress,
) {
  const { model, settings } = input;
  const { directions, seed, window, horizon } = settings;
  const onStretch = (share: number) => progress.tell('exponents', share);
  const traces = await traceRecurrences({ model, texts, state, cuts: cutsOf(settings), directions, seed, onStretch });
  progress.finish('exponents');
  if (traces.length === 0) return null;
  const times = sampleTimes(horizon);
  return summarise(
    traces.map((trace) => layerExponents(trace, window)),
    traces.map((trace) => frozenDecay(trace, times)),
  );
}

async function measurePerturbations(
  input: MeasureInput,
  state: ModelState,
  texts: readonly (readonly number[])[],
  isRecurrent: boolean,
  progress: Progress,
) {
  const { model, settings } = input;
  const states = texts.map((_, row) => selectRows(state, [row]));
  const run = (target: 'state' | 'stream') =>
    perturb(model, target, { texts, states, settings, onText: (n) => progress.tell(target, n / texts.length) });
  try {
    const inState = isRecurrent ? await run('state') : null;
    progress.finish('state');
    const inStream = await run('stream');
    progress.finish('stream');
    return { state: inState, stream: inStream };
  } finally {
    for (const one of states) one.dispose();
  }
}

async function measureRounding({ model, openHalf, texts, settings }: MeasureInput, progress: Progress) {
  const results: RoundingResult[] = [];
  for (const precision of settings.precisions) {
    const half = await openHalf(precision);
    try {
      const onShare = (share: number) =>
        progress.tell('rounding', (results.length + share) / settings.precisions.length);
      results.push(await compareRounding(half.model, model, precision, texts, onShare));
    } finally {
      half.dispose();
    }
  }
  return results;
}

/**
 * Measures one model.
 * @throws UsageError for settings and texts that do not fit; the signal's reason once it fires
 */
export async function measureStability(input: MeasureInput): Promise<ModelStability> {
  const { model, texts, settings } = input;
  checkSettings(settings);
  const { warmup, horizon } = settings;
  const short = texts.find((text) => text.length !== warmup + horizon);
  if (short || texts.length === 0) {
    throw new UsageError(
      `texts: expected ${settings.texts} of ${warmup + horizon} tokens, got one of ${short?.length ?? 0}`,
    );
  }
  const progress = new Progress(input);
  const { hidden, state } = await prefill(
    model,
    texts.map((text) => text.slice(0, warmup)),
  );
  hidden.dispose();
  try {
    const rest = texts.map((text) => text.slice(warmup));
    const recurrence = await measureRecurrence(input, state, rest, progress);
    const perturbations = await measurePerturbations(input, state, rest, recurrence !== null, progress);
    const rounding = await measureRounding(input, progress);
    const parameters = [...model.parameters.values()].reduce((sum, { size }) => sum + size, 0);
    return { family: model.family, parameters, layers: model.layerCount, recurrence, ...perturbations, rounding };
  } finally {
    state.dispose();
  }
}
