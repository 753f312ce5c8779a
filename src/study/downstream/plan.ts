/** Which cells a study has, in the order in which they are measured: a run that is cut short has whole seeds first. */
import type { CellSpec, TrialSpec, TunedSpec, UntunedSpec } from './cells.ts';
import { fits, kindOf, METHOD_KINDS } from './methods.ts';
import type { DownstreamSettings } from './settings.ts';

export interface PlannedModel {
  readonly label: string;
  /** `model_type` of its config. */
  readonly family: string;
}

const seedsOf = ({ seeds }: DownstreamSettings): number[] => Array.from({ length: seeds }, (_, seed) => seed);

/** Models as they are, in each precision. */
export function untunedCells(models: readonly PlannedModel[], settings: DownstreamSettings): UntunedSpec[] {
  return seedsOf(settings).flatMap((seed) =>
    models.flatMap(({ label: model }) =>
      settings.precisions.map((precision): UntunedSpec => ({ kind: 'untuned', model, precision, seed })),
    ),
  );
}

/** Trials of learning rates: the same for every family. */
export function trialCells(models: readonly PlannedModel[], settings: DownstreamSettings): TrialSpec[] {
  const kinds = METHOD_KINDS.filter((kind) => settings.methods.some((method) => kindOf(method) === kind));
  return models.flatMap(({ label: model }) =>
    kinds.flatMap((methods) =>
      settings.rates[methods].map((rate): TrialSpec => ({ kind: 'trial', model, methods, rate })),
    ),
  );
}

/** Every way of tuning that a model has the layers for. */
export function tunedCells(models: readonly PlannedModel[], settings: DownstreamSettings): TunedSpec[] {
  return seedsOf(settings).flatMap((seed) =>
    models.flatMap(({ label: model, family }) =>
      settings.methods
        .filter((method) => fits(method, family))
        .flatMap((method) =>
          settings.precisions.map((precision): TunedSpec => ({ kind: 'tuned', model, method, precision, seed })),
        ),
    ),
  );
}

export const allCells = (models: readonly PlannedModel[], settings: DownstreamSettings): CellSpec[] => [
  ...untunedCells(models, settings),
  ...trialCells(models, settings),
  ...tunedCells(models, settings),
];
