/** Layers over the weights that a model was given, quantised or not, by module path. */
import { type AdaptableLayer, Embedding, Linear } from '../nn/index.ts';
import { permute, type Tensor } from '../tensor/index.ts';

type Weights = ReadonlyMap<string, Tensor>;

/** Name of the row scales of a quantised weight. */
export const scaleName = (weight: string): string => weight.replace(/weight$/, 'scale');

/** The linear layer at a path; its weight must be there. */
export const linearOf = (weights: Weights, path: string): Linear =>
  new Linear(
    path,
    weights.get(`${path}.weight`)!,
    weights.get(`${path}.bias`) ?? null,
    weights.get(`${path}.scale`) ?? null,
  );

/** The table at a path; its weight must be there. */
export const embeddingOf = (weights: Weights, path: string): Embedding =>
  new Embedding(path, weights.get(`${path}.weight`)!, weights.get(`${path}.scale`) ?? null);

/** The table as an output head, in the same memory. */
export const tiedHead = ({ name, weight, scale }: Embedding): Linear => new Linear(name, weight, null, scale);

/** A head at a path with a copy of the table to itself. A quantised table, which nothing changes, is shared. */
export function untiedHead({ weight, scale }: Embedding, path: string): Linear {
  const { device } = weight;
  if (scale) return new Linear(path, device.keep(weight.alias()), null, device.keep(scale.alias()));
  const copy = device.noGrad(() => permute(weight, [0, 1])); // the identity order: a plain copy
  return new Linear(path, device.keep(copy).trainable(weight.requiresGrad));
}

/** Scales of quantised layers, under the weights' names. */
export function scalesOf(layers: Iterable<AdaptableLayer>): Map<string, Tensor> {
  const scales = new Map<string, Tensor>();
  for (const layer of layers) {
    if (layer.kind !== 'conv' && layer.scale) scales.set(`${layer.name}.weight`, layer.scale);
  }
  return scales;
}
