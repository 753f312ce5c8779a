/**
 * The mixer of Mamba (Gu & Dao 2023, "Mamba: Linear-Time Sequence Modeling with Selective State Spaces"), of Falcon-Mamba
 * (Zuo et al. 2024), which normalises B, C and the step's low-rank input, and of MambaTS (Cai et al. 2024), which leaves
 * out the convolution with its SiLU and drops out of what selects.
 *
 * | paper     | here         | shape        |                                                           |
 * |-----------|--------------|--------------|-----------------------------------------------------------|
 * | B, L      | b, l         |              | batch, positions                                          |
 * | D, E      | d, e         |              | hidden size, inner channels (the paper's D of section 3.4) |
 * | N         | n            |              | state size of a channel                                   |
 * | R         | r            |              | rank of the step's projection                             |
 * |           | k            |              | kernel size of the convolution                            |
 * | x         | u            | [b, l, e]    | input of the recurrence, after convolution and SiLU       |
 * | (gate)    | z            | [b, l, e]    | the other half of in_proj                                 |
 * | Delta     | dt           | [b, l, e]    | step, before its bias and softplus                        |
 * | s_Delta   | dtLow        | [b, l, r]    | the step's low-rank input                                 |
 * | A         | A            | [n, e]       | -exp(A_log), transposed against the checkpoint            |
 * | B, C      | B, C         | [b, l, n]    | input and output maps, chosen by the input (selection)    |
 * | D         | D            | [e]          | skip connection                                           |
 * | h         | state.scan   | [b, n, e]    | recurrent state, f32                                      |
 * |           | state.conv   | [b, k-1, e]  | last inputs of the convolution, f32                       |
 *
 *   [x, z] = in_proj(input)                 u = silu(conv(x)), or x without a convolution
 *   dtLow, B, C = dropout(x_proj(u))        each normalised in Falcon-Mamba
 *   y = out_proj(scan(u, dt_proj(dtLow), B, C) * silu(z))
 */
import type { HostRandom, Shape } from '../../core/index.ts';
import { DepthwiseConv, type Linear } from '../../nn/index.ts';
import {
  add,
  dropout,
  exp,
  neg,
  permute,
  recompute,
  rmsNorm,
  selectiveScan,
  softplus,
  split,
  type Tensor,
} from '../../tensor/index.ts';
import { constant, fill, uniform, type WeightRow } from '../checkpoint/table.ts';
import { linearOf } from '../weighted-layers.ts';
import type { CostSize, Mixer, MixerContext, MixerPlan, MixerResult, Weights } from './mixer.ts';

/** Range of the steps of a new model. */
export interface StepRange {
  readonly min: number;
  readonly max: number;
  readonly floor: number;
  /** Factor on the first values of dt_proj. */
  readonly scale: number;
}

export const STEP_RANGE: StepRange = { min: 1e-3, max: 0.1, floor: 1e-4, scale: 1 };

export interface MambaSpec {
  readonly hiddenSize: number;
  /** Inner channels. */
  readonly innerSize: number;
  readonly stateSize: number;
  readonly stepRank: number;
  /** Convolution before the recurrence; null for none. */
  readonly conv: { readonly kernel: number; readonly hasBias: boolean } | null;
  /** Whether in_proj and out_proj have biases. */
  readonly hasBias: boolean;
  /** Epsilon of the norms of B, C and the step's low-rank input; null for none. */
  readonly selectionEps: number | null;
  /** Probability with which what selects drops out in training. */
  readonly dropout: number;
  readonly steps: StepRange;
}

/** Bias whose softplus is a step drawn log-uniformly from the range. */
const stepBias =
  ({ min, max, floor }: StepRange) =>
  (random: HostRandom, size: number) =>
    fill(size, () => {
      const [low, high] = [Math.log(min), Math.log(max)];
      const step = Math.max(floor, Math.exp(low + random.uniform() * (high - low)));
      return step + Math.log(-Math.expm1(-step));
    });

/** Uniform +-1/sqrt(inputs): PyTorch's own choice for linear layers and convolutions. */
const spread = (inputs: number, factor = 1) => uniform(factor / Math.sqrt(inputs));

function rowsOf(spec: MambaSpec, path: string, depth: number): WeightRow[] {
  const { hiddenSize: d, innerSize: e, stateSize: n, stepRank: r, conv } = spec;
  const row = (name: string, shape: Shape, initial: WeightRow['initial'], isMatrix = false): WeightRow => ({
    name: `${path}.${name}`,
    shape,
    isMatrix,
    initial,
  });
  const rows = [
    row('in_proj.weight', [2 * e, d], spread(d), true),
    ...(conv ? [row('conv1d.weight', [e, 1, conv.kernel], spread(conv.kernel))] : []),
    row('x_proj.weight', [r + 2 * n, e], spread(e), true),
    row('dt_proj.weight', [e, r], spread(r, spec.steps.scale), true),
    row('dt_proj.bias', [e], stepBias(spec.steps)),
    row('A_log', [e, n], (_, size) => fill(size, (i) => Math.log((i % n) + 1))),
    row('D', [e], constant(1)),
    // One addition to the residual stream per layer: its variance is kept by the factor.
    row('out_proj.weight', [d, e], spread(e, 1 / Math.sqrt(depth)), true),
  ];
  if (conv?.hasBias) rows.push(row('conv1d.bias', [e], spread(conv.kernel)));
  if (spec.hasBias) rows.push(row('in_proj.bias', [2 * e], constant(0)), row('out_proj.bias', [d], constant(0)));
  return rows;
}

function convOf(path: string, weights: Weights): DepthwiseConv {
  return new DepthwiseConv(path, weights.get(`${path}.weight`)!, weights.get(`${path}.bias`) ?? null);
}

class MambaMixer implements Mixer {
  private readonly inProj: Linear;
  private readonly conv: DepthwiseConv | null;
  private readonly xProj: Linear;
  private readonly dtProj: Linear;
  private readonly outProj: Linear;
  private readonly aLog: Tensor;
  private readonly skip: Tensor;
  private frozenA: Tensor | null = null;
  private generationOfA = -1; // of the A_log that it was computed from

  constructor(
    private readonly spec: MambaSpec,
    private readonly path: string,
    weights: Weights,
  ) {
    this.inProj = linearOf(weights, `${path}.in_proj`);
    this.conv = spec.conv && convOf(`${path}.conv1d`, weights);
    this.xProj = linearOf(weights, `${path}.x_proj`);
    this.dtProj = linearOf(weights, `${path}.dt_proj`);
    this.outProj = linearOf(weights, `${path}.out_proj`);
    this.aLog = weights.get(`${path}.A_log`)!;
    this.skip = weights.get(`${path}.D`)!;
  }

  get layers() {
    const { inProj, conv, xProj, dtProj, outProj } = this;
    return [inProj, ...(conv ? [conv] : []), xProj, dtProj, outProj];
  }

  get own() {
    return [[`${this.path}.A_log`, this.aLog] as const, [`${this.path}.D`, this.skip] as const];
  }

  /** -exp(A_log)^T [n, e]: once where A_log is frozen, else each time, so that it learns. */
  private get A(): Tensor {
    const { aLog } = this;
    const compute = () => aLog.device.scope(() => permute(neg(exp(aLog)), [1, 0]));
    const { generation } = aLog.storage;
    if (aLog.requiresGrad || this.generationOfA !== generation) this.dispose();
    if (aLog.requiresGrad) return compute();
    this.generationOfA = generation;
    this.frozenA ??= aLog.device.keep(compute());
    return this.frozenA;
  }

  /** Low-rank input of the step [b, l, r], B and C [b, l, n], chosen by u [b, l, e]. */
  private select(u: Tensor, { random }: MixerContext['mode']): Tensor[] {
    const { stepRank: r, stateSize: n, selectionEps: eps, dropout: p } = this.spec;
    // Step and selection stay in the type of the recurrence: a step rounded to a half type forgets at the wrong rate.
    const projected = this.xProj.forward(u, { dtype: this.aLog.dtype }); // [b, l, r + 2n]
    const parts = split(p > 0 && random ? dropout(projected, p, random) : projected, [r, n, n]);
    return eps === null ? parts : parts.map((t) => rmsNorm(t, null, { eps }).y);
  }

  forward(input: Tensor, { layer, sequence, state, mode }: MixerContext): MixerResult {
    const { innerSize: e } = this.spec;
    const { flags, ragged } = sequence;
    const { wantState, observe, random } = mode;
    const [x, z] = split(this.inProj.forward(input), [e, e]);
    const conv = this.conv?.forward(x, { state: state?.conv, flags, wantState, ragged, activation: true });
    const u = conv ? conv.y : x; // [b, l, e]
    const [dtLow, B, C] = this.select(u, mode);
    const drawn = random ? { random, stream: random.stream } : undefined;
    const dt = this.dtProj.forward(dtLow, { useBias: false }); // [b, l, e]; the bias is added inside softplus
    const inputs = { u, dt, A: this.A, B, C, D: this.skip, z, dtBias: this.dtProj.bias };
    observe?.({ layer, dt: softplus(add(dt, inputs.dtBias!)), A: inputs.A });
    const scan = selectiveScan(inputs, { state: state?.scan, flags, wantState, ragged });
    const y = this.outProj.forward(scan.y); // [b, l, d]
    if (mode.recomputes) {
      const convolve = (from: Tensor, before: Tensor | undefined, marks: Tensor | null) =>
        this.conv!.forward(from, { state: before, flags: marks, activation: true }).y;
      if (conv) recompute(u, [x, state?.conv, flags], convolve);
      recompute(dt, [dtLow], (low) => this.dtProj.forward(low, { useBias: false }), drawn);
    }
    return { y, state: wantState ? { ...(conv && { conv: conv.state! }), scan: scan.state! } : null };
  }

  dispose(): void {
    this.frozenA?.dispose();
    this.frozenA = null;
  }
}

/** Operations of the convolution and the scan. */
function flopsOf({ innerSize: e, stateSize: n, conv }: MambaSpec, { tokens, batch }: CostSize): number {
  const convolution = conv ? 2 * conv.kernel + 4 : 0; // products and sums; SiLU and its product
  const scan = 7 * n + 8; // a state: decay, input and output; a position: step, skip and gate
  return batch * tokens * e * (convolution + scan);
}

/** A Mamba mixer that is still to be built. */
export function mambaMixer(spec: MambaSpec): MixerPlan {
  const { hiddenSize: d, innerSize: e, stateSize: n, stepRank: r, conv } = spec;
  return {
    rows: (path, depth) => rowsOf(spec, path, depth),
    build: (path, weights) => new MambaMixer(spec, path, weights),
    state: { ...(conv && { conv: { shape: [conv.kernel - 1, e] } }), scan: { shape: [n, e] } },
    readsPositions: false,
    takesRagged: true,
    linears: [
      [d, 2 * e],
      [e, r + 2 * n],
      [r, e],
      [e, d],
    ],
    flops: (size) => flopsOf(spec, size),
  };
}
