/**
 * A Transformer over the patches of each variable, in the manner of PatchTST (Nie et al. 2023): patches that overlap by
 * half, learned positions, attention in both directions, one linear head over all tokens. It differs from the published
 * one in LayerNorm before each part instead of BatchNorm after it, and in no affine part of the instance norm.
 */
import { ConfigError } from '../../core/index.ts';
import {
  add,
  concat,
  dropout,
  gelu,
  layerNorm,
  linear,
  matmul,
  narrow,
  permute,
  reshape,
  softmax,
  split,
  type Tensor,
} from '../../tensor/index.ts';
import { instanceNorm } from './instance-norm.ts';
import { disposeAll, type ForecastModel, type Initializer, type Pass } from './model.ts';

export interface PatchTstConfig {
  readonly kind: 'patchtst';
  readonly lookback: number;
  readonly horizon: number;
  /** Values of a patch; even. */
  readonly patch: number;
  readonly layers: number;
  readonly width: number;
  readonly heads: number;
  /** Hidden size of the feed-forward part. */
  readonly inner: number;
  readonly dropout: number;
}

/** Patches that end at the window's end, and those half a patch earlier. */
function patchCounts({ lookback, patch }: PatchTstConfig): [number, number] {
  return [Math.floor(lookback / patch), Math.floor((lookback - patch / 2) / patch)];
}

const tokenCount = (config: PatchTstConfig): number => patchCounts(config).reduce((a, b) => a + b);

/** @throws ConfigError for sizes that do not fit each other */
export function initPatchTst(init: Initializer, config: PatchTstConfig): void {
  const { patch, width: d, heads, inner, layers, horizon, lookback } = config;
  if (patch % 2 !== 0 || patch > lookback) {
    throw new ConfigError(`patch: expected an even number up to the look-back, ${lookback}, got ${patch}`);
  }
  if (d % heads !== 0) throw new ConfigError(`heads: expected a divisor of the width, ${d}, got ${heads}`);
  init.linear('embed', d, patch);
  init.uniform('positions', [tokenCount(config), d], 0.02);
  for (let i = 0; i < layers; i++) {
    init.norm(`layers.${i}.norm1`, d);
    init.linear(`layers.${i}.qkv`, 3 * d, d);
    init.linear(`layers.${i}.out`, d, d);
    init.norm(`layers.${i}.norm2`, d);
    init.linear(`layers.${i}.up`, inner, d);
    init.linear(`layers.${i}.down`, d, inner);
  }
  init.norm('norm', d);
  init.linear('head', horizon, tokenCount(config) * d);
}

export class PatchTst implements ForecastModel {
  readonly kind = 'patchtst';
  readonly readsAcross = false;
  readonly lookback: number;
  readonly horizon: number;

  constructor(
    private readonly config: PatchTstConfig,
    readonly parameters: ReadonlyMap<string, Tensor>,
  ) {
    this.lookback = config.lookback;
    this.horizon = config.horizon;
  }

  private linear(x: Tensor, name: string): Tensor {
    return linear(x, this.parameters.get(`${name}.weight`)!, this.parameters.get(`${name}.bias`)!);
  }

  private norm(x: Tensor, name: string): Tensor {
    return layerNorm(x, this.parameters.get(`${name}.weight`)!, this.parameters.get(`${name}.bias`)!).y;
  }

  forward(past: Tensor, { random }: Pass): Tensor {
    const { config } = this;
    const drop = (x: Tensor) => (random ? dropout(x, config.dropout, random) : x);
    const [b, k] = past.shape;
    const { y: normed, restore } = instanceNorm(past);
    const patches = concat(this.patches(normed), 1); // [b*k, l, patch]
    let x = drop(add(this.linear(patches, 'embed'), this.parameters.get('positions')!)); // [b*k, l, d]
    for (let i = 0; i < config.layers; i++) {
      const at = `layers.${i}`;
      x = add(x, drop(this.attend(this.norm(x, `${at}.norm1`), at, drop)));
      x = add(x, drop(this.linear(drop(gelu(this.linear(this.norm(x, `${at}.norm2`), `${at}.up`))), `${at}.down`)));
    }
    const tokens = reshape(this.norm(x, 'norm'), [b, k, -1]);
    return restore(drop(this.linear(tokens, 'head')));
  }

  /** Both rows of patches, [b*k, count, patch] each. */
  private patches(x: Tensor): Tensor[] {
    const { lookback, patch } = this.config;
    const rows = x.rows;
    return patchCounts(this.config).map((count, i) => {
      const end = lookback - (i * patch) / 2;
      return reshape(narrow(x, -1, end - count * patch, count * patch), [rows, count, patch]);
    });
  }

  /** Attention of all tokens to all, x [r, l, d] -> [r, l, d]. */
  private attend(x: Tensor, at: string, drop: (x: Tensor) => Tensor): Tensor {
    const { heads, width: d } = this.config;
    const [r, l] = x.shape;
    const [q, k, v] = split(this.linear(x, `${at}.qkv`), [d, d, d]).map(
      (t) => permute(reshape(t, [r, l, heads, d / heads]), [0, 2, 1, 3]), // [r, heads, l, d/heads]
    );
    const weights = drop(softmax(matmul(q, k, { transB: true, alpha: 1 / Math.sqrt(d / heads) })));
    return this.linear(reshape(permute(matmul(weights, v), [0, 2, 1, 3]), [r, l, d]), `${at}.out`);
  }

  dispose(): void {
    disposeAll(this.parameters);
  }
}
