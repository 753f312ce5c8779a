/**
 * GPT-NeoX (Black et al. 2022, "GPT-NeoX-20B: An Open-Source Autoregressive Language Model"), the architecture of Pythia
 * (Biderman et al. 2023): a Transformer whose attention and feed-forward part read the same stream.
 *
 * | paper   | here          | shape        |                                                                  |
 * |---------|---------------|--------------|------------------------------------------------------------------|
 * |         | b, l, p       |              | batch, positions, positions remembered from before               |
 * | d_model | d             |              | hidden size                                                      |
 * | x       | stream        | [b, l, d]    | residual stream, f32                                             |
 * | q, k, v | q, k, v       | [b, l, d]    | head after head; q and k are turned by their positions (RoPE)    |
 * |         | state.keys    | [b, p, d]    | turned keys of all positions so far                              |
 * |         | state.values  | [b, p, d]    | their values                                                     |
 * |         | .documents    | [b, p]       | of layer 0: the document of each position, -1 for padding        |
 * |         | .place        | [b, 2]       | of layer 0: the next position in its document, the document now  |
 *
 *   stream += attention(ln1(stream)) + mlp(ln2(stream)),  mlp(x) = W_out gelu(W_in x)
 *
 * or, without the parallel residual, `stream += attention(ln1(stream))` and then `stream += mlp(ln2(stream))`.
 * Rotary embeddings: Su et al. 2021, on the first `rotary_pct` of each head.
 */
import { type DType, KraitError } from '../../core/index.ts';
import { LayerNorm, type Linear } from '../../nn/index.ts';
import {
  add,
  attention,
  cast,
  checkpoint,
  concat,
  contiguous,
  type Device,
  forget,
  gelu,
  mul,
  type NormResult,
  permute,
  relu,
  reshape,
  rotary,
  scale,
  sequencePositions,
  sigmoid,
  silu,
  split,
  square,
  type Tensor,
} from '../../tensor/index.ts';
import { append } from '../mixers/append.ts';
import type { ForwardOptions, ModelState } from '../model.ts';
import { checkLayers, stateOf } from '../state/state.ts';
import { linearOf } from '../weighted-layers.ts';
import { CausalModel, layerParameters } from './causal-model.ts';
import { type GptNeoXConfig, rotatedSize } from './gpt-neox-config.ts';

type Weights = ReadonlyMap<string, Tensor>;

/** x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))), with (1 + tanh u)/2 = sigmoid(2u). */
function geluTanh(half: Tensor): Tensor {
  const isHalf = half.dtype === 'bf16' || half.dtype === 'f16';
  const x = isHalf ? cast(half, 'f32') : half;
  const inner = add(x, scale(mul(square(x), x), 0.044715));
  return cast(mul(x, sigmoid(scale(inner, 2 * Math.sqrt(2 / Math.PI)))), half.dtype);
}

const ACTIVATIONS: Record<GptNeoXConfig['hiddenAct'], (x: Tensor) => Tensor> = {
  gelu,
  gelu_new: geluTanh,
  gelu_fast: geluTanh,
  gelu_pytorch_tanh: geluTanh,
  relu,
  silu,
};

/** What a layer reads. */
interface BlockInput {
  stream: Tensor;
  /** What the layer before has to add to the stream; the norm adds it in passing. */
  pending: Tensor | null;
  /** Of each position within its document, [b, l]. */
  positions: Tensor;
  /** Documents of the positions [b, l], and of those that are seen [b, p + l]; null where all are of one. */
  documents: Tensor | null;
  seenDocuments: Tensor | null;
  /** Remembered keys and values. */
  keys: Tensor | null;
  values: Tensor | null;
}

/** Attention and feed-forward part of one layer, with their norms. */
class GptNeoXBlock {
  readonly inputNorm: LayerNorm;
  readonly postAttentionNorm: LayerNorm;
  readonly queryKeyValue: Linear;
  readonly dense: Linear;
  readonly mlpIn: Linear;
  readonly mlpOut: Linear;

  constructor(
    private readonly config: GptNeoXConfig,
    path: string,
    weights: Weights,
  ) {
    this.inputNorm = normOf(weights, `${path}.input_layernorm`, config);
    this.postAttentionNorm = normOf(weights, `${path}.post_attention_layernorm`, config);
    this.queryKeyValue = linearOf(weights, `${path}.attention.query_key_value`);
    this.dense = linearOf(weights, `${path}.attention.dense`);
    this.mlpIn = linearOf(weights, `${path}.mlp.dense_h_to_4h`);
    this.mlpOut = linearOf(weights, `${path}.mlp.dense_4h_to_h`);
  }

  get norms(): LayerNorm[] {
    return [this.inputNorm, this.postAttentionNorm];
  }

  get layers(): Linear[] {
    return [this.queryKeyValue, this.dense, this.mlpIn, this.mlpOut];
  }

  /** Every position looks at those before it in its document: [y, keys, values], the last two with what was remembered. */
  private attend(x: Tensor, input: BlockInput): Tensor[] {
    const { hiddenSize: d, numAttentionHeads: heads, ropeTheta: base } = this.config;
    const { positions, documents: queryDocuments, seenDocuments: keyDocuments } = input;
    const [b, l] = x.shape;
    const perHead = reshape(this.queryKeyValue.forward(x), [b * l, heads, 3, d / heads]);
    const [q, k, v] = split(reshape(permute(perHead, [0, 2, 1, 3]), [b, l, 3 * d]), [d, d, d]);
    const turn = (t: Tensor) => rotary(t, positions, { heads, rotated: rotatedSize(this.config), base });
    const keys = append(input.keys, turn(k)); // [b, p + l, d]
    const values = append(input.values, v);
    const y = attention(turn(q), keys, values, { heads, queryDocuments, keyDocuments }); // [b, l, d]
    return [this.dense.forward(y), keys, values];
  }

  private feedForward(x: Tensor, isLean: boolean): Tensor {
    const activate = ACTIVATIONS[this.config.hiddenAct];
    const inner = this.mlpIn.forward(x); // [b, l, intermediate size]
    const active = activate(inner);
    const y = this.mlpOut.forward(active);
    if (isLean) forget(active, [inner], activate);
    return y;
  }

  /** One layer: [stream, pending] and, if wanted, all keys and values. */
  run(input: BlockInput, dtype: DType, { wantState = false, isLean = false }: ForwardOptions): Tensor[] {
    const { stream, pending } = input;
    const normed = this.inputNorm.forward(pending ?? stream, { residual: pending && stream, dtype });
    const [attended, keys, values] = this.attend(normed.y, input);
    const memory = wantState ? [keys, contiguous(values)] : [];
    const forgetNormed = (norm: LayerNorm, { y, sum }: NormResult) => {
      if (isLean && sum.dtype === 'f32') forget(y, [sum], (before) => norm.forward(before, { dtype }).y);
    };
    forgetNormed(this.inputNorm, normed);
    const { useParallelResidual: isParallel } = this.config;
    const again = isParallel
      ? this.postAttentionNorm.forward(normed.sum, { dtype })
      : this.postAttentionNorm.forward(attended, { residual: normed.sum, dtype });
    const y = this.feedForward(again.y, isLean);
    forgetNormed(this.postAttentionNorm, again);
    return [again.sum, isParallel ? add(attended, y) : y, ...memory];
  }
}

const normOf = (weights: Weights, path: string, { layerNormEps }: GptNeoXConfig): LayerNorm =>
  new LayerNorm(path, weights.get(`${path}.weight`)!, weights.get(`${path}.bias`)!, layerNormEps);

/** A GPT-NeoX language model. It owns its weights. */
export class GptNeoXModel extends CausalModel<GptNeoXConfig> {
  readonly memoryLength: number;
  readonly takesPieces = false;
  readonly blocks: readonly GptNeoXBlock[];
  readonly finalNorm: LayerNorm;

  constructor(device: Device, config: GptNeoXConfig, weights: Weights, activations: DType) {
    super(device, config, weights, activations, { table: 'gpt_neox.embed_in', head: 'embed_out' });
    this.memoryLength = config.maxPositionEmbeddings;
    const paths = Array.from({ length: this.layerCount }, (_, i) => `gpt_neox.layers.${i}`);
    this.blocks = paths.map((path) => new GptNeoXBlock(config, path, weights));
    this.finalNorm = normOf(weights, 'gpt_neox.final_layer_norm', config);
  }

  protected get blockLayers() {
    return this.blocks.flatMap((block) => block.layers);
  }

  protected *blockParameters(): Generator<readonly [string, Tensor]> {
    const norms = [...this.blocks.flatMap((block) => block.norms), this.finalNorm];
    for (const { name, weight, bias } of norms) {
      yield [`${name}.weight`, weight!];
      yield [`${name}.bias`, bias!];
    }
    yield* layerParameters(this.blockLayers);
  }

  /** Matrices only. */
  isDecayed(name: string): boolean {
    return !/(\.bias|norm\.weight)$/.test(name);
  }

  forward(ids: Tensor, options: ForwardOptions = {}): { hidden: Tensor; state: ModelState | null } {
    const { state = null, wantState = false, flags = null } = options;
    if (options.pieces) throw new KraitError('gpt_neox takes no pieces; give rows of one length, padded and flagged');
    if (state) checkLayers(state, this.layerCount, 'keys');
    const { hidden, layers } = this.device.scope(() => {
      const [b, l] = ids.shape;
      const before = state?.layers[0];
      const { positions, documents, after } = sequencePositions(flags, b, l, before?.place ?? null, this.device);
      const seen = before ? concat([before.documents, documents], 1) : documents; // [b, p + l]
      const isOne = !flags && !before; // all positions are of one document
      const known = { positions, documents: isOne ? null : documents, seenDocuments: isOne ? null : seen };
      const remembered: Record<string, Tensor>[] = [];
      const streamType = this.activations === 'f64' ? 'f64' : 'f32';
      let stream = this.embed(ids, streamType, options.streamOffset); // [b, l, d]
      let pending: Tensor | null = null;
      this.blocks.forEach((block, i) => {
        const { keys = null, values = null } = state?.layers[i] ?? {};
        const outputs = this.runBlock(block, { stream, pending, ...known, keys, values }, options);
        if (stream !== outputs[0]) stream.dispose();
        pending?.dispose();
        [stream, pending] = outputs;
        if (!wantState) return;
        const [, , allKeys, allValues] = outputs;
        remembered.push({ keys: allKeys, values: allValues, ...(i === 0 && { documents: seen, place: after }) });
      });
      const normed = this.finalNorm.forward(pending!, { residual: stream, dtype: this.activations });
      return { hidden: normed.y, layers: remembered };
    });
    return { hidden, state: wantState ? stateOf(layers) : null };
  }

  /** Temporaries of a block go when it is done; with checkpointing also what its gradients need. */
  private runBlock(block: GptNeoXBlock, input: BlockInput, options: ForwardOptions): Tensor[] {
    const { stream, pending, positions, documents, seenDocuments, keys, values } = input;
    // All that the second run of a checkpoint reads has to be an input, which is kept until then.
    const inputs = [stream, positions, pending, documents, seenDocuments, keys, values];
    const work = (...given: Tensor[]) => {
      const [first, at, ...rest] = inputs.map((t) => (t ? given.shift()! : null));
      const [before, own, seen, oldKeys, oldValues] = rest;
      const from = { stream: first!, positions: at!, pending: before, documents: own, seenDocuments: seen };
      return block.run({ ...from, keys: oldKeys, values: oldValues }, this.activations, options);
    };
    const present = inputs.filter((t) => t !== null);
    return this.device.scope(() =>
      options.checkpointing ? checkpoint(present, work, options.random) : work(...present),
    );
  }
}
