export { Krait, type OpenOptions, openDevice } from './krait.ts';
export type { TuneOptions } from './tuning.ts';
