/** Sequences of a state: picked, repeated, joined, shortened. Each function makes a new state; the old one stays. */
import { concat, contiguous, type Device, embedding, narrow, reshape, type Tensor } from '../../tensor/index.ts';
import { type LayerState, type ModelState, type ModelStateKind, partsOf, type StateKind, stateOf } from './kinds.ts';

/** The device of a state; null where no layer remembers anything. */
const deviceOf = (state: ModelState): Device | null =>
  partsOf(state)
    .flatMap((part) => Object.values(part))
    .at(0)?.device ?? null;

type Change = (tensor: Tensor, name: string, part: number) => Tensor;

/** The tensors of a state, each changed; a part is the number of its layer, or of layers in all for the sequence's. */
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
 * The state of some of its sequences, in the order of `rows`; a row may come more than once, so that many
 * continuations start from one prefix.
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

/** The sequences of several states in one, in their order. The states are of one kind and have read as many positions. */
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

/** The same values cut off from the graph that made them. */
export const detachState = (state: ModelState): ModelState => changed(state, state.rows, (t) => t.alias());

/**
 * The state with its last positions alone, in the tensors that grow: what is before them is forgotten. Cut off from the
 * graph that made it.
 */
export function keepLast(state: ModelState, kind: ModelStateKind, positions: number): ModelState {
  const kinds: readonly StateKind[] = [...kind.layers, kind.sequence];
  return changed(state, state.rows, (t, name, part) => {
    if (!kinds[part][name].grows) return t.alias();
    const kept = Math.min(positions, t.shape[1]);
    return contiguous(narrow(t, 1, t.shape[1] - kept, kept));
  });
}

/** Sizes of a state but for its number of sequences: states of the same can be joined. */
export const sizesOf = (state: ModelState): string =>
  JSON.stringify(partsOf(state).map((part) => Object.values(part).map((t) => t.shape.slice(1))));
