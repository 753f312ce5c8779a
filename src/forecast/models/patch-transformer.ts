/**
 * A Transformer over the patches of one variable at a time, in the manner of PatchTST (Nie et al. 2023, "A Time Series is
 * Worth 64 Words"): overlapping patches, learned positions, an encoder that sees both ways, a head that all variables
 * share. Its norms are LayerNorm before each part, where the authors have BatchNorm after it.
 *
 *   patches [b k, c, p] -> embed + position [b k, c, d] -> (attention, MLP) x layers -> norm -> head [b, k, horizon]
 */
import { LayerNorm, Linear } from '../../nn/index.ts';
import {
  add,
  concat,
  type Device,
  dropout,
  expand,
  gelu,
  matmul,
  narrow,
  permute,
  reshape,
  scale,
  softmax,
  type Tensor,
  transpose,
} from '../../tensor/index.ts';
import {
  disposeAll,
  type ForecastModel,
  type ForecastSize,
  type ForwardSettings,
  ParameterMaker,
} from './forecast-model.ts';

export interface PatchTransformerConfig extends ForecastSize {
  readonly layers: number;
  readonly d: number;
  readonly heads: number;
  /** Width of the MLP. */
  readonly hidden: number;
  readonly patch: number;
  readonly stride: number;
  readonly dropout: number;
}

export const PATCH_TRANSFORMER_DEFAULTS = {
  layers: 3,
  d: 16,
  heads: 4,
  hidden: 128,
  patch: 16,
  stride: 8,
  dropout: 0.3,
} as const;

interface Layer {
  readonly norms: readonly LayerNorm[];
  readonly qkv: Linear;
  readonly out: Linear;
  readonly up: Linear;
  readonly down: Linear;
}

export class PatchTransformer implements ForecastModel {
  readonly isNormalised = true;
  readonly isOrdered = false;
  readonly parameters: ReadonlyMap<string, Tensor>;
  private readonly maker: ParameterMaker;
  private readonly embed: Linear;
  private readonly position: Tensor;
  private readonly layers: readonly Layer[];
  private readonly norm: LayerNorm;
  private readonly head: Linear;
  private readonly patches: number;

  constructor(
    readonly device: Device,
    private readonly config: PatchTransformerConfig,
    seed: number,
  ) {
    const { d, patch, stride, lookback, horizon } = config;
    // The last value is repeated for one stride, so that a last patch ends there.
    this.patches = Math.floor((lookback - patch) / stride) + 2;
    this.maker = new ParameterMaker(device, seed);
    this.embed = this.linear('embed', d, patch);
    this.position = this.maker.uniform('position', [this.patches, d], 0.02);
    this.layers = Array.from({ length: config.layers }, (_, i) => this.layer(`layers.${i}`));
    this.norm = this.normOf('norm_f');
    this.head = this.linear('head', horizon, this.patches * d);
    this.parameters = this.maker.parameters;
  }

  private linear(name: string, n: number, k: number): Linear {
    const { weight, bias } = this.maker.linearWithBias(name, n, k);
    return new Linear(name, weight, bias);
  }

  private normOf(name: string): LayerNorm {
    const { weight, bias } = this.maker.norm(name, this.config.d);
    return new LayerNorm(name, weight, bias, 1e-5);
  }

  private layer(path: string): Layer {
    const { d, hidden } = this.config;
    return {
      norms: [this.normOf(`${path}.norm_1`), this.normOf(`${path}.norm_2`)],
      qkv: this.linear(`${path}.qkv`, 3 * d, d),
      out: this.linear(`${path}.out`, d, d),
      up: this.linear(`${path}.up`, hidden, d),
      down: this.linear(`${path}.down`, d, hidden),
    };
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

  private attend(h: Tensor, { qkv, out }: Layer): Tensor {
    const { d, heads } = this.config;
    const [n, c] = h.shape;
    const size = d / heads;
    const parts = permute(reshape(qkv.forward(h), [n, c, 3, heads, size]), [2, 0, 3, 1, 4]); // [3, n, heads, c, size]
    const [q, k, v] = [0, 1, 2].map((i) => reshape(narrow(parts, 0, i, 1), [n * heads, c, size]));
    const weights = softmax(scale(matmul(q, transpose(k)), size ** -0.5)); // [n heads, c, c]
    const mixed = permute(reshape(matmul(weights, v), [n, heads, c, size]), [0, 2, 1, 3]);
    return out.forward(reshape(mixed, [n, c, d]));
  }

  forward(x: Tensor, { random }: ForwardSettings = {}): Tensor {
    const { d, horizon } = this.config;
    const [b, k] = x.shape;
    const c = this.patches;
    const p = random ? this.config.dropout : 0;
    const drop = (t: Tensor) => (p > 0 ? dropout(t, p, random!) : t);
    let h = drop(add(this.embed.forward(this.cut(x)), reshape(this.position, [1, c, d])));
    for (const layer of this.layers) {
      h = add(h, drop(this.attend(layer.norms[0].forward(h).y, layer)));
      const inner = drop(gelu(layer.up.forward(layer.norms[1].forward(h).y)));
      h = add(h, drop(layer.down.forward(inner)));
    }
    const rows = reshape(this.norm.forward(h).y, [b * k, c * d]);
    return reshape(this.head.forward(rows), [b, k, horizon]);
  }

  dispose(): void {
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
