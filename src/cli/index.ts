/**
 * What commands are made of, for packages that bring commands of their own: options that mean the same everywhere, a
 * device and a model from them, output for people and for programs, Ctrl-C.
 */
export { baseModel } from './carried.ts';
export { Interrupted, withInterrupt } from './interrupt.ts';
export type { Progress } from './output.ts';
export {
  type CommonOptions,
  checkOutputFolder,
  integer,
  type ModelOptions,
  modelFolder,
  nodeFiles,
  number,
  type OpenModel,
  Output,
  openDevice,
  openModel,
  openModelAndTokenizer,
  tokenizerFor,
  withCommonOptions,
  withModelOptions,
} from './session.ts';
