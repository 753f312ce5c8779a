/**
 * The devices whose results are frozen, each with the file of its goldens. Results depend on the device; on a native one also on
 * the instruction set and on the compiler, which fuses products with sums in `matmul.cc`; on WASM also on its variant. They do not
 * depend on threads, on the processor, or on the version of Node.
 */
import { existsSync, readFileSync } from 'node:fs';
import { Device, openBackend } from 'krait';
import { nativeAvailability } from '../../src/backend/native/index.ts';
import { createVariant } from '../../src/backend/testing/variants.ts';
import { createWasmBackend, wasmAvailability } from '../../src/backend/wasm/index.ts';
import { goldenFiles, isFreezing } from './golden.ts';

export interface FrozenDevice {
  /** Such as `native avx2 gcc-12`. */
  readonly name: string;
  /** File of its goldens. */
  readonly golden: string;
  /** Why nothing is compared; false if it is. */
  readonly skip: string | false;
  open(): Promise<Device>;
}

const FOLDER = 'results';
const threads = Number(process.env.KRAIT_THREADS || 2);

/** A device that may not be there. Of one that not every machine has (`isRare`), goldens may be absent too. */
function frozenDevice(name: string, absence: string | false, open: () => Promise<Device>, isRare = true): FrozenDevice {
  const file = `${name.replaceAll(' ', '-')}.json`;
  const lacksGolden = isRare && !isFreezing && !goldenFiles(FOLDER).includes(file);
  const skip = absence || (lacksGolden && `nothing is frozen for ${name}; KRAIT_FREEZE=1 freezes what it gives now`);
  return { name, golden: `${FOLDER}/${file}`, skip, open };
}

const STAMP = new URL('../../build/native/krait.stamp', import.meta.url);

/** Kind and major version of the compiler that built the addon, from the build's stamp: `gcc-12`. */
function compilerOfAddon(): string {
  if (!existsSync(STAMP)) return 'compiler-unknown';
  const [, version = ''] = readFileSync(STAMP, 'utf8').split('\n');
  const major = / (\d+)\.\d+/.exec(version)?.[1] ?? 'unknown';
  return `${version.includes('clang') ? 'clang' : 'gcc'}-${major}`;
}

export const referenceDevice = (): FrozenDevice =>
  frozenDevice('reference', false, async () => new Device((await openBackend({ device: 'reference' })).backend), false);

/** WASM without fused products (the same bits in every engine), and with them where the engine has them. */
export async function wasmDevices(): Promise<FrozenDevice[]> {
  const { available, reason, variant } = await wasmAvailability();
  const open = (relaxed: boolean) => async () => new Device(await createWasmBackend({ threads, relaxed }));
  const absence = !available && reason;
  const noFusion = variant !== 'simd128-relaxed' && 'this engine has no relaxed SIMD; Node 22 has';
  return [
    frozenDevice('wasm simd128', absence, open(false), false),
    frozenDevice('wasm simd128-relaxed', absence || noFusion, open(true)),
  ];
}

/** The native device in every instruction set that the machine runs, the one that a new device takes first. */
export function nativeDevices(): FrozenDevice[] {
  const { available, reason, variant, variants } = nativeAvailability();
  if (!available) return [frozenDevice('native', reason, () => Promise.reject(new Error(reason)))];
  const compiler = compilerOfAddon();
  const ordered = [variant!, ...variants.filter((name) => name !== variant)];
  return ordered.map((isa) =>
    frozenDevice(`native ${isa} ${compiler}`, false, async () => new Device(createVariant(isa, threads))),
  );
}
