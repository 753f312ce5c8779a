/** Attaching low-rank adapters to a model: the base is frozen, factors are made, and what is trained is counted. */
import { ConfigError, type DType, HostRandom } from '../../core/index.ts';
import { formatAdapterName, LORA_DEFAULTS, type LoraConfig, rankAndScale } from '../../io/index.ts';
import type { BackboneModel } from '../../models/index.ts';
import type { AdaptableLayer } from '../../nn/index.ts';
import type { Device, Tensor } from '../../tensor/index.ts';
import type { TrainedParameter } from '../../train/index.ts';
import { activate, type DropoutMode, deactivate, type Factors, factorShapes } from './factors.ts';
import { targetedLayers, wholeParameters } from './targets.ts';
import type { RowGroupsOf } from './untied.ts';
import { ownParameter, type WholeParameter } from './whole-parameter.ts';

export interface CoveredModule {
  readonly name: string;
  readonly kind: AdaptableLayer['kind'];
  readonly rank: number;
  readonly parameters: number;
}

/** Parameters that an adapter trains. */
export interface Coverage {
  /** Layers with factors. */
  readonly modules: readonly CoveredModule[];
  /** Parameters that are trained whole: modules to save, and biases. */
  readonly whole: readonly string[];
  readonly trainableParameters: number;
  /** Parameters of the model with its adapter. */
  readonly totalParameters: number;
  /** Share of trainable parameters. */
  readonly share: number;
}

/** Low-rank adapters on a model, attached until `detachLora`. */
export interface LoraAdapter extends DropoutMode {
  readonly model: BackboneModel;
  readonly config: LoraConfig;
  /** Trained tensors, by their names in PEFT's adapter files. */
  readonly trainable: ReadonlyMap<string, Tensor>;
  readonly coverage: Coverage;
  readonly factors: readonly Factors[];
  readonly whole: readonly WholeParameter[];
  /** The base weights while the factors are merged into their layers; null while they are not. */
  mergedBases: Tensor[] | null;
}

/** Streams of the factors' first values: away from those of dropout, which count from 0. */
const FIRST_STREAM = 2 ** 30;

type Init = (size: number, random: HostRandom) => Float32Array;
const fill = (size: number, value: () => number) => Float32Array.from({ length: size }, value);
const zeros: Init = (size) => new Float32Array(size);
const normal =
  (std: number): Init =>
  (size, random) =>
    fill(size, () => random.normal() * std);
/** Kaiming-uniform with a = sqrt(5): uniform between +-1/sqrt(inputs). */
const kaiming =
  (inputs: number): Init =>
  (size, random) =>
    fill(size, () => (2 * random.uniform() - 1) / Math.sqrt(inputs));

/** How A and B start. Their product is 0, unless `initLoraWeights` is false. */
function initials(layer: AdaptableLayer, rank: number, { initLoraWeights }: LoraConfig): { A: Init; B: Init } {
  if (layer.kind === 'embedding') return { A: initLoraWeights === false ? normal(1) : zeros, B: normal(1) };
  const inputs = layer.weight.size / layer.weight.shape[0];
  if (initLoraWeights === 'gaussian') return { A: normal(1 / rank), B: zeros };
  return { A: kaiming(inputs), B: initLoraWeights ? zeros : kaiming(rank) };
}

type Draw = Required<Pick<AttachOptions, 'seed' | 'rowGroupsOf'>> & { readonly index: number };

function makeFactors(
  device: Device,
  layer: AdaptableLayer,
  config: LoraConfig,
  { seed, index, rowGroupsOf }: Draw,
): Factors {
  const { rank: wanted, scale } = rankAndScale(config, layer.name);
  const rowGroups = rowGroupsOf(layer);
  const { rank, A, B } = factorShapes(layer, wanted, rowGroups);
  const init = initials(layer, rank, config);
  const dtype: DType = layer.weight.dtype === 'f64' ? 'f64' : 'f32';
  const make = (shape: number[], values: Init, which: number) => {
    const random = new HostRandom(seed, FIRST_STREAM + 2 * index + which);
    return device.keep(device.from(values(shape[0] * shape[1], random), shape, dtype)).trainable();
  };
  return { layer, A: make(A, init.A, 0), B: make(B, init.B, 1), rank, scale, rowGroups };
}

function trainedTensors(factors: readonly Factors[], whole: readonly WholeParameter[]): Map<string, Tensor> {
  const trainable = new Map<string, Tensor>();
  for (const { layer, A, B } of factors) {
    const tensor = { kind: 'factor', module: layer.name, isEmbedding: layer.kind === 'embedding' } as const;
    trainable.set(formatAdapterName({ ...tensor, factor: 'A' }), A);
    trainable.set(formatAdapterName({ ...tensor, factor: 'B' }), B);
  }
  const adapted = new Set(factors.map(({ layer }) => layer.name));
  for (const { name, tensor } of whole) {
    const isWrapped = adapted.has(name.slice(0, name.lastIndexOf('.')));
    trainable.set(formatAdapterName({ kind: 'parameter', parameter: name, isWrapped }), tensor);
  }
  return trainable;
}

function coverageOf(model: BackboneModel, factors: readonly Factors[], whole: readonly WholeParameter[]): Coverage {
  const modules = factors.map(
    ({ layer, A, B, rank }): CoveredModule => ({
      name: layer.name,
      kind: layer.kind,
      rank,
      parameters: A.size + B.size,
    }),
  );
  const added = modules.reduce((sum, { parameters }) => sum + parameters, 0);
  const trainableParameters = added + whole.reduce((sum, { tensor }) => sum + tensor.size, 0);
  const totalParameters = added + [...model.parameters.values()].reduce((sum, { size }) => sum + size, 0);
  const share = trainableParameters / totalParameters;
  return { modules, whole: whole.map(({ name }) => name), trainableParameters, totalParameters, share };
}

export interface AttachOptions {
  /** Seed of the first values of the factors. */
  seed?: number;
  /** Whether names that match nothing are errors; true unless given. */
  isStrict?: boolean;
  /** Layers whose rows do not share a down-projection (`untied.ts`): such an adapter is not PEFT's. None unless given. */
  rowGroupsOf?: RowGroupsOf;
}

/**
 * Puts adapters on a model and freezes the rest. Settings that are not given are PEFT's defaults.
 * @throws ConfigError for targets that match nothing, naming those there are; nothing is attached then
 */
export function attachLora(
  model: BackboneModel,
  settings: Partial<LoraConfig>,
  options: AttachOptions = {},
): LoraAdapter {
  const { seed = 0, isStrict = true, rowGroupsOf = () => null } = options;
  const config = { ...LORA_DEFAULTS, taskType: model.taskType, ...settings };
  if (!(Number.isInteger(config.r) && config.r > 0))
    throw new ConfigError(`r: expected a rank from 1, got ${config.r}`);
  if (config.initLoraWeights === 'orthogonal' || config.initLoraWeights === 'eva') {
    const problem = `init_lora_weights: ${config.initLoraWeights} is not supported for a new adapter`;
    if (isStrict) throw new ConfigError(`${problem}; use true, false or gaussian`);
  }
  if ([...model.adaptable.values()].some(({ adapter }) => adapter)) {
    throw new ConfigError('the model has an adapter already; detach or merge it first');
  }
  const layers = targetedLayers(model, config, isStrict);
  const names = wholeParameters(model, config, layers, isStrict);
  for (const tensor of model.parameters.values()) tensor.trainable(false);
  const whole = [...names.saved, ...names.biases].map((name) => ownParameter(model, name));
  for (const { tensor } of whole) tensor.trainable();
  const factors = layers.map((layer, index) => makeFactors(model.device, layer, config, { seed, index, rowGroupsOf }));
  const adapter: LoraAdapter = {
    model,
    config,
    random: null,
    probability: config.loraDropout,
    trainable: trainedTensors(factors, whole),
    coverage: coverageOf(model, factors, whole),
    factors,
    whole,
    mergedBases: null,
  };
  for (const pair of factors) activate(pair, adapter);
  return adapter;
}

/** Parameters for a training task. Weight decay applies to factors, and to whole parameters as the model says. */
export function adapterParameters({ model, trainable, whole }: LoraAdapter): TrainedParameter[] {
  const names = new Map(whole.map(({ name, tensor }) => [tensor, name]));
  return [...trainable].map(([name, tensor]) => {
    const own = names.get(tensor);
    return { name, tensor: tensor.trainable(), isDecayed: own === undefined || model.isDecayed(own) };
  });
}

/**
 * Takes an adapter off its model, which is then as it was, frozen (a head that was untied for the adapter stays a copy
 * of the table). The adapter's tensors are gone.
 */
export function detachLora(adapter: LoraAdapter): void {
  const { factors, whole, mergedBases } = adapter;
  factors.forEach((pair, i) => {
    deactivate(pair);
    if (mergedBases) {
      pair.layer.weight.dispose();
      pair.layer.weight = mergedBases[i];
    }
    for (const tensor of [pair.A, pair.B]) {
      tensor.zeroGrad();
      tensor.dispose();
    }
  });
  adapter.mergedBases = null;
  for (const parameter of whole) parameter.restore();
}
