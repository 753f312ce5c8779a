/**
 * The temporal Mamba block (TMB) of MambaTS (Cai et al. 2024): a Mamba-1 mixer without the convolution and without the
 * SiLU that stands in its place, with dropout on what selects: the step's low-rank input, B and C. With `convolution` it is
 * the plain Mamba block, its dropout in the same place.
 *
 *   [x, z] = in_proj(h)                                   [b, l, 2e]
 *   u = x, or silu(conv(x)) with `convolution`            [b, l, e]
 *   dtLow, B, C = dropout(x_proj(u))                      [b, l, r + 2n]
 *   y = out_proj(scan(u, dt_proj(dtLow), B, C) * silu(z)) [b, l, d]
 */
import { DepthwiseConv, LayerNorm, Linear } from '../../nn/index.ts';
import { dropout, exp, neg, permute, selectiveScan, split, type Tensor } from '../../tensor/index.ts';
import type { ForwardSettings, ParameterMaker } from './forecast-model.ts';

export interface BlockShape {
  /** Width of the stream. */
  readonly d: number;
  /** Inner channels over d. */
  readonly expand: number;
  readonly stateSize: number;
  readonly convolution: boolean;
  /** Taps, where there is a convolution. */
  readonly taps: number;
  /** Of the selective parameters. */
  readonly dropout: number;
  /** Blocks of the model: the output projection starts smaller by its root. */
  readonly layers: number;
}

/** Range that the steps start in, after softplus, and their floor: Mamba's own. */
const [DT_MIN, DT_MAX, DT_FLOOR] = [1e-3, 0.1, 1e-4];

export class TemporalMambaBlock {
  private readonly norm: LayerNorm;
  private readonly inProj: Linear;
  private readonly conv: DepthwiseConv | null;
  private readonly xProj: Linear;
  private readonly dtProj: Linear;
  private readonly outProj: Linear;
  private readonly aLog: Tensor;
  private readonly skip: Tensor;
  private readonly sizes: { e: number; r: number; n: number };

  constructor(
    path: string,
    maker: ParameterMaker,
    private readonly shape: BlockShape,
  ) {
    const { d, expand, stateSize: n, convolution, taps, layers } = shape;
    const [e, r] = [Math.trunc(expand * d), Math.ceil(d / 16)];
    this.sizes = { e, r, n };
    const norm = maker.norm(`${path}.norm`, d);
    this.norm = new LayerNorm(`${path}.norm`, norm.weight, norm.bias, 1e-5);
    const at = (name: string) => `${path}.mixer.${name}`;
    this.inProj = new Linear(at('in_proj'), maker.linear(at('in_proj'), 2 * e, d));
    this.conv = convolution ? convOf(at('conv1d'), maker, e, taps) : null;
    this.xProj = new Linear(at('x_proj'), maker.linear(at('x_proj'), r + 2 * n, e));
    const weight = maker.uniform(`${at('dt_proj')}.weight`, [e, r], r ** -0.5);
    const bias = maker.of(`${at('dt_proj')}.bias`, [e], () => inverseSoftplus(startStep(maker.draw())));
    this.dtProj = new Linear(at('dt_proj'), weight, bias);
    this.aLog = maker.of(at('A_log'), [e, n], (i) => Math.log(1 + (i % n)));
    this.skip = maker.of(at('D'), [e], () => 1);
    this.outProj = new Linear(at('out_proj'), maker.linear(at('out_proj'), d, e, 1 / Math.sqrt(layers)));
  }

  /** [stream, pending] after the block; `pending` is what the next norm has to add to the stream. */
  run(stream: Tensor, pending: Tensor | null, { random }: ForwardSettings): [Tensor, Tensor] {
    const { e, r, n } = this.sizes;
    const normed = this.norm.forward(pending ?? stream, { residual: pending && stream });
    const [x, z] = split(this.inProj.forward(normed.y), [e, e]);
    const u = this.conv ? this.conv.forward(x, { activation: true }).y : x; // [b, l, e]
    const projected = this.xProj.forward(u); // [b, l, r + 2n]
    const p = random ? this.shape.dropout : 0;
    const [dtLow, B, C] = split(p > 0 ? dropout(projected, p, random!) : projected, [r, n, n]);
    const dt = this.dtProj.forward(dtLow, { useBias: false });
    const A = permute(neg(exp(this.aLog)), [1, 0]); // [n, e]
    const scan = selectiveScan({ u, dt, A, B, C, D: this.skip, z, dtBias: this.dtProj.bias });
    return [normed.sum, this.outProj.forward(scan.y)];
  }
}

function convOf(name: string, maker: ParameterMaker, e: number, taps: number): DepthwiseConv {
  const bound = 1 / Math.sqrt(taps);
  const weight = maker.uniform(`${name}.weight`, [e, 1, taps], bound);
  return new DepthwiseConv(name, weight, maker.uniform(`${name}.bias`, [e], bound));
}

/** Even on a logarithmic scale. */
const startStep = (u: number): number =>
  Math.max(DT_FLOOR, Math.exp(Math.log(DT_MIN) + u * (Math.log(DT_MAX) - Math.log(DT_MIN))));

const inverseSoftplus = (y: number): number => y + Math.log(-Math.expm1(-y));
