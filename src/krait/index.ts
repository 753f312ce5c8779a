export { Krait, type OpenOptions, openDevice } from './krait.ts';
export type { TuneOptions, TuneSettings } from './tune-options.ts';
