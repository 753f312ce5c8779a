/** The devices that a test runs on. One that is not there is skipped with its reason, or fails if it is required. */
import { type DeviceName, KERNEL_NAMES } from '../../backend/index.ts';
import { DEVICE_NAMES, deviceCandidate } from '../../backend/select.ts';
import { createVariant, otherVariants } from '../../backend/testing/variants.ts';
import { onlyInAll } from '../../core/testing/only-in-all.ts';
import { Device } from '../../tensor/index.ts';

export interface TestDevice {
  /** Of a device of Krait; of a native one with another instruction set than the usual, that too. */
  readonly name: string;
  /** Why it cannot be used; false if it can. */
  readonly skip: string | false;
  open(): Promise<Device>;
}

const required = (process.env.REQUIRE_BACKENDS ?? '').split(',').filter(Boolean);

async function inspect(name: DeviceName): Promise<string | false> {
  try {
    const candidate = await deviceCandidate(name);
    if (!candidate.available) return candidate.reason;
    const backend = await candidate.open();
    const kernels: readonly string[] = (backend as { kernels?: readonly string[] }).kernels ?? KERNEL_NAMES;
    backend.close();
    const missing = KERNEL_NAMES.filter((kernel) => !kernels.includes(kernel));
    return missing.length > 0 && `${name} has no ${missing.join(', ')}`;
  } catch (error) {
    return (error as Error).message.split('\n')[0];
  }
}

/**
 * Every device of Krait, the reference first; the native one with every instruction set that this machine runs, of which
 * `npm test` uses the usual one.
 */
export async function testDevices(): Promise<TestDevice[]> {
  const devices: TestDevice[] = [];
  for (const name of [...DEVICE_NAMES].reverse()) {
    const skip = await inspect(name);
    if (skip && required.includes(name)) throw new Error(`REQUIRE_BACKENDS names ${name}: ${skip}`);
    const open = async () => new Device(await (await deviceCandidate(name, 2)).open());
    devices.push({ name, skip, open });
  }
  for (const variant of otherVariants()) {
    const open = async () => new Device(createVariant(variant, 2));
    devices.push({ name: `native ${variant}`, skip: onlyInAll('another instruction set than the usual').skip, open });
  }
  return devices;
}
