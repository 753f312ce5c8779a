/**
 * The temporal Mamba block: Mamba's mixer without the causal convolution, and without the SiLU that follows it there, so
 * that x goes from in_proj straight to x_proj and to the scan; while training, dropout falls on the selective parameters,
 * (step, B, C) together, before the step's second projection. With `convolution` it is Mamba's own mixer.
 *
 *   y = out_proj(scan(x, dt_proj(s), B, C) * silu(z)),  [x, z] = in_proj(input),  [s, B, C] = dropout(x_proj(x))
 *
 * Letters as in `models/mamba.ts`. Source: Cai et al. 2024, arXiv 2405.16440, and what its published code runs.
 */
import {
  causalConv,
  dropout,
  exp,
  linear,
  neg,
  permute,
  reshape,
  selectiveScan,
  split,
  type Tensor,
} from '../../tensor/index.ts';
import type { Initializer, Pass } from './model.ts';

export interface MixerConfig {
  /** Hidden size; inner channels are `expand` times it. */
  readonly width: number;
  readonly expand: number;
  readonly stateSize: number;
  readonly dropout: number;
  readonly convolution: boolean;
}

/** Taps of the convolution, where there is one. */
const TAPS = 4;
/** Steps that a new block begins with lie between these. */
const STEP_RANGE = [1e-3, 0.1] as const;

export const stepRank = ({ width }: Pick<MixerConfig, 'width'>): number => Math.ceil(width / 16);

/** Parameters of a new mixer among `layers` layers, as in the published code. */
export function initMixer(init: Initializer, path: string, config: MixerConfig, layers: number): void {
  const { width: d, stateSize: n } = config;
  const [e, r] = [d * config.expand, stepRank(config)];
  init.linear(`${path}.in_proj`, 2 * e, d, { bias: false });
  if (config.convolution) {
    init.uniform(`${path}.conv1d.weight`, [e, 1, TAPS], 1 / Math.sqrt(TAPS));
    init.uniform(`${path}.conv1d.bias`, [e], 1 / Math.sqrt(TAPS));
  }
  init.linear(`${path}.x_proj`, r + 2 * n, e, { bias: false });
  init.uniform(`${path}.dt_proj.weight`, [e, r], r ** -0.5);
  const [low, high] = STEP_RANGE.map(Math.log);
  const quantiles = Array.from({ length: e }, (_, i) => (i + 0.5) / e);
  // The inverse of softplus at steps spread evenly over the logarithm.
  const bias = quantiles
    .map((q) => Math.exp(low + q * (high - low)))
    .map((step) => step + Math.log(-Math.expm1(-step)));
  init.values(`${path}.dt_proj.bias`, [e], bias);
  init.values(
    `${path}.A_log`,
    [e, n],
    Array.from({ length: e * n }, (_, i) => Math.log((i % n) + 1)),
  );
  init.constant(`${path}.D`, [e], 1);
  init.uniform(`${path}.out_proj.weight`, [d, e], 1 / Math.sqrt(e * layers));
}

/** x [b, l, d] -> [b, l, d] */
export function mixer(
  x: Tensor,
  path: string,
  parameters: ReadonlyMap<string, Tensor>,
  config: MixerConfig,
  { random }: Pass,
): Tensor {
  const get = (name: string) => parameters.get(`${path}.${name}`)!;
  const [e, r, n] = [config.width * config.expand, stepRank(config), config.stateSize];
  const [input, z] = split(linear(x, get('in_proj.weight')), [e, e]); // [b, l, e]
  const convolved = () =>
    causalConv(input, reshape(get('conv1d.weight'), [e, TAPS]), { bias: get('conv1d.bias'), activation: true }).y;
  const u = config.convolution ? convolved() : input;
  const projected = linear(u, get('x_proj.weight')); // [b, l, r + 2n]
  const kept = random ? dropout(projected, config.dropout, random) : projected;
  const [low, B, C] = split(kept, [r, n, n]);
  const dt = linear(low, get('dt_proj.weight')); // [b, l, e]; its bias is added inside of softplus
  const A = permute(neg(exp(get('A_log'))), [1, 0]); // [n, e]
  const { y } = selectiveScan({ u, dt, A, B, C, D: get('D'), z, dtBias: get('dt_proj.bias') });
  return linear(y, get('out_proj.weight'));
}
