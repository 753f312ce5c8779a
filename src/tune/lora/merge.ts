/** Merging: the change becomes part of the weights, so that a layer costs what it did. The base weights are kept. */
import { KraitError } from '../../core/index.ts';
import { checkChangeable } from '../quantised-model.ts';
import type { LoraAdapter } from './attach.ts';
import { activate, deactivate, mergedWeight } from './factors.ts';

/**
 * Adds every change to its layer's weight (W + s B A in f32, rounded once to the weight's type). A head tied to an
 * adapted table first gets a copy of the table to itself: the adapter never changed the head.
 * @throws KraitError if it is merged already; ConfigError for a model with int8 weights: the change would be rounded away
 */
export function mergeLora(adapter: LoraAdapter): void {
  const { factors, model } = adapter;
  if (adapter.mergedBases) throw new KraitError('the adapter is merged already; unmerge it first');
  checkChangeable('merge', model);
  if (factors.some(({ layer }) => layer.kind === 'embedding')) model.untieHead();
  adapter.mergedBases = factors.map((pair) => {
    const base = pair.layer.weight;
    pair.layer.weight = mergedWeight(pair);
    deactivate(pair);
    return base;
  });
}

/**
 * Takes the changes out again: the layers have the base weights back, bit for bit, and the adapter works beside them.
 * @throws KraitError if it is not merged
 */
export function unmergeLora(adapter: LoraAdapter): void {
  const { factors, mergedBases } = adapter;
  if (!mergedBases) throw new KraitError('the adapter is not merged; merge it first');
  factors.forEach((pair, i) => {
    pair.layer.weight.dispose();
    pair.layer.weight = mergedBases[i];
    activate(pair, adapter);
  });
  adapter.mergedBases = null;
}

/** Leaves a merged adapter's result in the model for good and gives back what only unmerging needs. */
export function keepMerged(adapter: LoraAdapter): void {
  if (!adapter.mergedBases) mergeLora(adapter);
  for (const base of adapter.mergedBases!) base.dispose();
  for (const { A, B } of adapter.factors) {
    for (const tensor of [A, B]) {
      tensor.zeroGrad();
      tensor.dispose();
    }
  }
  adapter.mergedBases = null;
}
