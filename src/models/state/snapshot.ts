/** A state as numbers on the host, and as a file: it survives its device and can be sent anywhere. */
import { CheckpointError, type DType, encode, type Shape } from '../../core/index.ts';
import { type FileSystem, openSafetensors, storedName, writeSafetensors } from '../../io/index.ts';
import type { Device, Tensor } from '../../tensor/index.ts';
import { type ModelState, stateOf } from './kinds.ts';

/** One tensor of a snapshot. */
export interface HostTensor {
  readonly shape: Shape;
  readonly dtype: DType;
  readonly values: Float32Array | Float64Array | Int32Array;
}

type Part<T> = Readonly<Record<string, T>>;

/** A state on the host. */
export interface StateSnapshot {
  /** Sequences. */
  readonly rows: number;
  readonly layers: readonly Part<HostTensor>[];
  readonly sequence: Part<HostTensor>;
}

/** Takes a state to the host. Exact: what is stored in a half type comes as f32. */
export async function snapshotState({ rows, layers, sequence }: ModelState): Promise<StateSnapshot> {
  const toHost = async (part: Part<Tensor>) => {
    const host: Record<string, HostTensor> = {};
    for (const [name, t] of Object.entries(part)) {
      host[name] = { shape: t.shape, dtype: t.dtype, values: await t.read() };
    }
    return host;
  };
  const hosts: Part<HostTensor>[] = [];
  for (const layer of layers) hosts.push(await toHost(layer));
  return { rows, layers: hosts, sequence: await toHost(sequence) };
}

/** Brings a snapshot to a device. */
export function restoreState(device: Device, { rows, layers, sequence }: StateSnapshot): ModelState {
  const toDevice = (part: Part<HostTensor>): Part<Tensor> =>
    Object.fromEntries(
      Object.entries(part).map(([name, { values, shape, dtype }]) => [
        name,
        device.keep(device.from(values, shape, dtype)),
      ]),
    );
  return stateOf(rows, layers.map(toDevice), toDevice(sequence));
}

/** The tensors of a state under the names that files give them: `layers.<i>.<name>`, `sequence.<name>`. */
export function namedParts<T>(state: { layers: readonly Part<T>[]; sequence: Part<T> }): Map<string, T> {
  const named = new Map<string, T>();
  state.layers.forEach((layer, i) => {
    for (const name in layer) named.set(`layers.${i}.${name}`, layer[name]);
  });
  for (const name in state.sequence) named.set(`sequence.${name}`, state.sequence[name]);
  return named;
}

/** Tensors that files of version 0.1 have in layer 0. */
const MOVED = /^layers\.0\.(documents|place)$/;

/**
 * The parts of a state from its tensors by name; null for a name that is none of a state's.
 * @param count layers of the model; unless given, as many as the names tell
 */
export function partsFromNames<T>(
  tensors: Iterable<readonly [string, T]>,
  count = 0,
): { layers: Part<T>[]; sequence: Part<T> } | null {
  const layers: Record<string, T>[] = Array.from({ length: count }, () => ({}));
  const sequence: Record<string, T> = {};
  for (const [key, tensor] of tensors) {
    const [, index, name] = key.replace(MOVED, 'sequence.$1').match(/^(sequence|layers\.\d{1,5})\.(\w+)$/) ?? [];
    if (index === undefined) return null;
    if (index === 'sequence') sequence[name] = tensor;
    else {
      const layer = Number(index.slice('layers.'.length));
      layers[layer] ??= {};
      layers[layer][name] = tensor;
    }
  }
  return { layers: Array.from(layers), sequence };
}

/** More layers than any model has. */
const MOST_LAYERS = 100_000;

const STATE_TYPES = ['f32', 'bf16', 'f16', 'f64'] as const;

/** Writes a snapshot as a safetensors file. `metadata` may say what it belongs to. */
export async function saveSnapshot(
  files: FileSystem,
  path: string,
  snapshot: StateSnapshot,
  metadata: Readonly<Record<string, string>> = {},
): Promise<void> {
  const entries = [...namedParts(snapshot)].map(([name, { shape, dtype, values }]) => ({
    name,
    dtype: storedName(dtype),
    shape,
    data: () => {
      const raw = encode(dtype, values);
      return new Uint8Array(raw.buffer, raw.byteOffset, raw.byteLength);
    },
  }));
  const sizes = { rows: `${snapshot.rows}`, layers: `${snapshot.layers.length}` };
  await writeSafetensors(files, path, entries, { ...metadata, krait: 'state', ...sizes });
}

/**
 * Reads a snapshot.
 * @throws FileFormatError, CheckpointError if the file is not one
 */
export async function loadSnapshot(files: FileSystem, path: string): Promise<StateSnapshot> {
  const source = await openSafetensors(files, path);
  try {
    const tensors = new Map<string, HostTensor>();
    for (const [key, info] of source.tensors) {
      const dtype = STATE_TYPES.find((type) => storedName(type) === info.dtype);
      if (!dtype || !partsFromNames([[key, info]])) {
        const expected = 'a state tensor layers.<i>.<name> or sequence.<name> of floats';
        throw new CheckpointError(key, expected, info.dtype, path, 'give a state file');
      }
      const values = (await source.readAs(key, dtype === 'f64' ? 'f64' : 'f32')) as Float32Array | Float64Array;
      tensors.set(key, { shape: info.shape, dtype, values });
    }
    const count = Number(source.metadata.layers ?? 0);
    const [some] = tensors.values();
    const rows = Number(source.metadata.rows ?? some?.shape[0]);
    const fits = Number.isInteger(count) && count >= 0 && count <= MOST_LAYERS;
    const odd = [...tensors].find(([, { shape }]) => shape[0] !== rows);
    if (!fits || !Number.isInteger(rows) || rows < 1 || odd) {
      const stated = `rows ${source.metadata.rows}, layers ${source.metadata.layers}`;
      const expected = odd
        ? `${rows} rows in all tensors`
        : `whole numbers of rows and of at most ${MOST_LAYERS} layers`;
      throw new CheckpointError(
        odd?.[0] ?? 'metadata',
        expected,
        odd ? `[${odd[1].shape}]` : stated,
        path,
        'give a state file',
      );
    }
    const { layers, sequence } = partsFromNames(tensors, count)!;
    const missing = layers.findIndex((layer) => !layer);
    if (missing >= 0 || layers.length === 0) {
      const key = `layers.${Math.max(0, missing)}`;
      throw new CheckpointError(key, 'a tensor of this layer', 'none', path, 'give a state file');
    }
    return { rows, layers, sequence };
  } finally {
    await source.close();
  }
}
