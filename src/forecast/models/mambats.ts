/**
 * MambaTS (Cai et al. 2024, "MambaTS: Improved Selective State Space Models for Long-term Time Series Forecasting"), each
 * part switchable: patches of all variables as one sequence (VST), temporal Mamba blocks, a linear head shared by the
 * variables. Random orders in training (VPT) and the learned one after (VAST) are the task's: here variables come in the
 * order that they are to be read in.
 *
 *   patches [b, k c, p] -> embed [b, k c, d] -> blocks -> norm -> [b, k, c d] -> head [b, k, horizon]
 *
 * c = floor(lookback / p) patches of p values; where p does not divide the look-back its oldest values are left out, so
 * that the newest never are. With `layout: variables-apart` each variable is a
 * sequence of its own: a plain Mamba per variable where the blocks have their convolution.
 */
import { LayerNorm, Linear } from '../../nn/index.ts';
import { type Device, narrow, permute, reshape, type Tensor } from '../../tensor/index.ts';
import type { Layout } from '../names.ts';
import {
  disposeAll,
  type ForecastModel,
  type ForecastSize,
  type ForwardSettings,
  ParameterMaker,
} from './forecast-model.ts';
import { TemporalMambaBlock } from './temporal-mamba-block.ts';

export interface MambaTSConfig extends ForecastSize {
  readonly layers: number;
  readonly d: number;
  readonly expand: number;
  readonly stateSize: number;
  /** Values of a patch, and the distance of patches. */
  readonly patch: number;
  readonly dropout: number;
  readonly layout: Layout;
  /** Whether blocks keep Mamba's convolution and SiLU; MambaTS leaves them out. */
  readonly convolution: boolean;
}

export const MAMBATS_DEFAULTS = {
  layers: 3,
  d: 16,
  expand: 2,
  stateSize: 16,
  patch: 48,
  dropout: 0.3,
  layout: 'variable-major',
  convolution: false,
} as const satisfies Omit<MambaTSConfig, keyof ForecastSize>;

const TAPS = 4;

export class MambaTS implements ForecastModel {
  readonly isNormalised = true;
  readonly isOrdered: boolean;
  readonly parameters: ReadonlyMap<string, Tensor>;
  private readonly embed: Linear;
  private readonly blocks: readonly TemporalMambaBlock[];
  private readonly norm: LayerNorm;
  private readonly head: Linear;
  private readonly patches: number;

  constructor(
    readonly device: Device,
    private readonly config: MambaTSConfig,
    seed: number,
  ) {
    const { layers, d, patch, lookback, horizon, layout } = config;
    this.isOrdered = layout !== 'variables-apart';
    this.patches = Math.floor(lookback / patch);
    const maker = new ParameterMaker(device, seed);
    this.embed = new Linear('embed', maker.linear('embed', d, patch));
    const shape = { ...config, taps: TAPS };
    this.blocks = Array.from({ length: layers }, (_, i) => new TemporalMambaBlock(`layers.${i}`, maker, shape));
    const norm = maker.norm('norm_f', d);
    this.norm = new LayerNorm('norm_f', norm.weight, norm.bias, 1e-5);
    const head = maker.linearWithBias('head', horizon, this.patches * d);
    this.head = new Linear('head', head.weight, head.bias);
    this.parameters = maker.parameters;
  }

  forward(x: Tensor, settings: ForwardSettings = {}): Tensor {
    const { d, patch, layout, lookback, horizon } = this.config;
    const c = this.patches;
    const [b, k] = x.shape;
    const whole = c * patch === lookback ? x : narrow(x, -1, lookback - c * patch, c * patch);
    const patches = reshape(whole, [b, k, c, patch]);
    const embedded = this.embed.forward(patches); // [b, k, c, d]
    const tokens = layout === 'time-major' ? permute(embedded, [0, 2, 1, 3]) : embedded;
    let stream = reshape(tokens, layout === 'variables-apart' ? [b * k, c, d] : [b, k * c, d]);
    let pending: Tensor | null = null;
    for (const block of this.blocks) [stream, pending] = block.run(stream, pending, settings);
    const { y } = this.norm.forward(pending ?? stream, { residual: pending && stream });
    const rows = layout === 'time-major' ? permute(reshape(y, [b, c, k, d]), [0, 2, 1, 3]) : y;
    return reshape(this.head.forward(reshape(rows, [b * k, c * d])), [b, k, horizon]);
  }

  dispose(): void {
    disposeAll(this.parameters);
  }
}
