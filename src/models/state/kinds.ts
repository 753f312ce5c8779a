/**
 * What a model remembers between calls, as data: each mixer says which tensors its state has and whether they grow. Nothing
 * else is known of them: not their layer, not their names.
 */
import { type DType, dtypeBytes, formatShape, KraitError, type Shape } from '../../core/index.ts';
import type { Tensor } from '../../tensor/index.ts';

/** Tensors of a state by name, sequences on the first axis; those that grow have positions on the second. */
export type LayerState = Readonly<Record<string, Tensor>>;

/** One tensor of a state. */
export interface StateTensor {
  /** Shape for one sequence; of a tensor that grows, for one position of it. */
  readonly shape: Shape;
  /** Whether it has an entry for each position that was read. */
  readonly grows?: boolean;
  /** Whether its type is that of the activations; f32 unless given (f64 in an f64 model). */
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
  /** Sequences. */
  readonly rows: number;
  /** State of each layer; empty for a layer without state. */
  readonly layers: readonly LayerState[];
  /** State shared by all layers; empty if no layer reads positions. */
  readonly sequence: LayerState;
  dispose(): void;
}

/** The parts of a state, those of layers first. */
export const partsOf = ({ layers, sequence }: Pick<ModelState, 'layers' | 'sequence'>): LayerState[] => [
  ...layers,
  sequence,
];

/** A state around its tensors. Takes them over. */
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

/** Bytes of a sequence's state: what it has at its start, and what a position adds. */
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

/** Calls `check` with each tensor that a model's state has. @throws KraitError for another number of layers */
function forTensors(
  state: ModelState,
  { layers, sequence }: ModelStateKind,
  check: (where: string, name: string, tensor: StateTensor, got: Tensor | undefined) => void,
): void {
  if (state.layers.length !== layers.length) {
    throw new KraitError(`state: expected ${layers.length} layers, got ${state.layers.length}; ${REMEDY}`);
  }
  layers.forEach((kind, i) => {
    for (const name in kind) check(`layer ${i}`, name, kind[name], state.layers[i][name]);
  });
  for (const name in sequence) check('sequence', name, sequence[name], state.sequence[name]);
}

/** @throws KraitError unless a state has all tensors of a kind */
export function checkParts(state: ModelState, kind: ModelStateKind): void {
  forTensors(state, kind, (where, name, _, got) => {
    if (!got) throw new KraitError(`state: ${where} has no ${name}; ${REMEDY}`);
  });
}

/**
 * Checks that a state came from a model of this kind.
 * @throws KraitError naming the layer and tensor that do not fit
 */
export function checkState(state: ModelState, kind: ModelStateKind): void {
  forTensors(state, kind, (where, name, { shape, grows }, got) => {
    const wanted = ['b', ...(grows ? ['p'] : []), ...shape];
    const fits =
      got?.shape.length === wanted.length && wanted.every((n, i) => typeof n === 'string' || got.shape[i] === n);
    if (fits && got.shape[0] === state.rows) return;
    const found = got ? formatShape(got.shape) : 'nothing';
    throw new KraitError(`state: ${where} ${name}: expected [${wanted.join(', ')}], got ${found}; ${REMEDY}`);
  });
}
