/**
 * The state of a model between calls, as data. Each mixer declares the tensors of its state and whether they grow. Other
 * code uses only this declaration, never a layer's number or a tensor's name.
 */
import { type DType, dtypeBytes, formatShape, KraitError, type Shape } from '../../core/index.ts';
import type { Tensor } from '../../tensor/index.ts';

/** Tensors of a state by name. Axis 0 is the sequences. In tensors that grow, axis 1 is the positions. */
export type LayerState = Readonly<Record<string, Tensor>>;

/** One tensor of a state. */
export interface StateTensor {
  /** Shape for one sequence; for a tensor that grows, shape for one position. */
  readonly shape: Shape;
  /** True if it has an entry for each position read. */
  readonly grows?: boolean;
  /** True if it has the type of the activations. Otherwise it is f32 (f64 in an f64 model). */
  readonly isActivation?: boolean;
}

/** The tensors of a state by name; none for a layer without state. */
export type StateKind = Readonly<Record<string, StateTensor>>;

/** The kinds of a whole model. */
export interface ModelStateKind {
  readonly layers: readonly StateKind[];
  /** State shared by all layers: positions and documents. */
  readonly sequence: StateKind;
}

/** State of a model between calls. */
export interface ModelState {
  /** Number of sequences. */
  readonly rows: number;
  /** State of each layer; empty for a layer without state. */
  readonly layers: readonly LayerState[];
  /** State shared by all layers; empty if no layer reads positions. */
  readonly sequence: LayerState;
  dispose(): void;
}

/** Parts of a state: first those of the layers, then that of the sequence. */
export const partsOf = ({ layers, sequence }: Pick<ModelState, 'layers' | 'sequence'>): LayerState[] => [
  ...layers,
  sequence,
];

/** Makes a state of tensors. The state owns them. */
export function stateOf(rows: number, layers: readonly LayerState[], sequence: LayerState = {}): ModelState {
  const dispose = () => {
    for (const part of partsOf({ layers, sequence })) for (const tensor of Object.values(part)) tensor.dispose();
  };
  return { rows, layers, sequence, dispose };
}

/** Whether any tensor of the state grows with the positions. */
export const stateGrows = ({ layers, sequence }: ModelStateKind): boolean =>
  [...layers, sequence].some((kind) => Object.values(kind).some(({ grows }) => grows));

const bytesOf = ({ shape, isActivation }: StateTensor, activations: DType): number =>
  shape.reduce((size, n) => size * n, dtypeBytes(isActivation ? activations : 'f32'));

/** Bytes of the state of one sequence: at its start, and for each position. */
export function stateBytes(
  kinds: readonly StateKind[],
  activations: DType = 'f32',
): { fixed: number; perPosition: number } {
  let [fixed, perPosition] = [0, 0];
  for (const tensor of kinds.flatMap((kind) => Object.values(kind))) {
    if (tensor.grows) perPosition += bytesOf(tensor, activations);
    else fixed += bytesOf(tensor, activations);
  }
  return { fixed, perPosition };
}

const REMEDY = 'use the model it came from';

/** Checks one part of a state against its kind. */
function checkPart(where: string, part: LayerState, kind: StateKind, rows: number): void {
  for (const name in kind) {
    const { shape, grows } = kind[name];
    const got = part[name];
    if (!got) throw new KraitError(`state: ${where} has no ${name}; ${REMEDY}`);
    const wanted = [rows, ...(grows ? [got.shape[1]] : []), ...shape];
    if (got.shape.length === wanted.length && wanted.every((n, i) => got.shape[i] === n)) continue;
    const expected = ['b', ...(grows ? ['p'] : []), ...shape].join(', ');
    throw new KraitError(`state: ${where} ${name}: expected [${expected}], got ${formatShape(got.shape)}; ${REMEDY}`);
  }
  for (const name in part) {
    if (!kind[name])
      throw new KraitError(`state: ${where} has a ${name}, which this model does not remember; ${REMEDY}`);
  }
}

/**
 * Checks that a state came from a model of this kind.
 * @throws KraitError naming the layer and tensor that do not fit
 */
export function checkState({ rows, layers, sequence }: ModelState, kind: ModelStateKind): void {
  if (layers.length !== kind.layers.length) {
    throw new KraitError(`state: expected ${kind.layers.length} layers, got ${layers.length}; ${REMEDY}`);
  }
  kind.layers.forEach((own, i) => {
    checkPart(`layer ${i}`, layers[i], own, rows);
  });
  checkPart('the sequence', sequence, kind.sequence, rows);
}
