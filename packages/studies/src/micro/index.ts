export { type EpisodeQuestion, episodePieces, type MicroEpisode, metaEpisodes, microEpisodes } from './episodes.ts';
export {
  definitionOf,
  loadMicroMaterial,
  MICRO_PARTS,
  type MicroItems,
  type MicroMaterial,
  type MicroPart,
  sentencesOf,
  type TwoClasses,
} from './items.ts';
export { microRows, writeMicroTasks } from './rows.ts';
export {
  LOOKUP_KEYS,
  MAIL_WORDS,
  MICRO_DELIMITER,
  MICRO_PROMPTS,
  MICRO_TASKS,
  type MicroRow,
  type MicroTask,
  TEST_LABELS,
  TEST_VALUES,
} from './tasks.ts';
