export { type EpisodeQuestion, episodePieces, type MicroEpisode, metaEpisodes, microEpisodes } from './episodes.ts';
export {
  loadMicroMaterial,
  MICRO_PARTS,
  type MicroItems,
  type MicroMaterial,
  type MicroPart,
  type TwoClasses,
} from './items.ts';
export { microRows, writeMicroTasks } from './rows.ts';
export {
  LOOKUP_KEYS,
  MAIL_WORDS,
  MICRO_TASKS,
  type MicroRow,
  type MicroTask,
  TEST_LABELS,
} from './tasks.ts';
