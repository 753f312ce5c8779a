/**
 * Attention (Vaswani et al. 2017) over all earlier positions of a document, with rotary positions (Su et al. 2021), or over
 * all positions in both directions.
 *
 * | here          | shape        |                                                                  |
 * |---------------|--------------|------------------------------------------------------------------|
 * | b, l, p       |              | batch, positions, positions remembered from before               |
 * | d             |              | hidden size                                                      |
 * | q, k, v       | [b, l, d]    | head after head; q and k are turned by their positions (RoPE)    |
 * | state.keys    | [b, p, d]    | turned keys of all positions so far                              |
 * | state.values  | [b, p, d]    | their values                                                     |
 *
 *   y = out(softmax(q k^T / sqrt(d / heads)) v)
 */
import { KraitError } from '../../core/index.ts';
import type { Linear } from '../../nn/index.ts';
import {
  attention,
  contiguous,
  matmul,
  narrow,
  permute,
  reshape,
  rotary,
  scale,
  softmax,
  split,
  type Tensor,
  transpose,
} from '../../tensor/index.ts';
import { type LinearInit, linearRows } from '../checkpoint/table.ts';
import { linearOf } from '../weighted-layers.ts';
import { append } from './append.ts';
import type { CostSize, Mixer, MixerContext, MixerPlan, MixerResult, Weights } from './mixer.ts';

export interface AttentionSpec {
  readonly hiddenSize: number;
  readonly heads: number;
  /** Module of queries, keys and values in one, and of the output. */
  readonly names: { readonly qkv: string; readonly out: string };
  /** Rows of the module of queries, keys and values: head by head, or first all queries, then keys, then values. */
  readonly order: 'by-head' | 'by-part';
  /** True if a position sees only earlier positions; otherwise all of its row, without state, documents or padding. */
  readonly isCausal: boolean;
  /** The first `size` elements of each head are turned, pair i by base^(-2i/size) radians a position; null for none. */
  readonly rotary: { readonly size: number; readonly base: number } | null;
  readonly initial: { readonly qkv: LinearInit; readonly out: LinearInit };
}

class AttentionMixer implements Mixer {
  readonly own = [];
  readonly layers: readonly [qkv: Linear, out: Linear];

  constructor(
    private readonly spec: AttentionSpec,
    path: string,
    weights: Weights,
  ) {
    const { qkv, out } = spec.names;
    this.layers = [linearOf(weights, `${path}.${qkv}`), linearOf(weights, `${path}.${out}`)];
  }

  forward(x: Tensor, context: MixerContext): MixerResult {
    if (!this.spec.isCausal && context.sequence.flags) {
      throw new KraitError(
        'attention in both directions takes no flags; give rows of one length and one document each',
      );
    }
    return this.spec.isCausal ? this.attend(x, context) : { y: this.attendBothWays(x), state: null };
  }

  /** Queries, keys and values [b, l, d], of weights that lie head by head. */
  private project(x: Tensor): Tensor[] {
    const { hiddenSize: d, heads, order } = this.spec;
    const [b, l] = x.shape;
    const all = this.layers[0].forward(x); // [b, l, 3d]
    if (order === 'by-part') return split(all, [d, d, d]);
    const perHead = reshape(all, [b * l, heads, 3, d / heads]);
    return split(reshape(permute(perHead, [0, 2, 1, 3]), [b, l, 3 * d]), [d, d, d]);
  }

  /** Every position looks at those before it in its document. */
  private attend(x: Tensor, { sequence, state, mode }: MixerContext): MixerResult {
    const { heads, rotary: turning } = this.spec;
    const { positions, documents: queryDocuments, seenDocuments: keyDocuments } = sequence;
    const [q, k, v] = this.project(x);
    const turn = (t: Tensor) =>
      turning ? rotary(t, positions!, { heads, rotated: turning.size, base: turning.base }) : t;
    const keys = append(state?.keys ?? null, turn(k)); // [b, p + l, d]
    const values = append(state?.values ?? null, v);
    const y = this.layers[1].forward(attention(turn(q), keys, values, { heads, queryDocuments, keyDocuments }));
    return { y, state: mode.wantState ? { keys, values: contiguous(values) } : null };
  }

  /** Every position looks at all positions of its row, from all scores in memory. */
  private attendBothWays(x: Tensor): Tensor {
    const { hiddenSize: d, heads } = this.spec;
    const [qkv, out] = this.layers;
    const [b, l] = x.shape;
    const size = d / heads;
    const parts = permute(reshape(qkv.forward(x), [b, l, 3, heads, size]), [2, 0, 3, 1, 4]); // [3, b, heads, l, size]
    const [q, k, v] = [0, 1, 2].map((i) => reshape(narrow(parts, 0, i, 1), [b * heads, l, size]));
    const weights = softmax(scale(matmul(q, transpose(k)), size ** -0.5)); // [b heads, l, l]
    const mixed = permute(reshape(matmul(weights, v), [b, heads, l, size]), [0, 2, 1, 3]);
    return out.forward(reshape(mixed, [b, l, d]));
  }
}

/** Positions that each of `tokens` positions sees, itself among them, after `past` that came before: the sum. */
const seenPositions = ({ tokens, past }: CostSize): number => tokens * past + (tokens * (tokens + 1)) / 2;

function flopsOf({ hiddenSize: d, heads, isCausal, rotary: turning }: AttentionSpec, size: CostSize): number {
  const { tokens, batch } = size;
  const turned = turning ? (turning.size * heads) / d : 0;
  const rotation = batch * tokens * 2 * 3 * d * turned; // of query and key; an element: two products and their sum
  // A pair of positions and a head: a score and a share of the value for each element; scale, e^x and its sum.
  const pairs = isCausal ? seenPositions(size) : tokens * tokens;
  return rotation + batch * pairs * (4 * d + 3 * heads);
}

/**
 * An attention mixer that is still to be built.
 * @throws KraitError for both directions with rows head by head, or with rotation: no model has these
 */
export function attentionMixer(spec: AttentionSpec): MixerPlan {
  const { hiddenSize: d, names, initial, isCausal } = spec;
  if (!isCausal && (spec.order === 'by-head' || spec.rotary)) {
    throw new KraitError('attention in both directions takes rows by part, without rotation');
  }
  return {
    rows: (path) => [
      ...linearRows(`${path}.${names.qkv}`, [3 * d, d], initial.qkv),
      ...linearRows(`${path}.${names.out}`, [d, d], initial.out),
    ],
    build: (path, weights) => new AttentionMixer(spec, path, weights),
    state: isCausal
      ? {
          keys: { shape: [d], grows: true, isActivation: true },
          values: { shape: [d], grows: true, isActivation: true },
        }
      : {},
    readsPositions: isCausal,
    takesRagged: false,
    linears: [
      [d, 3 * d],
      [d, d],
    ],
    flops: (size) => flopsOf(spec, size),
  };
}
