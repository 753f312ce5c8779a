/**
 * The studies of Krait as functions: what `krait study` and `krait quickstart` run, for programs. Each takes a device, files
 * and settings, and gives a result; a page, tables and a document are made of it.
 */
export {
  checkDownstream,
  type DownstreamInput,
  type DownstreamModel,
  type DownstreamSettings,
  type DownstreamStudy,
  downstreamCsv,
  downstreamDocument,
  downstreamPage,
  downstreamSummary,
  fileInstructions,
  type InstructionSet,
  METHODS,
  type Method,
  metaInstructions,
  microInstructions,
  PRESET_NAMES,
  PRESETS,
  type PresetName,
  studyDownstream,
} from './downstream/index.ts';
export { loadMicroMaterial, MICRO_TASKS, type MicroMaterial, type MicroTask, writeMicroTasks } from './micro/index.ts';
export { SPAM_SETTINGS, type SpamInput, type SpamRow, type SpamSettings, type SpamStudy, studySpam } from './spam.ts';
export {
  checkSettings,
  HALF_TYPES,
  type HalfType,
  type ModelStability,
  measureStability,
  STABILITY_SETTINGS,
  type StabilityCell,
  type StabilityInput,
  type StabilityModel,
  type StabilitySettings,
  type StabilityStudy,
  stabilityCsv,
  stabilityPage,
  studyStability,
} from './stability/index.ts';
