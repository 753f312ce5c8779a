/**
 * A layer of a model: norms, mixers and the residual stream between them. The only place that knows the norm fused with the
 * residual addition before it, selective recomputation of norms, and activation checkpointing.
 *
 *   one after the other   stream += mixer1(norm1(stream));  stream += mixer2(norm2(stream))
 *   side by side          stream += mixer1(norm1(stream)) + mixer2(norm2(stream))
 *
 * The last addition is left to the norm of the next layer, which makes it in passing: between layers there are the stream
 * and the residual branch that is still to be added.
 */
import { type DType, KraitError } from '../core/index.ts';
import { type AdaptableLayer, LayerNorm, RMSNorm } from '../nn/index.ts';
import { add, checkpoint, type Device, dropout, type NormResult, recompute, type Tensor } from '../tensor/index.ts';
import { constant, type WeightRow } from './checkpoint/table.ts';
import type { ForwardMode, Mixer, MixerPlan, Weights } from './mixers/mixer.ts';
import { SEQUENCE_TENSORS, type Sequence } from './sequence.ts';
import type { LayerState, StateKind } from './state/kinds.ts';

export interface NormPlan {
  readonly kind: 'rms' | 'layer';
  readonly eps: number;
}

type Norm = RMSNorm | LayerNorm;

/** Weights of a norm over the hidden size. */
export function normRows({ kind }: NormPlan, path: string, hiddenSize: number): WeightRow[] {
  const row = (name: string, value: number) => ({
    name: `${path}.${name}`,
    shape: [hiddenSize],
    isMatrix: false,
    initial: constant(value),
  });
  return kind === 'rms' ? [row('weight', 1)] : [row('weight', 1), row('bias', 0)];
}

export function buildNorm({ kind, eps }: NormPlan, path: string, weights: Weights): Norm {
  const weight = weights.get(`${path}.weight`)!;
  return kind === 'rms'
    ? new RMSNorm(path, weight, eps)
    : new LayerNorm(path, weight, weights.get(`${path}.bias`)!, eps);
}

/** Parameters of a norm, by name. */
export function* normParameters(norm: Norm): Generator<readonly [string, Tensor]> {
  yield [`${norm.name}.weight`, norm.weight!];
  if (norm instanceof LayerNorm) yield [`${norm.name}.bias`, norm.bias!];
}

/** Weights and biases of layers, by name. */
export function* layerParameters(layers: Iterable<AdaptableLayer>): Generator<readonly [string, Tensor]> {
  for (const layer of layers) {
    yield [`${layer.name}.weight`, layer.weight];
    if (layer.kind !== 'embedding' && layer.bias) yield [`${layer.name}.bias`, layer.bias];
  }
}

/** A mixer with the norm before it. */
export interface BranchPlan {
  /** Module of the norm, under that of the layer. */
  readonly norm: string;
  /** Module of the mixer, under that of the layer; empty where the mixer's own modules stand there. */
  readonly module: string;
  readonly mixer: MixerPlan;
  /** Probability with which the branch's output drops out in training; 0 unless given. */
  readonly dropout?: number;
}

export interface BlockPlan {
  readonly branches: readonly BranchPlan[];
  /** Whether all branches read the stream as it is before the layer. */
  readonly isParallel?: boolean;
}

const pathOf = (block: string, module: string): string => (module ? `${block}.${module}` : block);

/** The weights of a layer: norms first, then mixers. */
export function blockRows(
  { branches }: BlockPlan,
  norm: NormPlan,
  path: string,
  sizes: { hidden: number; depth: number },
) {
  return [
    ...branches.flatMap((branch) => normRows(norm, `${path}.${branch.norm}`, sizes.hidden)),
    ...branches.flatMap(({ module, mixer }) => mixer.rows(pathOf(path, module), sizes.depth)),
  ];
}

/** Tensors of a layer's state. @throws KraitError if two of its mixers use the same name */
export function blockState({ branches }: BlockPlan): StateKind {
  const kinds = branches.flatMap(({ mixer }) => Object.entries(mixer.state));
  const kind = Object.fromEntries(kinds);
  if (Object.keys(kind).length === kinds.length) return kind;
  const names = kinds.map(([name]) => name);
  const twice = names.find((name, i) => names.indexOf(name) < i);
  throw new KraitError(`two mixers of a layer both call a state ${twice}; put them in layers of their own`);
}

/** Inputs of a layer: the residual stream, and the residual branch to be added to it. */
export interface BlockInput {
  readonly stream: Tensor;
  readonly pending: Tensor | null;
  readonly sequence: Sequence;
  readonly state: LayerState | null;
}

/** How a layer runs. */
export interface BlockMode extends ForwardMode {
  /** Type of the mixers' inputs. */
  readonly activations: DType;
  /** Activation checkpointing: only the layer's input is kept for the backward pass, the rest is computed again. */
  checkpointing?: boolean;
}

export interface BlockResult {
  readonly stream: Tensor;
  readonly pending: Tensor;
  /** Empty if the layer has no state, or its state is not wanted. */
  readonly state: LayerState;
}

interface Branch {
  readonly norm: Norm;
  readonly mixer: Mixer;
  readonly dropout: number;
}

/** Absent tensors stay null, in their places. */
type Given = readonly (Tensor | null)[];

export class Block {
  private readonly branches: readonly Branch[];
  private readonly isParallel: boolean;
  private readonly stateNames: readonly string[];

  constructor(
    private readonly device: Device,
    plan: BlockPlan,
    norm: NormPlan,
    readonly path: string,
    private readonly layer: number,
    weights: Weights,
  ) {
    this.isParallel = plan.isParallel ?? false;
    this.stateNames = Object.keys(blockState(plan));
    this.branches = plan.branches.map((branch) => ({
      norm: buildNorm(norm, `${path}.${branch.norm}`, weights),
      mixer: branch.mixer.build(pathOf(path, branch.module), weights),
      dropout: branch.dropout ?? 0,
    }));
  }

  get mixers(): readonly Mixer[] {
    return this.branches.map(({ mixer }) => mixer);
  }

  get norms(): readonly Norm[] {
    return this.branches.map(({ norm }) => norm);
  }

  get layers(): AdaptableLayer[] {
    return this.branches.flatMap(({ mixer }) => mixer.layers);
  }

  /** Temporaries of a layer are freed at its end; with checkpointing, those that its gradients need too. */
  forward(input: BlockInput, mode: BlockMode): BlockResult {
    // Everything that the second run of a checkpoint reads must be an input. Inputs are kept until then.
    const { stream, pending, sequence, state } = input;
    const inputs: Given = [
      stream,
      pending,
      ...SEQUENCE_TENSORS.map((name) => sequence[name]),
      ...this.stateNames.map((name) => state?.[name] ?? null),
    ];
    const work = (...present: Tensor[]) =>
      this.run(
        this.inputOf(
          inputs.map((t) => t && present.shift()!),
          input,
        ),
        mode,
      );
    const present = inputs.filter((t) => t !== null);
    const [after, branch, ...remembered] = this.device.scope(() =>
      mode.checkpointing ? checkpoint(present, work, mode.random ?? undefined) : work(...present),
    );
    const names = mode.wantState ? this.stateNames : [];
    return { stream: after, pending: branch, state: Object.fromEntries(names.map((name, i) => [name, remembered[i]])) };
  }

  /** The input whose tensors are these. */
  private inputOf([stream, pending, ...rest]: Given, { sequence, state }: BlockInput): BlockInput {
    const marks = SEQUENCE_TENSORS.map((name, i) => [name, rest[i]] as const);
    const remembered = rest.slice(SEQUENCE_TENSORS.length);
    return {
      stream: stream!,
      pending,
      sequence: { ...sequence, ...Object.fromEntries(marks) },
      state: state && Object.fromEntries(this.stateNames.map((name, i) => [name, remembered[i]!])),
    };
  }

  /** The stream, the residual branch and, if wanted, the tensors of the state, in the order of their names. */
  private run({ stream, pending, sequence, state }: BlockInput, mode: BlockMode): Tensor[] {
    const { layer, isParallel } = this;
    let before = stream;
    let branch = pending;
    let after: LayerState = {};
    for (const [i, { norm, mixer, dropout: p }] of this.branches.entries()) {
      const isBeside = isParallel && i > 0;
      const normed = isBeside
        ? norm.forward(before, { dtype: mode.activations })
        : norm.forward(branch ?? before, { residual: branch && before, dtype: mode.activations });
      const result = mixer.forward(normed.y, { layer, sequence, state, mode });
      this.recomputeNormed(norm, normed, mode);
      const y = p > 0 && mode.random ? dropout(result.y, p, mode.random) : result.y;
      branch = isBeside ? add(branch!, y) : y;
      before = normed.sum;
      if (result.state) after = { ...after, ...result.state };
    }
    return [before, branch!, ...(mode.wantState ? this.stateNames.map((name) => after[name]) : [])];
  }

  private recomputeNormed(norm: Norm, { y, sum }: NormResult, { recomputes, activations }: BlockMode): void {
    if (recomputes && sum.dtype === 'f32') recompute(y, [sum], (from) => norm.forward(from, { dtype: activations }).y);
  }

  /** Frees the tensors that mixers computed. */
  dispose(): void {
    for (const mixer of this.mixers) mixer.dispose?.();
  }
}
