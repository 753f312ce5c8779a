/**
 * A parameter that an adapter trains whole (a module to save, a bias), with the base model's value kept beside it, so
 * that the adapter can be taken off again without a trace.
 */
import type { BackboneModel } from '../../models/index.ts';
import { cast, dequantise, permute, type Tensor } from '../../tensor/index.ts';

export interface WholeParameter {
  /** Checkpoint name. */
  readonly name: string;
  /** The parameter that the model uses, f32. */
  readonly tensor: Tensor;
  /** Whether it is the model's own tensor, not a copy put in its place. */
  readonly isInPlace: boolean;
  /** Puts the base model's value back. */
  restore(): void;
}

/** A copy of a tensor, at least in f32, by its scale if it is quantised. */
function copyOf(tensor: Tensor, scale: Tensor | null): Tensor {
  const { device, shape } = tensor;
  const type = tensor.dtype === 'f64' ? 'f64' : 'f32';
  const copy = () => {
    if (scale) return dequantise(tensor, scale);
    return tensor.dtype === type ? permute(tensor, [...shape.keys()]) : cast(tensor, type);
  };
  return device.noGrad(() => device.scope(() => device.keep(copy())));
}

/** Gives the adapter its own copy of a parameter, or keeps a copy of the base where the model holds on to its tensor. */
export function ownParameter(model: BackboneModel, name: string): WholeParameter {
  const dot = name.lastIndexOf('.');
  const layer = model.adaptable.get(name.slice(0, dot));
  const base = model.parameters.get(name)!;
  const scale = model.scales.get(name) ?? null;
  const own = copyOf(base, scale);
  if (layer && name.endsWith('.weight')) {
    const use = (weight: Tensor, rowScale: Tensor | null) => {
      layer.weight = weight;
      if (layer.kind !== 'conv') layer.scale = rowScale;
    };
    use(own, null);
    return { name, tensor: own, isInPlace: false, restore: () => swapBack(own, () => use(base, scale)) };
  }
  if (layer && layer.kind !== 'embedding' && name.endsWith('.bias')) {
    layer.bias = own;
    return { name, tensor: own, isInPlace: false, restore: () => swapBack(own, () => (layer.bias = base)) };
  }
  const restore = () => {
    base.zeroGrad();
    base.trainable(false);
    base.device.launch('copy', { x: own, y: base }, { rows: base.rows, cols: base.cols });
    own.dispose();
  };
  return { name, tensor: base, isInPlace: true, restore };
}

function swapBack(own: Tensor, swap: () => void): void {
  swap();
  own.zeroGrad();
  own.dispose();
}
