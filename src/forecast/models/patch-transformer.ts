/**
 * A Transformer over the patches of one variable at a time, in the manner of PatchTST (Nie et al. 2023, "A Time Series is
 * Worth 64 Words"): overlapping patches, learned positions, an encoder that sees both ways, a head that all variables
 * share. Its norms are LayerNorm before each part, where the authors have BatchNorm after it.
 *
 *   patches [b k, c, p] -> embed + position [b k, c, d] -> (attention, MLP) x layers -> norm -> head [b, k, horizon]
 */
import { UsageError } from '../../core/index.ts';
import { attentionMixer, Backbone, type BackbonePlan, backboneRows, mlpMixer, uniform } from '../../models/index.ts';
import { Linear } from '../../nn/index.ts';
import { add, concat, type Device, dropout, expand, narrow, reshape, type Tensor } from '../../tensor/index.ts';
import {
  disposeAll,
  type ForecastModel,
  type ForecastSize,
  type ForwardSettings,
  ParameterMaker,
} from './forecast-model.ts';
import { type ForecasterKind, PROTOCOL } from './kind.ts';

export interface PatchTransformerSettings {
  readonly layers: number;
  readonly d: number;
  readonly heads: number;
  /** Width of the MLP. */
  readonly hidden: number;
  readonly patch: number;
  readonly stride: number;
  readonly dropout: number;
}

type Config = PatchTransformerSettings & ForecastSize;

function backbonePlan({ layers, d, heads, hidden, dropout: p }: Config): BackbonePlan {
  const linear = (inputs: number) => ({ weight: uniform(1 / Math.sqrt(inputs)), bias: uniform(1 / Math.sqrt(inputs)) });
  const attention = attentionMixer({
    hiddenSize: d,
    heads,
    names: { qkv: 'qkv', out: 'out' },
    order: 'by-part',
    isCausal: false,
    rotary: null,
    initial: { qkv: linear(d), out: linear(d) },
  });
  const mlp = mlpMixer({
    hiddenSize: d,
    innerSize: hidden,
    activation: 'gelu',
    names: { up: 'up', down: 'down' },
    initial: { up: linear(d), down: linear(hidden) },
    dropout: p,
  });
  const branches = [
    { norm: 'norm_1', module: '', mixer: attention, dropout: p },
    { norm: 'norm_2', module: '', mixer: mlp, dropout: p },
  ];
  return {
    hiddenSize: d,
    layers: 'layers',
    blocks: Array.from({ length: layers }, () => ({ branches })),
    finalNorm: 'norm_f',
    norm: { kind: 'layer', eps: 1e-5 },
    streamInF32: true,
  };
}

export class PatchTransformer implements ForecastModel {
  readonly isNormalised = true;
  readonly isOrdered = false;
  readonly parameters: ReadonlyMap<string, Tensor>;
  readonly head: Linear;
  private readonly embed: Linear;
  private readonly position: Tensor;
  private readonly backbone: Backbone;
  private readonly patches: number;

  constructor(
    readonly device: Device,
    private readonly config: Config,
    seed: number,
  ) {
    const { d, patch, stride, lookback, horizon } = config;
    // The last value is repeated for one stride, so that a last patch ends there.
    this.patches = Math.floor((lookback - patch) / stride) + 2;
    const maker = new ParameterMaker(device, seed);
    const linear = (name: string, n: number, k: number) => {
      const { weight, bias } = maker.linearWithBias(name, n, k);
      return new Linear(name, weight, bias);
    };
    this.embed = linear('embed', d, patch);
    this.position = maker.uniform('position', [this.patches, d], 0.02);
    const plan = backbonePlan(config);
    maker.rows(backboneRows(plan));
    this.backbone = new Backbone(device, plan, maker.parameters, 'f32');
    this.head = linear('head', horizon, this.patches * d);
    this.parameters = maker.parameters;
  }

  /** x [b, k, lookback] -> patches [b k, c, p]. */
  private cut(x: Tensor): Tensor {
    const { patch, stride, lookback } = this.config;
    const [b, k] = x.shape;
    const c = this.patches;
    // The newest value stands in the last patch; what does not fit is left out at the oldest end.
    const used = (c - 2) * stride + patch;
    const last = expand(narrow(x, 2, lookback - 1, 1), [b, k, stride]);
    const padded = reshape(concat([narrow(x, 2, lookback - used, used), last], 2), [b * k, used + stride]);
    const pieces = Array.from({ length: Math.ceil(patch / stride) }, (_, i) => {
      const width = Math.min(stride, patch - i * stride);
      const rows = reshape(narrow(padded, 1, i * stride, (c - 1) * stride + width), [b * k, (c - 1) * stride + width]);
      return stridedColumns(rows, c, stride, width);
    });
    return pieces.length === 1 ? pieces[0] : concat(pieces, 2);
  }

  forward(x: Tensor, { random }: ForwardSettings = {}): Tensor {
    const { d, horizon, dropout: p } = this.config;
    const [b, k] = x.shape;
    const c = this.patches;
    const placed = add(this.embed.forward(this.cut(x)), reshape(this.position, [1, c, d]));
    const stream = p > 0 && random ? dropout(placed, p, random) : placed;
    const { hidden } = this.backbone.forward(stream, { random });
    return reshape(this.head.forward(reshape(hidden, [b * k, c * d])), [b, k, horizon]);
  }

  dispose(): void {
    this.backbone.dispose();
    disposeAll(this.parameters);
  }
}

/** Columns i stride .. i stride + width of each row, for i < c: [n, c, width]. */
function stridedColumns(rows: Tensor, c: number, stride: number, width: number): Tensor {
  const [n] = rows.shape;
  if (width === stride) return reshape(rows, [n, c, stride]);
  const first = reshape(narrow(rows, 1, 0, (c - 1) * stride), [n, c - 1, stride]);
  const last = reshape(narrow(rows, 1, (c - 1) * stride, width), [n, 1, width]);
  return concat([narrow(first, 2, 0, width), last], 1);
}

export const PATCH_TRANSFORMER: ForecasterKind<'patch-transformer', PatchTransformerSettings> = {
  name: 'patch-transformer',
  defaults: { layers: 3, d: 16, heads: 4, hidden: 128, patch: 16, stride: 8, dropout: 0.3 },
  check({ patch, lookback, d, heads }) {
    if (patch > lookback) {
      const problem = `a patch of ${patch} does not fit the look-back of ${lookback}`;
      throw new UsageError(`patch-transformer: ${problem}; give a smaller one`);
    }
    if (d % heads !== 0) {
      throw new UsageError(`patch-transformer: a width of ${d} is not a multiple of ${heads} heads; give one that is`);
    }
  },
  create: (device, config, seed) => new PatchTransformer(device, config, seed),
  published: () => ({ ...PROTOCOL, lookback: 336, batchSize: 32, learningRate: 1e-3, settings: {} }),
};
