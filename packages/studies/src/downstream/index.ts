export {
  type CellResult,
  type CellSpec,
  type MetaSpec,
  STUDY_FOLDERS,
  type StudyCell,
  type TrialSpec,
  type TunedSpec,
  type UntunedSpec,
} from './cells.ts';
export { fileInstructions, type InstructionSet, metaInstructions, microInstructions } from './instructions.ts';
export { METHODS, type Method } from './methods.ts';
export { downstreamPage } from './page.ts';
export { checkDownstream, type DownstreamSettings, PRESET_NAMES, PRESETS, type PresetName } from './settings.ts';
export {
  type BestTrial,
  type DownstreamInput,
  type DownstreamModel,
  type DownstreamStudy,
  type StudiedModel,
  type StudiedTask,
  studyDownstream,
} from './study.ts';
export { downstreamCsv, downstreamDocument, downstreamSummary } from './tables.ts';
