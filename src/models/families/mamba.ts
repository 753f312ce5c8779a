/**
 * Mamba (Gu & Dao 2023, "Mamba: Linear-Time Sequence Modeling with Selective State Spaces") and Falcon-Mamba (Zuo et
 * al. 2024), which differs in one line: B, C and the step's low-rank input are normalised.
 *
 * | paper     | here         | shape        |                                                           |
 * |-----------|--------------|--------------|-----------------------------------------------------------|
 * | B, L      | b, l         |              | batch, positions                                          |
 * | D, E      | d, e         |              | hidden size, inner channels (the paper's D of section 3.4) |
 * | N         | n            |              | state size of a channel                                   |
 * | R         | r            |              | rank of the step's projection                             |
 * | x         | u            | [b, l, e]    | input of the recurrence, after convolution and SiLU       |
 * | (gate)    | z            | [b, l, e]    | the other half of in_proj                                 |
 * | Delta     | dt           | [b, l, e]    | step, before its bias and softplus                        |
 * | s_Delta   | dtLow        | [b, l, r]    | the step's low-rank input                                 |
 * | A         | rates        | [n, e]       | -exp(A_log), transposed against the checkpoint            |
 * | B, C      | B, C         | [b, l, n]    | input and output maps, chosen by the input (selection)    |
 * | D         | skip         | [e]          | skip connection                                           |
 * | h         | state.scan   | [b, n, e]    | recurrent state, f32                                      |
 * |           | state.conv   | [b, k-1, e]  | last inputs of the convolution, f32                       |
 *
 *   stream += out_proj(scan(conv(x), ...) * silu(z)),  [x, z] = in_proj(rmsNorm(stream))
 */
import type { DType } from '../../core/index.ts';
import { DepthwiseConv, type Linear, RMSNorm } from '../../nn/index.ts';
import {
  add,
  checkpoint,
  type Device,
  exp,
  forget,
  neg,
  permute,
  rmsNorm,
  selectiveScan,
  softplus,
  split,
  type Tensor,
} from '../../tensor/index.ts';
import type { ForwardOptions, ModelState } from '../model.ts';
import { checkLayers, stateOf } from '../state/state.ts';
import { linearOf } from '../weighted-layers.ts';
import { CausalModel, layerParameters } from './causal-model.ts';
import type { MambaConfig } from './mamba-config.ts';

type Weights = ReadonlyMap<string, Tensor>;

interface BlockInput {
  stream: Tensor;
  pending: Tensor | null;
  state: Record<string, Tensor> | null;
}

/** The sequence mixer of one layer, with the norm before it. */
class MambaBlock {
  readonly norm: RMSNorm;
  readonly inProj: Linear;
  readonly conv: DepthwiseConv;
  readonly xProj: Linear;
  readonly dtProj: Linear;
  readonly outProj: Linear;
  readonly aLog: Tensor;
  readonly skip: Tensor;
  private frozenRates: Tensor | null = null;
  private ratesGeneration = -1; // of the A_log that they were computed from

  constructor(
    private readonly config: MambaConfig,
    readonly layer: number,
    readonly path: string,
    weights: Weights,
  ) {
    const get = (name: string) => weights.get(`${path}.${name}`) ?? null;
    this.norm = new RMSNorm(`${path}.norm`, get('norm.weight'), config.layerNormEpsilon);
    this.inProj = linearOf(weights, `${path}.mixer.in_proj`);
    this.conv = new DepthwiseConv(`${path}.mixer.conv1d`, get('mixer.conv1d.weight')!, get('mixer.conv1d.bias'));
    this.xProj = linearOf(weights, `${path}.mixer.x_proj`);
    this.dtProj = linearOf(weights, `${path}.mixer.dt_proj`);
    this.outProj = linearOf(weights, `${path}.mixer.out_proj`);
    this.aLog = get('mixer.A_log')!;
    this.skip = get('mixer.D')!;
  }

  get layers(): (Linear | DepthwiseConv)[] {
    return [this.inProj, this.conv, this.xProj, this.dtProj, this.outProj];
  }

  /** -exp(A_log)^T [n, e]: once where A_log is frozen, else each time, so that it learns. */
  private rates(): Tensor {
    const { aLog } = this;
    const compute = () => aLog.device.scope(() => permute(neg(exp(aLog)), [1, 0]));
    const { generation } = aLog.storage;
    if (aLog.requiresGrad || this.ratesGeneration !== generation) this.dispose();
    if (aLog.requiresGrad) return compute();
    this.ratesGeneration = generation;
    this.frozenRates ??= aLog.device.keep(compute());
    return this.frozenRates;
  }

  /**
   * One layer: [stream, pending] and, if wanted, the state after it, [conv, scan]. `pending` is what the layer before
   * has to add to the stream; the norm adds it in passing.
   */
  run({ stream, pending, state }: BlockInput, activations: DType, options: ForwardOptions): Tensor[] {
    const { flags, wantState, pieces, observe, random } = options;
    const { intermediateSize: e, timeStepRank: r, stateSize: n, mixerRmsEps } = this.config;
    const normed = this.norm.forward(pending ?? stream, { residual: pending && stream, dtype: activations }); // [b, l, d]
    const [x, z] = split(this.inProj.forward(normed.y), [e, e]);
    const conv = this.conv.forward(x, { state: state?.conv, flags, wantState, pieces, activation: true });
    const u = conv.y; // [b, l, e]
    // Step and selection stay in the type of the recurrence: a step rounded to a half type forgets at the wrong rate.
    const projected = this.xProj.forward(u, { dtype: this.aLog.dtype }); // [b, l, r + 2n]
    let [dtLow, B, C] = split(projected, [r, n, n]);
    if (mixerRmsEps !== null) [dtLow, B, C] = [dtLow, B, C].map((t) => rmsNorm(t, null, { eps: mixerRmsEps }).y);
    const drawn = random && { random, stream: random.stream };
    const dt = this.dtProj.forward(dtLow, { useBias: false }); // [b, l, e]; the bias is added inside softplus
    const inputs = { u, dt, A: this.rates(), B, C, D: this.skip, z, dtBias: this.dtProj.bias };
    observe?.({ layer: this.layer, steps: softplus(add(dt, inputs.dtBias!)), rates: inputs.A });
    const scan = selectiveScan(inputs, { state: state?.scan, flags, wantState, pieces });
    const y = this.outProj.forward(scan.y); // [b, l, d]
    if (options.isLean) {
      if (normed.sum.dtype === 'f32')
        forget(normed.y, [normed.sum], (sum) => this.norm.forward(sum, { dtype: activations }).y);
      const convolve = (input: Tensor, before: Tensor | undefined, marks: Tensor | null | undefined) =>
        this.conv.forward(input, { state: before, flags: marks, activation: true }).y;
      forget(u, [x, state?.conv, flags], convolve);
      forget(dt, [dtLow], (low) => this.dtProj.forward(low, { useBias: false }), drawn);
    }
    return [normed.sum, y, ...(wantState ? [conv.state!, scan.state!] : [])];
  }

  dispose(): void {
    this.frozenRates?.dispose();
    this.frozenRates = null;
  }
}

/** A Mamba or Falcon-Mamba language model. It owns its weights. */
export class MambaModel extends CausalModel<MambaConfig> {
  readonly memoryLength = null;
  readonly takesPieces = true;
  readonly blocks: readonly MambaBlock[];
  readonly finalNorm: RMSNorm;

  constructor(device: Device, config: MambaConfig, weights: Weights, activations: DType) {
    super(device, config, weights, activations, { table: 'backbone.embeddings', head: 'lm_head' });
    const paths = Array.from({ length: this.layerCount }, (_, i) => `backbone.layers.${i}`);
    this.blocks = paths.map((path, layer) => new MambaBlock(config, layer, path, weights));
    this.finalNorm = new RMSNorm('backbone.norm_f', weights.get('backbone.norm_f.weight')!, config.layerNormEpsilon);
  }

  protected get blockLayers() {
    return this.blocks.flatMap((block) => block.layers);
  }

  protected *blockParameters(): Generator<readonly [string, Tensor]> {
    for (const block of this.blocks) {
      yield [`${block.norm.name}.weight`, block.norm.weight!];
      yield [`${block.path}.mixer.A_log`, block.aLog];
      yield [`${block.path}.mixer.D`, block.skip];
      yield* layerParameters(block.layers);
    }
    yield ['backbone.norm_f.weight', this.finalNorm.weight!];
  }

  /** Matrices only: the convolution's few taps are left alone too, as by the usual rule of two axes. */
  isDecayed(name: string): boolean {
    return !/(\.A_log|\.D|\.bias|norm\.weight|norm_f\.weight|conv1d\.weight)$/.test(name);
  }

  forward(ids: Tensor, options: ForwardOptions = {}): { hidden: Tensor; state: ModelState | null } {
    const { state = null, wantState = false } = options;
    if (state) checkLayers(state, this.layerCount, 'scan');
    const { hidden, layers } = this.device.scope(() => {
      const after: Record<string, Tensor>[] = [];
      let stream = this.embed(ids, this.streamType, options.streamOffset); // [b, l, d]
      let pending: Tensor | null = null;
      this.blocks.forEach((block, i) => {
        const outputs = this.runBlock(block, { stream, pending, state: state?.layers[i] ?? null }, options);
        if (stream !== outputs[0]) stream.dispose();
        pending?.dispose();
        [stream, pending] = outputs;
        if (wantState) after.push({ conv: outputs[2], scan: outputs[3] });
      });
      const normed = this.finalNorm.forward(pending!, { residual: stream, dtype: this.activations });
      return { hidden: normed.y, layers: after };
    });
    return { hidden, state: wantState ? stateOf(layers) : null };
  }

  /** Temporaries of a block go when it is done; with checkpointing also what its gradients need. */
  private runBlock(block: MambaBlock, input: BlockInput, options: ForwardOptions): Tensor[] {
    const { stream, pending, state } = input;
    // All that the second run of a checkpoint reads has to be an input, which is kept until then.
    const inputs = [stream, pending, state?.conv, state?.scan, options.flags];
    const work = (...given: Tensor[]) => {
      const [first, before, conv, scan, flags] = inputs.map((t) => (t ? given.shift()! : null));
      const from = { stream: first!, pending: before, state: conv && scan && { conv, scan } };
      return block.run(from, this.activations, { ...options, flags });
    };
    const present = inputs.filter((t) => t != null);
    return this.device.scope(() =>
      options.checkpointing ? checkpoint(present, work, options.random) : work(...present),
    );
  }

  /** The residual stream stays f32 (f64 in an f64 model) unless the configuration lets it follow the activations. */
  private get streamType(): DType {
    if (!this.config.residualInFp32) return this.activations;
    return this.activations === 'f64' ? 'f64' : 'f32';
  }

  override dispose(): void {
    for (const block of this.blocks) block.dispose();
    super.dispose();
  }
}
