/**
 * Which device serves: native, then WASM, then the reference, each loaded only when it is its turn.
 * What it is not: it keeps no device; every call opens a new one.
 */
import { EnvironmentError, UsageError } from '../core/index.ts';
import type { Backend, DeviceName } from './backend.ts';

export interface DeviceChoice {
  readonly backend: Backend;
  /** One line: what was chosen, and why nothing faster was. */
  readonly reason: string;
}

export interface DeviceOptions {
  /** A device by name, or `auto` for the fastest that is there. */
  device?: DeviceName | 'auto';
  /** Threads that share a kernel; the machine's cores unless given. */
  threads?: number;
}

interface Candidate {
  available: boolean;
  reason: string;
  open(): Promise<Backend> | Backend;
}

/** Every device: a row says whether it is there and how it is opened. The order is that in which `auto` tries them. */
const DEVICES: Readonly<Record<DeviceName, (threads?: number) => Promise<Candidate>>> = {
  async native(threads) {
    const { createNativeBackend, nativeAvailability } = await import('./native/index.ts');
    return { ...nativeAvailability(), open: () => createNativeBackend({ threads }) };
  },
  async wasm(threads) {
    const { createWasmBackend, wasmAvailability } = await import('./wasm/index.ts');
    return { ...(await wasmAvailability()), open: () => createWasmBackend({ threads }) };
  },
  async reference() {
    const { createReferenceBackend } = await import('./reference/index.ts');
    return { available: true, reason: 'plain TypeScript, always there, slow', open: createReferenceBackend };
  },
};

export const DEVICE_NAMES: readonly DeviceName[] = Object.keys(DEVICES) as DeviceName[];

/** How a device is opened on this machine. */
export const deviceCandidate = (name: DeviceName, threads?: number): Promise<Candidate> => DEVICES[name](threads);

/**
 * Opens a device. `auto` takes the first of native, wasm, reference that is there.
 * @throws UsageError for a name that does not exist; EnvironmentError for a named device that is not there.
 */
export async function openBackend({ device = 'auto', threads }: DeviceOptions = {}): Promise<DeviceChoice> {
  if (device !== 'auto') {
    if (!DEVICE_NAMES.includes(device)) {
      throw new UsageError(`--device: expected auto, ${DEVICE_NAMES.join(' or ')}, got ${device}`);
    }
    const candidate = await deviceCandidate(device, threads);
    if (!candidate.available) {
      throw new EnvironmentError(`device ${device} is not there: ${candidate.reason}`, ['use --device auto']);
    }
    return { backend: await candidate.open(), reason: `${device}, as asked` };
  }
  const missing: string[] = [];
  for (const name of DEVICE_NAMES) {
    const candidate = await deviceCandidate(name, threads);
    if (candidate.available) {
      const backend = await candidate.open();
      const why = missing.length ? ` (${missing.join('; ')})` : '';
      return { backend, reason: `${name} ${backend.variant}, ${backend.threads} threads${why}` };
    }
    missing.push(`no ${name}: ${candidate.reason}`);
  }
  throw new EnvironmentError('no device can be opened', missing);
}
