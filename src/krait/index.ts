export { Krait } from './krait.ts';
export { type OpenOptions, openDevice } from './open.ts';
export type { TuneOptions } from './tuning.ts';
