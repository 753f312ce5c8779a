/** Settings of the stability study. */
import { UsageError } from 'krait/core';

export const HALF_TYPES = ['bf16', 'f16'] as const;
export type HalfType = (typeof HALF_TYPES)[number];

export interface StabilitySettings {
  /** Texts that are read, independent of one another: errors are taken over them. */
  readonly texts: number;
  /** Tokens of a text that are read before anything is measured or planted. */
  readonly warmup: number;
  /** Tokens after them, along which is measured. */
  readonly horizon: number;
  /** Tokens of a window in which exponents are taken by themselves; divides the horizon. */
  readonly window: number;
  /** Random directions of a perturbation in each text. */
  readonly directions: number;
  /** Norm of a perturbation against that of what it is planted in. */
  readonly epsilon: number;
  /** Half types whose runs are compared with f32. */
  readonly precisions: readonly HalfType[];
  readonly seed: number;
}

export const STABILITY_SETTINGS: StabilitySettings = {
  texts: 4,
  warmup: 128,
  horizon: 512,
  window: 64,
  directions: 8,
  epsilon: 1e-3,
  precisions: HALF_TYPES,
  seed: 0,
};

/** @throws UsageError naming the setting, its value and what it may be */
export function checkSettings(settings: StabilitySettings): void {
  const { texts, warmup, horizon, window, directions, epsilon } = settings;
  const whole = { texts, warmup, horizon, window, directions };
  for (const [name, value] of Object.entries(whole)) {
    if (!Number.isInteger(value) || value < 1) throw new UsageError(`${name}: ${value} is not a whole number >= 1`);
  }
  if (horizon % window !== 0) {
    const nearest = Math.max(window, Math.round(horizon / window) * window);
    throw new UsageError(`horizon: ${horizon} is no multiple of the window of ${window}; give ${nearest}, say`);
  }
  if (!(epsilon > 0 && epsilon < 1)) throw new UsageError(`epsilon: ${epsilon} is not between 0 and 1`);
}

/** Positions at which curves are taken: two to a doubling, from the first to `horizon`. */
export function sampleTimes(horizon: number): number[] {
  const times = new Set([1, horizon]);
  for (let at = 1; at < horizon; at *= 2 ** 0.5) times.add(Math.round(at));
  return [...times].filter((t) => t <= horizon).sort((a, b) => a - b);
}

/** Where a run along the horizon is cut: at the times of curves and at the ends of windows. */
export function cutsOf({ horizon, window }: StabilitySettings): number[] {
  const ends = Array.from({ length: horizon / window }, (_, i) => (i + 1) * window);
  return [...new Set([...sampleTimes(horizon), ...ends])].sort((a, b) => a - b);
}
