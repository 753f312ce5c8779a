/**
 * MambaTS (Cai et al. 2024, arXiv 2405.16440): the patches of all variables as one sequence through a stack of temporal
 * Mamba blocks; and plain Mamba for each variable, which is the same with `scan: 'separate'` and the convolution.
 *
 * | part | switch                | off                                                     |
 * |------|-----------------------|---------------------------------------------------------|
 * | VST  | `scan`                | `separate`: each variable is a sequence of its own      |
 * | TMB  | `convolution`, `dropout` | Mamba's mixer; 0                                     |
 * | VPT  | `permute`             | variables stand in the order of the file while training |
 * | VAST | `order`               | `file`: variables are read in the order of the file     |
 *
 * VPT and VAST are not in here: an order of variables is an order of the rows of a window (`training/task.ts`).
 *
 *   tokens = patches W_e;  stream += mixer(layerNorm(stream)) for each layer;  y = layerNorm(stream) W_h + b_h
 */
import { ConfigError } from '../../core/index.ts';
import { layerNorm, linear, narrow, permute, reshape, type Tensor } from '../../tensor/index.ts';
import type { OrderName } from '../order/index.ts';
import { instanceNorm } from './instance-norm.ts';
import { disposeAll, type ForecastModel, type Initializer, type Pass } from './model.ts';
import { initMixer, type MixerConfig, mixer } from './temporal-mamba.ts';

/** All patches of a variable, then the next one's; all variables of a patch, then the next patch; each variable alone. */
export const SCANS = ['variable-major', 'time-major', 'separate'] as const;
export type ScanName = (typeof SCANS)[number];

export interface MambaTsConfig extends MixerConfig {
  readonly kind: 'mambats' | 'mamba';
  readonly lookback: number;
  readonly horizon: number;
  /** Values of a patch; patches do not overlap, and those that fill none at the window's beginning are not read. */
  readonly patch: number;
  readonly layers: number;
  readonly scan: ScanName;
  readonly permute: boolean;
  readonly order: OrderName;
}

const EPS = 1e-5;

const patchCount = ({ lookback, patch }: MambaTsConfig): number => Math.floor(lookback / patch);

/** @throws ConfigError for a patch that is longer than the window */
export function initMambaTs(init: Initializer, config: MambaTsConfig): void {
  const { width: d, patch, layers, horizon, lookback } = config;
  if (patchCount(config) < 1) throw new ConfigError(`patch: expected at most the look-back, ${lookback}, got ${patch}`);
  init.linear('embed', d, patch, { bias: false });
  for (let i = 0; i < layers; i++) {
    init.norm(`layers.${i}.norm`, d);
    initMixer(init, `layers.${i}.mixer`, config, layers);
  }
  init.norm('norm', d);
  init.linear('head', horizon, patchCount(config) * d, { bias: false });
  init.constant('head.bias', [horizon], 0);
}

export class MambaTs implements ForecastModel {
  readonly kind: string;
  readonly readsAcross: boolean;
  readonly lookback: number;
  readonly horizon: number;

  constructor(
    private readonly config: MambaTsConfig,
    readonly parameters: ReadonlyMap<string, Tensor>,
  ) {
    this.kind = config.kind;
    this.lookback = config.lookback;
    this.horizon = config.horizon;
    this.readsAcross = config.scan !== 'separate';
  }

  forward(past: Tensor, pass: Pass): Tensor {
    const { config, parameters } = this;
    const { patch, width: d, scan } = config;
    const get = (name: string) => parameters.get(name)!;
    const [b, k] = past.shape;
    const l = patchCount(config);
    const { y: normed, restore } = instanceNorm(past);
    const whole = narrow(normed, -1, config.lookback - l * patch, l * patch);
    const embedded = linear(reshape(whole, [b * k * l, patch]), get('embed.weight')); // [b*k*l, d]
    const encoded = this.encode(this.sequence(embedded, b, k, l), pass);
    const back = scan === 'time-major' ? permute(reshape(encoded, [b, l, k, d]), [0, 2, 1, 3]) : encoded;
    const rows = reshape(back, [b, k, l * d]);
    return restore(linear(rows, get('head.weight'), get('head.bias')));
  }

  /** Tokens of variables [b*k*l, d] as sequences [sequences, tokens, d]. */
  private sequence(tokens: Tensor, b: number, k: number, l: number): Tensor {
    const { scan, width: d } = this.config;
    if (scan === 'separate') return reshape(tokens, [b * k, l, d]);
    if (scan === 'variable-major') return reshape(tokens, [b, k * l, d]);
    return reshape(permute(reshape(tokens, [b, k, l, d]), [0, 2, 1, 3]), [b, l * k, d]);
  }

  private encode(tokens: Tensor, pass: Pass): Tensor {
    const { config, parameters } = this;
    let stream = tokens;
    let pending: Tensor | null = null; // what the layer before has to add to the stream; the norm adds it in passing
    const norm = (name: string) =>
      layerNorm(pending ?? stream, parameters.get(`${name}.weight`)!, parameters.get(`${name}.bias`)!, {
        eps: EPS,
        residual: pending && stream,
      });
    for (let i = 0; i < config.layers; i++) {
      const { y, sum } = norm(`layers.${i}.norm`);
      pending = mixer(y, `layers.${i}.mixer`, parameters, config, pass);
      stream = sum;
    }
    return norm('norm').y;
  }

  dispose(): void {
    disposeAll(this.parameters);
  }
}
