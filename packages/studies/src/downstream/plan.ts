/**
 * Lists the cells of a study in the order of measurement. Seeds are complete one by one, also in an interrupted run.
 */
import type { CellSpec, MetaSpec, TrialSpec, TunedSpec, UntunedSpec } from './cells.ts';
import { fits, kindOf, METHODS, type Method } from './methods.ts';
import type { DownstreamSettings } from './settings.ts';

export interface PlannedModel {
  readonly label: string;
  /** `model_type` of its config. */
  readonly family: string;
}

export const seedsOf = ({ seeds }: DownstreamSettings): number[] => Array.from({ length: seeds }, (_, seed) => seed);

/** Models as they are, in each precision. */
export function untunedCells(models: readonly PlannedModel[], settings: DownstreamSettings): UntunedSpec[] {
  return seedsOf(settings).flatMap((seed) =>
    models.flatMap(({ label: model }) =>
      settings.precisions.map((precision): UntunedSpec => ({ kind: 'untuned', model, precision, seed })),
    ),
  );
}

/** The requested methods whose layers a model has, meta-training first. */
const methodsOf = ({ family }: PlannedModel, { methods }: DownstreamSettings): Method[] =>
  METHODS.filter((method) => methods.includes(method) && fits(method, family));

function trialsOf(
  models: readonly PlannedModel[],
  settings: DownstreamSettings,
  isWanted: (method: Method) => boolean,
): TrialSpec[] {
  return models.flatMap((model) =>
    methodsOf(model, settings)
      .filter(isWanted)
      .flatMap((method) =>
        settings.rates[kindOf(method)].map((rate): TrialSpec => ({ kind: 'trial', model: model.label, method, rate })),
      ),
  );
}

/** Trials of meta-training, then of the methods that start from it: the same rates for every family. */
export const metaTrialCells = (models: readonly PlannedModel[], settings: DownstreamSettings): TrialSpec[] =>
  trialsOf(models, settings, (method) => method === 'meta');
export const trialCells = (models: readonly PlannedModel[], settings: DownstreamSettings): TrialSpec[] =>
  trialsOf(models, settings, (method) => method !== 'meta');

/** The meta-trainings of a seed. */
export const metaCells = (
  models: readonly PlannedModel[],
  { methods }: DownstreamSettings,
  seed: number,
): MetaSpec[] => (methods.includes('meta') ? models.map(({ label: model }) => ({ kind: 'meta', model, seed })) : []);

/** Every way of tuning that a model has the layers for, of a seed; of meta-training what it gave, in each precision. */
export function tunedCells(models: readonly PlannedModel[], settings: DownstreamSettings, seed: number): TunedSpec[] {
  return models.flatMap((model) =>
    methodsOf(model, settings).flatMap((method) =>
      settings.precisions.map(
        (precision): TunedSpec => ({ kind: 'tuned', model: model.label, method, precision, seed }),
      ),
    ),
  );
}

/** All cells; the study measures the trials after the meta-trainings of the first seed. */
export const allCells = (models: readonly PlannedModel[], settings: DownstreamSettings): CellSpec[] => [
  ...untunedCells(models, settings),
  ...metaTrialCells(models, settings),
  ...trialCells(models, settings),
  ...seedsOf(settings).flatMap((seed) => [...metaCells(models, settings, seed), ...tunedCells(models, settings, seed)]),
];
