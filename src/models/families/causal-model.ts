/** What the models of all families share: their table, their output head, which may be the table, and their weights. */
import type { DType } from '../../core/index.ts';
import type { AdaptableLayer, Embedding, Linear } from '../../nn/index.ts';
import { add, type Device, type Tensor } from '../../tensor/index.ts';
import { headLoss } from '../head-loss.ts';
import type { CausalLM, ForwardOptions, ModelState } from '../model.ts';
import { embeddingOf, linearOf, scalesOf, tiedHead, untiedHead } from '../weighted-layers.ts';
import { type ModelConfig, type ModelType, toConfigJson } from './config.ts';

/** Where the table and the head are in a checkpoint. */
export interface HeadPaths {
  readonly table: string;
  readonly head: string;
}

/** A language model over its weights, which it owns. */
export abstract class CausalModel<C extends ModelConfig> implements CausalLM {
  readonly family: ModelType;
  readonly vocabSize: number;
  readonly hiddenSize: number;
  readonly layerCount: number;
  readonly headPath: string;
  readonly embeddings: Embedding;
  /** The output head; null where it is the embedding table. */
  head: Linear | null;

  constructor(
    readonly device: Device,
    readonly config: C,
    weights: ReadonlyMap<string, Tensor>,
    public activations: DType,
    paths: HeadPaths,
  ) {
    this.family = config.modelType;
    this.vocabSize = config.vocabSize;
    this.hiddenSize = config.hiddenSize;
    this.layerCount = config.numHiddenLayers;
    this.headPath = paths.head;
    this.embeddings = embeddingOf(weights, paths.table);
    this.head = weights.has(`${paths.head}.weight`) ? linearOf(weights, paths.head) : null;
  }

  abstract readonly memoryLength: number | null;
  abstract readonly takesPieces: boolean;
  /** Layers of the blocks, in the order of computation. */
  protected abstract readonly blockLayers: readonly AdaptableLayer[];
  /** Parameters between the table and the head. */
  protected abstract blockParameters(): Iterable<readonly [name: string, weight: Tensor]>;
  abstract isDecayed(name: string): boolean;
  abstract forward(ids: Tensor, options?: ForwardOptions): { hidden: Tensor; state: ModelState | null };

  get parameters(): ReadonlyMap<string, Tensor> {
    const { embeddings, head } = this;
    const all = new Map([[`${embeddings.name}.weight`, embeddings.weight], ...this.blockParameters()]);
    if (head) all.set(`${head.name}.weight`, head.weight);
    if (head?.bias) all.set(`${head.name}.bias`, head.bias);
    return all;
  }

  get scales(): ReadonlyMap<string, Tensor> {
    return scalesOf(this.adaptable.values());
  }

  get adaptable(): ReadonlyMap<string, AdaptableLayer> {
    const layers = [this.embeddings, ...this.blockLayers, ...(this.head ? [this.head] : [])];
    return new Map(layers.map((layer) => [layer.name, layer]));
  }

  /** Gives a tied head a copy of the table to itself, so that it can be trained or merged apart. Returns the head. */
  untieHead(): Linear {
    this.head ??= untiedHead(this.embeddings, this.headPath);
    return this.head;
  }

  /** The residual stream before the first layer, [b, l, hiddenSize] in `dtype`. */
  protected embed(ids: Tensor, dtype: DType, offset: Tensor | null = null): Tensor {
    const stream = this.embeddings.forward(ids, { dtype });
    return offset ? add(stream, offset) : stream;
  }

  private get headLayer(): Linear {
    return this.head ?? tiedHead(this.embeddings);
  }

  logits(hidden: Tensor): Tensor {
    return this.headLayer.forward(hidden, { dtype: this.activations === 'f64' ? 'f64' : 'f32' });
  }

  loss(hidden: Tensor, targets: Tensor, options: Parameters<CausalLM['loss']>[2]): Tensor {
    return headLoss(this.headLayer, hidden, targets, options);
  }

  configJson(): Record<string, unknown> {
    return toConfigJson({ ...this.config, tieWordEmbeddings: this.head === null });
  }

  dispose(): void {
    for (const tensor of [...this.parameters.values(), ...this.scales.values()]) tensor.dispose();
  }
}

/** Weights and biases of layers, under their checkpoint names. */
export function* layerParameters(layers: Iterable<AdaptableLayer>): Generator<readonly [string, Tensor]> {
  for (const layer of layers) {
    yield [`${layer.name}.weight`, layer.weight];
    if (layer.kind !== 'embedding' && layer.bias) yield [`${layer.name}.bias`, layer.bias];
  }
}
