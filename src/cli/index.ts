/**
 * What commands are made of, for packages that bring commands of their own: options that mean the same everywhere, a
 * device and a model from them, output for people and for programs, Ctrl-C.
 */
export { baseModel } from './carried.ts';
export { nodeFiles } from './files.ts';
export { Interrupted, withInterrupt } from './interrupt.ts';
export {
  type CommonOptions,
  integer,
  type ModelOptions,
  number,
  withCommonOptions,
  withModelOptions,
} from './options.ts';
export { Output, type Progress } from './output.ts';
export { checkOutputFolder } from './output-folder.ts';
export { modelFolder, openDevice, openModel, openWeights } from './session.ts';
