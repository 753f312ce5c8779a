/** Language models: a backbone between a table of token embeddings and an output head. A tied head is the table. */
import type { DType } from '../../core/index.ts';
import type { Embedding, Linear } from '../../nn/index.ts';
import type { Device, HeadLossOptions, Tensor } from '../../tensor/index.ts';
import { Backbone, backboneRows, type ForwardOptions } from '../backbone.ts';
import type { WeightRow } from '../checkpoint/table.ts';
import type { Family, LanguagePlan } from '../families/family.ts';
import { familyOf, type ModelConfig } from '../families/index.ts';
import { headLoss } from '../head-loss.ts';
import { type ModelState, stateGrows } from '../state/kinds.ts';
import { embeddingOf, linearOf, tiedHead, untiedHead } from '../weighted-layers.ts';
import { BackboneModel, type Blueprint } from './backbone-model.ts';

/** Tensors of a language model. A tied head has none. */
function languageRows({ vocabSize, table, head, backbone }: LanguagePlan, isTied: boolean): WeightRow[] {
  const matrix = ({ module, initial }: LanguagePlan['head']): WeightRow => ({
    name: `${module}.weight`,
    shape: [vocabSize, backbone.hiddenSize],
    isMatrix: true,
    initial,
  });
  return [matrix(table), ...backboneRows(backbone), ...(isTied ? [] : [matrix(head)])];
}

/** A language model. It owns its weights. */
export class LanguageModel extends BackboneModel {
  readonly family: string;
  readonly taskType = 'CAUSAL_LM';
  readonly vocabSize: number;
  /**
   * Context length in tokens. With streams the model remembers this many positions. Longer texts run all the same. Null for
   * a state of constant size, which has no limit.
   */
  readonly contextLength: number | null;
  readonly headPath: string;
  readonly embeddings: Embedding;
  head: Linear | null;
  /** True if its state has an entry for each position. Decoding steps then have different shapes. */
  readonly stateGrows: boolean;

  constructor(
    backbone: Backbone,
    readonly config: ModelConfig,
    private readonly plan: LanguagePlan,
    private readonly ofFamily: Pick<Family, 'toJson' | 'floatKeys'>,
    weights: ReadonlyMap<string, Tensor>,
  ) {
    super(backbone);
    this.family = config.modelType;
    this.vocabSize = plan.vocabSize;
    this.contextLength = plan.contextLength;
    this.headPath = plan.head.module;
    this.embeddings = embeddingOf(weights, plan.table.module);
    this.head = weights.has(`${this.headPath}.weight`) ? linearOf(weights, this.headPath) : null;
    this.stateGrows = stateGrows(backbone.stateKind);
  }

  protected get before(): Embedding {
    return this.embeddings;
  }

  get rows(): readonly WeightRow[] {
    return languageRows(this.plan, this.head === null);
  }

  /** Gives a tied head its own copy of the table, so that it can be trained or merged alone. Returns the head. */
  untieHead(): Linear {
    this.head ??= untiedHead(this.embeddings, this.headPath);
    return this.head;
  }

  /** The residual stream of ids i32 [b, l] before the first layer, [b, l, hiddenSize]. */
  embed(ids: Tensor): Tensor {
    return this.embeddings.forward(ids, { dtype: this.backbone.streamType });
  }

  /** ids i32 [b, l] -> hidden states after the final norm [b, l, hiddenSize], and the state if it is wanted. */
  forward(ids: Tensor, options: ForwardOptions = {}): { hidden: Tensor; state: ModelState | null } {
    const { backbone } = this;
    return this.device.scope(() => {
      const known = backbone.sequence(ids.shape, options);
      return backbone.forward(this.embed(ids), options, known);
    });
  }

  private get headLayer(): Linear {
    return this.head ?? tiedHead(this.embeddings);
  }

  /** hidden [..., hiddenSize] -> logits f32 [..., vocabSize]. */
  logits(hidden: Tensor): Tensor {
    return this.headLayer.forward(hidden, { dtype: this.activations === 'f64' ? 'f64' : 'f32' });
  }

  /** Mean cross-entropy of hidden states against targets i32 (IGNORE_INDEX carries none), without storing logits. */
  loss(hidden: Tensor, targets: Tensor, options: HeadLossOptions): Tensor {
    return headLoss(this.headLayer, hidden, targets, options);
  }

  get floatKeys(): readonly string[] {
    return this.ofFamily.floatKeys;
  }

  configJson(): Record<string, unknown> {
    return this.ofFamily.toJson({ ...this.config, tieWordEmbeddings: this.head === null });
  }
}

/**
 * The language model of a configuration. Keys that it leaves open are resolved as for a new model.
 * @param family family of the model; that of the model type unless given
 * @throws ConfigError for a model type that is not supported
 */
export function languageBlueprint(stated: ModelConfig, family: Family = familyOf(stated)): Blueprint<LanguageModel> {
  const config = family.resolve(stated) as ModelConfig;
  const plan = family.plan(config);
  return {
    rows: languageRows(plan, config.tieWordEmbeddings ?? false),
    head: plan.head.module,
    build: (device: Device, weights, activations: DType) =>
      new LanguageModel(new Backbone(device, plan.backbone, weights, activations), config, plan, family, weights),
  };
}
