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
import { UsageError } from '../../core/index.ts';
import { Backbone, type BackbonePlan, backboneRows, mambaMixer, STEP_RANGE } from '../../models/index.ts';
import { Linear } from '../../nn/index.ts';
import { type Device, narrow, permute, reshape, type Tensor } from '../../tensor/index.ts';
import { LAYOUTS, type Layout } from '../names.ts';
import {
  disposeAll,
  type ForecastModel,
  type ForecastSize,
  type ForwardSettings,
  ParameterMaker,
} from './forecast-model.ts';
import { type ForecasterKind, type ForecastRecipe, PROTOCOL } from './kind.ts';

export interface MambaTSSettings {
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

type Config = MambaTSSettings & ForecastSize;

const KERNEL_SIZE = 4;

/** Temporal Mamba blocks: Mamba mixers with dropout on what selects, norms with biases. */
const backbonePlan = ({ layers, d, expand, stateSize, convolution, dropout }: Config): BackbonePlan => {
  const mixer = mambaMixer({
    hiddenSize: d,
    innerSize: Math.trunc(expand * d),
    stateSize,
    stepRank: Math.ceil(d / 16),
    conv: convolution ? { kernel: KERNEL_SIZE, hasBias: true } : null,
    hasBias: false,
    selectionEps: null,
    dropout,
    steps: STEP_RANGE,
  });
  return {
    hiddenSize: d,
    layers: 'layers',
    blocks: Array.from({ length: layers }, () => ({ branches: [{ norm: 'norm', module: 'mixer', mixer }] })),
    finalNorm: 'norm_f',
    norm: { kind: 'layer', eps: 1e-5 },
    streamInF32: true,
  };
};

export class MambaTS implements ForecastModel {
  readonly isNormalised = true;
  readonly isOrdered: boolean;
  readonly parameters: ReadonlyMap<string, Tensor>;
  readonly head: Linear;
  private readonly embed: Linear;
  private readonly backbone: Backbone;
  private readonly patches: number;

  constructor(
    readonly device: Device,
    private readonly config: Config,
    seed: number,
  ) {
    const { d, patch, lookback, horizon, layout } = config;
    this.isOrdered = layout !== 'variables-apart';
    this.patches = Math.floor(lookback / patch);
    const maker = new ParameterMaker(device, seed);
    this.embed = new Linear('embed', maker.linear('embed', d, patch));
    const plan = backbonePlan(config);
    maker.rows(backboneRows(plan));
    this.backbone = new Backbone(device, plan, maker.parameters, 'f32');
    const head = maker.linearWithBias('head', horizon, this.patches * d);
    this.head = new Linear('head', head.weight, head.bias);
    this.parameters = maker.parameters;
  }

  forward(x: Tensor, { random }: ForwardSettings = {}): Tensor {
    const { d, patch, layout, lookback, horizon } = this.config;
    const c = this.patches;
    const [b, k] = x.shape;
    const whole = c * patch === lookback ? x : narrow(x, -1, lookback - c * patch, c * patch);
    const patches = reshape(whole, [b, k, c, patch]);
    const embedded = this.embed.forward(patches); // [b, k, c, d]
    const tokens = layout === 'time-major' ? permute(embedded, [0, 2, 1, 3]) : embedded;
    const stream = reshape(tokens, layout === 'variables-apart' ? [b * k, c, d] : [b, k * c, d]);
    const { hidden } = this.backbone.forward(stream, { random });
    const rows = layout === 'time-major' ? permute(reshape(hidden, [b, c, k, d]), [0, 2, 1, 3]) : hidden;
    return reshape(this.head.forward(reshape(rows, [b * k, c * d])), [b, k, horizon]);
  }

  dispose(): void {
    this.backbone.dispose();
    disposeAll(this.parameters);
  }
}

/** [layers, d, dropout, batch, learning rate] of MambaTS's scripts, for horizons 96, 192, 336 and 720 (XiudingCai/MambaTS-pytorch). */
type Row = readonly [number, number, number, number, number];
const SCRIPTS: Record<string, readonly Row[]> = {
  etth2: [
    [5, 16, 0.3, 8, 1e-3],
    [3, 16, 0.3, 16, 1e-3],
    [2, 32, 0.3, 32, 5e-4],
    [1, 128, 0.3, 16, 5e-4],
  ],
  ettm2: [[3, 16, 0.3, 16, 1e-3]],
  weather: [
    [3, 32, 0.2, 8, 5e-4],
    [2, 32, 0.3, 16, 1e-3],
    [2, 32, 0.3, 8, 1e-3],
  ],
  electricity: [[4, 128, 0.2, 16, 5e-4]],
  traffic: [[4, 512, 0.2, 8, 5e-4]],
};
const HORIZONS = [96, 192, 336, 720];

function published(data: string, horizon: number): ForecastRecipe<MambaTSSettings> {
  // ETTh1 and ETTm1 have no script: those of their twins.
  const rows = SCRIPTS[data.replace(/1$/, '2')] ?? SCRIPTS['ettm2'];
  const place = HORIZONS.findIndex((h) => horizon <= h);
  const [layers, d, dropout, batchSize, learningRate] = rows[Math.min(rows.length - 1, place < 0 ? 3 : place)];
  const patch = data === 'traffic' ? 720 : 48;
  return { ...PROTOCOL, lookback: 720, batchSize, learningRate, settings: { layers, d, dropout, patch } };
}

/**
 * What was found to forecast better on ETTh2, chosen by its validation part (docs/forecasting.md): patches that the
 * embedding does not squeeze, one block, with its convolution, absolute errors, a decay that keeps matrices small.
 */
const WIDE = {
  ...PROTOCOL,
  lookback: 720,
  batchSize: 32,
  learningRate: 3e-4,
  weightDecay: 15,
  loss: 'mae',
  settings: { layers: 1, d: 64, dropout: 0.3, patch: 48, convolution: true },
} as const satisfies ForecastRecipe<MambaTSSettings>;

/**
 * The same beside the linear forecast of ridge regression: what that lacks takes smaller steps to learn, and the convolution
 * makes no difference.
 */
const TUNED = {
  ...WIDE,
  learningRate: 3e-5,
  settings: { ...WIDE.settings, convolution: false, shortcut: true },
} as const satisfies ForecastRecipe<MambaTSSettings>;

const DEFAULTS: MambaTSSettings = {
  layers: 3,
  d: 16,
  expand: 2,
  stateSize: 16,
  patch: 48,
  dropout: 0.3,
  layout: 'variable-major',
  convolution: false,
};

function check(name: string, { patch, lookback, layout }: Config): void {
  if (patch > lookback) {
    throw new UsageError(`${name}: a patch of ${patch} does not fit the look-back of ${lookback}; give a smaller one`);
  }
  if (!LAYOUTS.includes(layout)) {
    throw new UsageError(`${name}: layout: expected one of ${LAYOUTS.join(', ')}, got ${layout}`);
  }
}

const kind = <N extends string>(name: N, defaults: MambaTSSettings): ForecasterKind<N, MambaTSSettings> => ({
  name,
  defaults,
  check: (config) => check(name, config),
  create: (device, config, seed) => new MambaTS(device, config, seed),
  published,
  found: { wide: WIDE, tuned: TUNED },
});

export const MAMBATS = kind('mambats', DEFAULTS);
/** A plain Mamba for each variable. */
export const MAMBA = kind('mamba', { ...DEFAULTS, layout: 'variables-apart', convolution: true });
