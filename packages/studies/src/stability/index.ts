export { type CurveOptions, curveOf, type DeviationCurve, type Series } from './curve.ts';
export type {
  FrozenDecay,
  LayerExponents,
  Verdict,
  WindowExponents,
} from './exponents.ts';
export {
  type MeasureInput,
  type ModelStability,
  measureStability,
  type OpenedModel,
  type RecurrenceStability,
} from './measure.ts';
export { stabilityPage } from './page.ts';
export type { PerturbationResult, Target } from './perturbation.ts';
export type {
  LayerTrace,
  RecurrenceInput,
  Stretch,
} from './recurrence.ts';
export type { RoundingResult } from './rounding.ts';
export {
  checkSettings,
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
  cellText,
  complaint,
  stabilityCsv,
  summaryHead,
  summaryNote,
  summaryRow,
} from './tables.ts';
export { cutText } from './texts.ts';
