export { type CurveOptions, curveOf, type DeviationCurve, type Series } from './curve.ts';
export {
  type FrozenDecay,
  frozenDecay,
  halfLife,
  type LayerExponents,
  layerExponents,
  type Verdict,
  verdictOf,
  type WindowExponents,
  worstOf,
} from './exponents.ts';
export {
  type MeasureInput,
  type ModelStability,
  measureStability,
  type OpenedModel,
  type RecurrenceStability,
} from './measure.ts';
export { stabilityPage } from './page.ts';
export { type PerturbationResult, perturb, type Target } from './perturbation.ts';
export {
  carryDeviation,
  type LayerTrace,
  norms,
  type RecurrenceInput,
  randomDirections,
  type Stretch,
  traceRecurrences,
} from './recurrence.ts';
export { compareRounding, type RoundingResult } from './rounding.ts';
export {
  checkSettings,
  cutsOf,
  HALF_TYPES,
  type HalfType,
  STABILITY_SETTINGS,
  type StabilitySettings,
  sampleTimes,
} from './settings.ts';
export {
  CELLS_FOLDER,
  type StabilityCell,
  type StabilityInput,
  type StabilityModel,
  type StabilityStudy,
  studyStability,
} from './study.ts';
export {
  CSV_HEAD,
  cellText,
  complaint,
  estimateText,
  stabilityCsv,
  summaryHead,
  summaryNote,
  summaryRow,
} from './tables.ts';
export { cutText, tokensOf } from './texts.ts';
