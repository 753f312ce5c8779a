/** Part that all models share, with any input and any head: weights by name, adapters, saving. */
import type { DType } from '../../core/index.ts';
import type { AdaptableLayer, Linear } from '../../nn/index.ts';
import type { Device, Tensor } from '../../tensor/index.ts';
import type { Backbone } from '../backbone.ts';
import { layerParameters } from '../block.ts';
import type { WeightRow } from '../checkpoint/table.ts';
import { scalesOf } from '../weighted-layers.ts';

/** A model without weights: its tensors, and how to build it from them. */
export interface Blueprint<M extends BackboneModel = BackboneModel> {
  /** Its tensors, in the order in which a new model draws them. */
  readonly rows: readonly WeightRow[];
  /** Module of the head, whose weight may be stored although it is tied. */
  readonly head: string;
  /** Builds the model over its weights. The model owns them. */
  build(device: Device, weights: ReadonlyMap<string, Tensor>, activations: DType): M;
}

/** A backbone with its input layer and its head. It owns its weights. */
export abstract class BackboneModel {
  /** `model_type` of its config.json. */
  abstract readonly family: string;
  /** Name of its task in PEFT. */
  abstract readonly taskType: 'CAUSAL_LM' | 'SEQ_CLS';
  /** Module path of the head, even where its weight is that of another layer. */
  abstract readonly headPath: string;
  /** Layers that make the residual stream. */
  protected abstract readonly before: AdaptableLayer;
  /** Reads the hidden states; null where the weight is that of another layer. */
  abstract head: Linear | null;
  /** All tensors that a checkpoint of it has. */
  abstract get rows(): readonly WeightRow[];
  /** Content of config.json for saving. */
  abstract configJson(): Record<string, unknown>;
  /** Keys of config.json whose numbers other programs want to be floats. */
  abstract readonly floatKeys: readonly string[];

  private matrices: ReadonlySet<string> | null = null;

  constructor(readonly backbone: Backbone) {}

  get device(): Device {
    return this.backbone.device;
  }

  /** Type of the values that feed matrix products: f32, bf16 or f16. Residual stream and recurrence stay f32. */
  get activations(): DType {
    return this.backbone.activations;
  }

  set activations(dtype: DType) {
    this.backbone.activations = dtype;
  }

  /** Storage type of the weights that feed matrix products. */
  get matrixType(): DType {
    return this.before.weight.dtype;
  }

  get hiddenSize(): number {
    return this.backbone.plan.hiddenSize;
  }

  get layerCount(): number {
    return this.backbone.blocks.length;
  }

  /** Every parameter under its checkpoint name; a tied head is listed once, as the layer that it is tied to. */
  get parameters(): ReadonlyMap<string, Tensor> {
    const { before, backbone, head } = this;
    return new Map([...layerParameters([before]), ...backbone.parameters, ...layerParameters(head ? [head] : [])]);
  }

  /** Scales of the rows of weights that are i8, under the weights' names; of a model in floats, none. */
  get scales(): ReadonlyMap<string, Tensor> {
    return scalesOf(this.adaptable.values());
  }

  /** Layers that adapters can attach to, under their module paths (`backbone.layers.0.mixer.in_proj`). */
  get adaptable(): ReadonlyMap<string, AdaptableLayer> {
    const { before, backbone, head } = this;
    const layers = [before, ...backbone.layers, ...(head ? [head] : [])];
    return new Map(layers.map((layer) => [layer.name, layer]));
  }

  /** True if weight decay applies to a parameter: matrices only. */
  isDecayed(name: string): boolean {
    this.matrices ??= new Set(this.rows.filter(({ isMatrix }) => isMatrix).map((row) => row.name));
    return this.matrices.has(name) || name === `${this.headPath}.weight`; // a head may be untied later
  }

  /** Gives a tied head its own weight. Returns the head. */
  abstract untieHead(): Linear;

  dispose(): void {
    this.backbone.dispose();
    for (const tensor of [...this.parameters.values(), ...this.scales.values()]) tensor.dispose();
  }
}
