/** Selects, repeats, joins and shortens the sequences of a state. Each function makes a new state and keeps the old one. */
import { concat, contiguous, type Device, embedding, narrow, reshape, type Tensor } from '../../tensor/index.ts';
import { type LayerState, type ModelState, type ModelStateKind, partsOf, type StateKind, stateOf } from './kinds.ts';

/** Device of a state; null if no layer has a state. */
const deviceOf = (state: ModelState): Device | null =>
  partsOf(state)
    .flatMap((part) => Object.values(part))
    .at(0)?.device ?? null;

type Change = (tensor: Tensor, name: string, part: number) => Tensor;

/** Applies `change` to each tensor of a state. `part` is the number of its layer; for the sequence, the number of layers. */
function changed(state: ModelState, rows: number, change: Change): ModelState {
  const work = () => {
    const parts = partsOf(state).map(
      (part, i): LayerState => Object.fromEntries(Object.entries(part).map(([name, t]) => [name, change(t, name, i)])),
    );
    return { layers: parts.slice(0, -1), sequence: parts[parts.length - 1] };
  };
  const device = deviceOf(state);
  const { layers, sequence } = device ? device.noGrad(() => device.scope(work)) : work();
  return stateOf(rows, layers, sequence);
}

/**
 * Selects sequences of a state, in the order of `rows`. A row may repeat, so that many continuations start from one
 * prefix.
 */
export function selectRows(state: ModelState, rows: readonly number[]): ModelState {
  let ids: Tensor | null = null;
  return changed(state, rows.length, (t) => {
    const { device } = t;
    ids ??= device.from(rows, [rows.length], 'i32');
    const [b, ...rest] = t.shape;
    if (t.size === 0) return device.empty([rows.length, ...rest], t.dtype);
    return reshape(embedding(reshape(t, [b, t.size / b]), ids), [rows.length, ...rest]);
  });
}

/** Joins the sequences of several states, in order. The states have the same kind and number of positions. */
export function joinRows(states: readonly ModelState[]): ModelState {
  const rows = states.reduce((sum, state) => sum + state.rows, 0);
  const parts = states.map(partsOf);
  return changed(states[0], rows, (some, name, part) => {
    if (some.size === 0) return some.device.empty([rows, ...some.shape.slice(1)], some.dtype);
    return concat(
      parts.map((own) => own[part][name]),
      0,
    );
  });
}

/** A state with the same values, detached from its graph. */
export const detachState = (state: ModelState): ModelState => changed(state, state.rows, (t) => t.alias());

/**
 * Keeps only the last positions in the tensors that grow. The result is detached from its graph.
 */
export function keepLast(state: ModelState, kind: ModelStateKind, positions: number): ModelState {
  const kinds: readonly StateKind[] = [...kind.layers, kind.sequence];
  return changed(state, state.rows, (t, name, part) => {
    if (!kinds[part][name].grows) return t.alias();
    const kept = Math.min(positions, t.shape[1]);
    return contiguous(narrow(t, 1, t.shape[1] - kept, kept));
  });
}

/** Sizes of a state without its number of sequences. States with equal sizes can be joined. */
export const sizesOf = (state: ModelState): string =>
  JSON.stringify(partsOf(state).map((part) => Object.values(part).map((t) => t.shape.slice(1))));
