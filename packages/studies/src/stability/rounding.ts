/**
 * What rounding does along real text: the same tokens read from a fresh start by the model in f32 and in a half type
 * (matrices and activations; recurrence, norms and the residual stream stay f32, as always in Krait).
 */

import type { LanguageModel, ModelState } from 'krait/models';
import { type Estimate, estimateOf } from 'krait/statistics';
import { curveOf, type DeviationCurve } from './curve.ts';
import { compareSides, type Distances, runStretch } from './paired-run.ts';
import { type HalfType, sampleTimes } from './settings.ts';

export interface RoundingResult {
  readonly precision: HalfType;
  /** |deviation of all recurrent states| / |states|; null for a model without any. */
  readonly states: DeviationCurve | null;
  /** Relative deviation of the hidden states after the final norm. */
  readonly hidden: DeviationCurve;
  /** Root mean square deviation of the logits. */
  readonly logits: DeviationCurve;
  /** Share of the looked-at positions at which the most probable token is that of f32. */
  readonly sameBest: Estimate;
}

/** Runs both models along the texts, cut at the times. */
async function compareModels(
  half: LanguageModel,
  model: LanguageModel,
  texts: readonly (readonly number[])[],
  times: readonly number[],
  onShare?: (share: number) => void,
) {
  const found: Distances[] = [];
  let states: { ours: ModelState; theirs: ModelState } | null = null;
  try {
    let from = 0;
    for (const to of times) {
      const ids = texts.map((text) => text.slice(from, to));
      const before: typeof states = states;
      const ours = runStretch(half, ids, { state: before?.ours ?? null });
      const theirs = runStretch(model, ids, { state: before?.theirs ?? null });
      for (const state of before ? [before.ours, before.theirs] : []) state.dispose();
      states = { ours: ours.state, theirs: theirs.state };
      found.push(await compareSides(model, ours, theirs));
      for (const { hidden, logits } of [ours, theirs]) for (const tensor of [hidden, logits]) tensor.dispose();
      from = to;
      onShare?.(to / times[times.length - 1]);
    }
    return found;
  } finally {
    states?.ours.dispose();
    states?.theirs.dispose();
  }
}

/** Compares a model in a half type with the same in f32 on texts of one length, from their first tokens on. */
export async function compareRounding(
  half: LanguageModel,
  model: LanguageModel,
  precision: HalfType,
  texts: readonly (readonly number[])[],
  onShare?: (share: number) => void,
): Promise<RoundingResult> {
  const times = sampleTimes(texts[0].length);
  const found = await compareModels(half, model, texts, times, onShare);
  const curve = (measure: (d: Distances, row: number) => number) =>
    curveOf(
      times,
      texts.map((_, row) => [found.map((d) => measure(d, row))]),
    );
  const hasStates = found[0].states.length > 0;
  const relativeState = ({ states }: Distances, row: number) =>
    Math.hypot(...states.map((s) => s.difference[row])) / Math.hypot(...states.map((s) => s.size[row]));
  return {
    precision,
    states: hasStates ? curve(relativeState) : null,
    hidden: curve((d, row) => d.hidden[row]),
    logits: curve((d, row) => d.logits[row]),
    sameBest: estimateOf(texts.map((_, row) => found.filter((d) => d.isSameBest[row]).length / found.length)),
  };
}
