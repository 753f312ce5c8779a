/**
 * Classes of sequences of vectors: x [b, l, features] through a linear map into the residual stream, a backbone of any family,
 * and a linear map of one vector a sequence, its last position's or the mean of its positions.
 *
 *   logits = classifier(pool(backbone(read_in(x))))    [b, labels]
 *
 * config.json: `model_type: sequence_classifier`, `num_features`, `num_labels`, `pooling`, and the family's own configuration
 * under `backbone`, without what belongs to a vocabulary.
 */
import { z } from 'zod';
import { type DType, ShapeError } from '../../core/index.ts';
import { type FileSystem, joinPath, openCheckpoint, parseJsonObject, parseStrict } from '../../io/index.ts';
import type { Linear } from '../../nn/index.ts';
import {
  cast,
  crossEntropy,
  type Device,
  type HeadLossOptions,
  matmul,
  reshape,
  scale,
  scaleGradient,
  sum,
  type Tensor,
} from '../../tensor/index.ts';
import { Backbone, backboneRows, type ForwardOptions } from '../backbone.ts';
import { CONFIG_FILE, createFrom, type LoadOptions, loadFrom, type ModelOptions } from '../checkpoint/load.ts';
import { linearRows, uniform, type WeightRow } from '../checkpoint/table.ts';
import { familyOf, type ModelConfig, parseConfig, toConfigJson } from '../families/index.ts';
import { FLAG_PAD } from '../sequence.ts';
import { linearOf } from '../weighted-layers.ts';
import { BackboneModel, type Blueprint } from './backbone-model.ts';

export const POOLINGS = ['last', 'mean'] as const;
const MODEL_TYPE = 'sequence_classifier';

export interface ClassifierConfig {
  /** Sizes and layers of the backbone; its vocabulary is not used. */
  readonly backbone: ModelConfig;
  /** Values of a vector. */
  readonly features: number;
  /** Classes. */
  readonly labels: number;
  readonly pooling: (typeof POOLINGS)[number];
}

const count = z.int().min(1);
const SCHEMA = z.looseObject({
  model_type: z.literal(MODEL_TYPE),
  num_features: count,
  num_labels: count,
  pooling: z.enum(POOLINGS).default('last'),
  backbone: z.record(z.string(), z.unknown()),
});

/** Keys of a family's configuration that belong to a vocabulary. */
const OF_VOCABULARY = [
  'vocab_size',
  'tie_word_embeddings',
  'eos_token_id',
  'bos_token_id',
  'pad_token_id',
  'architectures',
];

/**
 * A classifier's configuration from the parsed `config.json`.
 * @param file what it was read from, for messages
 * @throws ConfigError naming the file, the key, the value and what would do
 */
export function parseClassifierConfig(json: Record<string, unknown>, file: string): ClassifierConfig {
  const c = parseStrict(SCHEMA, json, file);
  const stated = parseConfig({ ...c.backbone, vocab_size: 1 }, `${file}: backbone`);
  const backbone = familyOf(stated).resolve(stated) as ModelConfig;
  return { backbone, features: c.num_features, labels: c.num_labels, pooling: c.pooling };
}

export interface ClassifyOptions extends ForwardOptions {
  /** Positions of each sequence that count, from its first; all unless given. What follows them is padding. */
  lengths?: readonly number[];
  /** Given by `lengths`. */
  flags?: never;
  ragged?: never;
}

/** A classifier of sequences of vectors. It owns its weights. */
export class SequenceClassifier extends BackboneModel {
  readonly family = MODEL_TYPE;
  readonly taskType = 'SEQ_CLS';
  readonly headPath = 'classifier';
  readonly readIn: Linear;
  head: Linear;

  constructor(
    backbone: Backbone,
    readonly config: ClassifierConfig,
    readonly rows: readonly WeightRow[],
    weights: ReadonlyMap<string, Tensor>,
  ) {
    super(backbone);
    this.readIn = linearOf(weights, 'read_in');
    this.head = linearOf(weights, 'classifier');
  }

  protected get before(): Linear {
    return this.readIn;
  }

  untieHead(): Linear {
    return this.head;
  }

  /** Weights of the positions in the pooled vector [b, 1, l], and flags that mark padding, null where there is none. */
  private poolingOf(b: number, l: number, lengths: readonly number[]): { weights: Tensor; flags: Tensor | null } {
    const { device } = this;
    const isMean = this.config.pooling === 'mean';
    const weights = new Float32Array(b * l);
    const flags = new Int32Array(b * l);
    lengths.forEach((length, i) => {
      if (isMean) weights.fill(1 / length, i * l, i * l + length);
      else weights[i * l + length - 1] = 1;
      flags.fill(FLAG_PAD, i * l + length, (i + 1) * l);
    });
    const isPadded = lengths.some((length) => length < l);
    return {
      weights: device.from(weights, [b, 1, l], this.activations === 'f64' ? 'f64' : 'f32'),
      flags: isPadded ? device.from(flags, [b, l], 'i32') : null,
    };
  }

  /**
   * x [b, l, features] -> logits f32 [b, labels].
   * @throws ShapeError for vectors of another size, or lengths that are not from 1 to l, one a sequence
   */
  forward(x: Tensor, { lengths, ...options }: ClassifyOptions = {}): Tensor {
    const { features } = this.config;
    const [b, l] = x.shape;
    if (x.rank !== 3 || x.cols !== features) throw new ShapeError('classify', 'x', `[b, l, ${features}]`, x.shape);
    const counts = lengths ?? new Array<number>(b).fill(l);
    if (counts.length !== b || counts.some((n) => !Number.isInteger(n) || n < 1 || n > l)) {
      throw new ShapeError('classify', 'lengths', `${b} whole numbers from 1 to ${l}`, `${counts}`);
    }
    return this.device.scope(() => {
      const { backbone } = this;
      const wide = backbone.streamType;
      const { weights, flags } = this.poolingOf(b, l, counts);
      const stream = this.readIn.forward(cast(x, this.activations), { dtype: wide });
      const { hidden } = backbone.forward(stream, { ...options, flags, wantState: false }); // [b, l, d]
      const pooled = matmul(weights, cast(hidden, weights.dtype)); // [b, 1, d]
      return this.head.forward(reshape(pooled, [b, this.hiddenSize]), { dtype: weights.dtype });
    });
  }

  /** Sum of the cross-entropy of logits [b, labels] against classes i32 [b], divided by `normalizer`; a scalar. */
  loss(logits: Tensor, targets: Tensor, { normalizer, gradScale = 1 }: HeadLossOptions): Tensor {
    return this.device.scope(() => scaleGradient(scale(sum(crossEntropy(logits, targets)), 1 / normalizer), gradScale));
  }

  get floatKeys(): readonly string[] {
    return familyOf(this.config.backbone).floatKeys;
  }

  configJson(): Record<string, unknown> {
    const { backbone, features, labels, pooling } = this.config;
    const own = Object.entries(toConfigJson(backbone)).filter(([key]) => !OF_VOCABULARY.includes(key));
    const sizes = { num_features: features, num_labels: labels, pooling };
    return { model_type: MODEL_TYPE, ...sizes, backbone: Object.fromEntries(own) };
  }
}

/** The classifier of a configuration. */
export function classifierBlueprint(config: ClassifierConfig): Blueprint<SequenceClassifier> {
  const plan = familyOf(config.backbone).plan(config.backbone).backbone;
  const { hiddenSize } = plan;
  const linear = (inputs: number) => ({ weight: uniform(1 / Math.sqrt(inputs)), bias: uniform(1 / Math.sqrt(inputs)) });
  const rows = [
    ...linearRows('read_in', [hiddenSize, config.features], linear(config.features)),
    ...backboneRows(plan),
    ...linearRows('classifier', [config.labels, hiddenSize], linear(hiddenSize)),
  ];
  return {
    rows,
    head: 'classifier',
    build: (device: Device, weights, activations: DType) =>
      new SequenceClassifier(new Backbone(device, plan, weights, activations), config, rows, weights),
  };
}

/** A classifier with fresh weights, the same on every device for a seed. */
export const createClassifier = (
  device: Device,
  config: ClassifierConfig,
  seed: number,
  options: ModelOptions = {},
): SequenceClassifier => createFrom(classifierBlueprint(config), device, seed, options);

/**
 * Loads the classifier of a folder that `saveModel` wrote.
 * @throws ConfigError, CheckpointError, FileFormatError naming the file, the value and the remedy
 */
export async function loadClassifier(
  device: Device,
  files: FileSystem,
  folder: string,
  options: LoadOptions = {},
): Promise<SequenceClassifier> {
  const file = joinPath(folder, CONFIG_FILE);
  const config = parseClassifierConfig(parseJsonObject(file, await files.readText(file)), file);
  const source = await openCheckpoint(files, folder);
  try {
    return await loadFrom(classifierBlueprint(config), device, source, options);
  } finally {
    await source.close();
  }
}
