/** Models whose weights were quantised: adapters work beside them, but nothing learns and nothing merges. */
import { ConfigError } from '../core/index.ts';
import type { BackboneModel } from '../models/index.ts';

/** @throws ConfigError for a model with int8 weights; `what` names what wants to change it */
export function checkChangeable(what: string, { scales }: BackboneModel): void {
  if (scales.size === 0) return;
  throw new ConfigError(`${what}: the model's weights are int8, for inference alone; load it in f32 or bf16`);
}
