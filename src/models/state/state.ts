/** A model's state as a value: rows picked and repeated, taken to the host, kept in a file, brought back. */
import { CheckpointError, type DType, encode, formatShape, KraitError, type Shape } from '../../core/index.ts';
import { type FileSystem, openSafetensors, storedName, writeSafetensors } from '../../io/index.ts';
import { concat, contiguous, type Device, embedding, narrow, reshape, type Tensor } from '../../tensor/index.ts';
import type { ModelState } from '../model.ts';

/** A state around its tensors. */
export function stateOf(layers: readonly Record<string, Tensor>[]): ModelState {
  const dispose = () => {
    for (const layer of layers) for (const tensor of Object.values(layer)) tensor.dispose();
  };
  return { layers, dispose };
}

/** Sequences in a state. */
export function batchOf(state: ModelState): number {
  const [first] = Object.values(state.layers[0]);
  return first.shape[0];
}

const mapTensors = (state: ModelState, change: (tensor: Tensor) => Tensor): Record<string, Tensor>[] =>
  state.layers.map((layer) => Object.fromEntries(Object.entries(layer).map(([name, t]) => [name, change(t)])));

/**
 * The state of some of its sequences, in the order of `rows`; a row may come more than once, so that many
 * continuations start from one prefix. A new state; the old one stays.
 */
export function selectRows(state: ModelState, rows: readonly number[]): ModelState {
  const [some] = Object.values(state.layers[0]);
  const { device } = some;
  const layers = device.noGrad(() =>
    device.scope(() => {
      const ids = device.from(rows, [rows.length], 'i32');
      return mapTensors(state, (t) => {
        const [b, ...rest] = t.shape;
        if (t.size === 0) return device.empty([rows.length, ...rest], t.dtype);
        return reshape(embedding(reshape(t, [b, t.size / b]), ids), [rows.length, ...rest]);
      });
    }),
  );
  return stateOf(layers);
}

/** The sequences of several states in one, in their order. A new state; the old ones stay. */
export function joinRows(states: readonly ModelState[]): ModelState {
  const { device } = Object.values(states[0].layers[0])[0];
  const join = (layer: number, name: string) => {
    const parts = states.map((state) => state.layers[layer][name]);
    const [some] = parts;
    const rows = parts.reduce((sum, part) => sum + part.shape[0], 0);
    return some.size === 0 ? device.empty([rows, ...some.shape.slice(1)], some.dtype) : concat(parts, 0);
  };
  const layers = device.noGrad(() =>
    device.scope(() =>
      states[0].layers.map((layer, i) => Object.fromEntries(Object.keys(layer).map((name) => [name, join(i, name)]))),
    ),
  );
  return stateOf(layers);
}

/** The same values cut off from the graph that made them. A new state; the old one stays. */
export const detachState = (state: ModelState): ModelState => stateOf(mapTensors(state, (t) => t.alias()));

/** What has an entry a position, on its second axis, where the memory is attention's. */
const PER_POSITION: readonly string[] = ['keys', 'values', 'documents'];

/**
 * The state with its last positions alone, where it has an entry a position: what is before them is forgotten. Cut off
 * from the graph that made it. A new state; the old one stays.
 */
export function keepLast(state: ModelState, positions: number): ModelState {
  const { device } = Object.values(state.layers[0])[0];
  const shortened = (t: Tensor): Tensor => {
    const kept = Math.min(positions, t.shape[1]);
    return contiguous(narrow(t, 1, t.shape[1] - kept, kept));
  };
  const layers = device.noGrad(() =>
    device.scope(() =>
      state.layers.map((layer) =>
        Object.fromEntries(
          Object.entries(layer).map(([name, t]) => [name, PER_POSITION.includes(name) ? shortened(t) : t.alias()]),
        ),
      ),
    ),
  );
  return stateOf(layers);
}

/** One tensor of a snapshot. */
export interface HostTensor {
  readonly shape: Shape;
  readonly dtype: DType;
  readonly values: Float32Array | Float64Array | Int32Array;
}

/** A state on the host, as plain numbers: it survives its device and can be sent anywhere. */
export interface StateSnapshot {
  readonly layers: readonly Readonly<Record<string, HostTensor>>[];
}

/** Takes a state to the host. Exact: what is stored in a half type comes as f32. */
export async function snapshotState(state: ModelState): Promise<StateSnapshot> {
  const layers = [];
  for (const layer of state.layers) {
    const host: Record<string, HostTensor> = {};
    for (const [name, t] of Object.entries(layer)) {
      host[name] = { shape: t.shape, dtype: t.dtype, values: await t.read() };
    }
    layers.push(host);
  }
  return { layers };
}

/** Brings a snapshot to a device. */
export function restoreState(device: Device, snapshot: StateSnapshot): ModelState {
  const toTensor = ({ values, shape, dtype }: HostTensor) => device.keep(device.from(values, shape, dtype));
  return stateOf(
    snapshot.layers.map((layer) => Object.fromEntries(Object.entries(layer).map(([name, t]) => [name, toTensor(t)]))),
  );
}

/** @throws KraitError unless a state has this many layers, each with a tensor of this name */
export function checkLayers(state: ModelState, layers: number, name?: string): void {
  if (state.layers.length !== layers) {
    throw new KraitError(`state: expected ${layers} layers, got ${state.layers.length}; use the model it came from`);
  }
  const lacking = name === undefined ? -1 : state.layers.findIndex((layer) => !layer[name]);
  if (lacking >= 0) throw new KraitError(`state: layer ${lacking} has no ${name}; use the model it came from`);
}

/**
 * Checks that a state came from a model of this shape.
 * @throws KraitError naming the layer and tensor that do not fit
 */
export function checkState(state: ModelState, like: ModelState): void {
  checkLayers(state, like.layers.length);
  like.layers.forEach((layer, i) => {
    for (const [name, { shape }] of Object.entries(layer)) {
      const got = state.layers[i][name]?.shape;
      const isOpen = (axis: number) => axis === 0 || (axis === 1 && PER_POSITION.includes(name));
      if (got?.length === shape.length && shape.every((size, axis) => isOpen(axis) || got[axis] === size)) continue;
      const expected = `[${['b', ...shape.slice(1)].map((size, axis) => (axis > 0 && isOpen(axis) ? 'p' : size)).join(', ')}]`;
      const found = got ? formatShape(got) : 'nothing';
      throw new KraitError(`state: layer ${i} ${name}: expected ${expected}, got ${found}; use the model it came from`);
    }
  });
}

const STATE_TYPES = ['f32', 'bf16', 'f16', 'f64'] as const;

const nameOf = (layer: number, tensor: string): string => `layers.${layer}.${tensor}`;

/** Writes a snapshot as a safetensors file. `metadata` may say what it belongs to. */
export async function saveSnapshot(
  files: FileSystem,
  path: string,
  snapshot: StateSnapshot,
  metadata: Readonly<Record<string, string>> = {},
): Promise<void> {
  const entries = snapshot.layers.flatMap((layer, i) =>
    Object.entries(layer).map(([name, { shape, dtype, values }]) => ({
      name: nameOf(i, name),
      dtype: storedName(dtype),
      shape,
      data: () => {
        const raw = encode(dtype, values);
        return new Uint8Array(raw.buffer, raw.byteOffset, raw.byteLength);
      },
    })),
  );
  await writeSafetensors(files, path, entries, { ...metadata, krait: 'state' });
}

/**
 * Reads a snapshot.
 * @throws FileFormatError, CheckpointError if the file is not one
 */
export async function loadSnapshot(files: FileSystem, path: string): Promise<StateSnapshot> {
  const source = await openSafetensors(files, path);
  try {
    const layers: Record<string, HostTensor>[] = [];
    for (const [key, info] of source.tensors) {
      const [, index, name] = key.match(/^layers\.(\d{1,5})\.(\w+)$/) ?? [];
      const dtype = STATE_TYPES.find((type) => storedName(type) === info.dtype);
      if (name === undefined || !dtype) {
        const expected = 'a state tensor layers.<i>.<name> of floats';
        throw new CheckpointError(key, expected, info.dtype, path, 'give a state file');
      }
      const values = (await source.readAs(key, dtype === 'f64' ? 'f64' : 'f32')) as Float32Array | Float64Array;
      layers[Number(index)] ??= {};
      layers[Number(index)][name] = { shape: info.shape, dtype, values };
    }
    const missing = Array.from(layers).findIndex((layer) => !layer);
    if (missing >= 0 || layers.length === 0) {
      const key = `layers.${Math.max(0, missing)}`;
      throw new CheckpointError(key, 'a tensor of this layer', 'none', path, 'give a state file');
    }
    return { layers };
  } finally {
    await source.close();
  }
}
