/**
 * The contract suite on every device that this machine has. A device that is not there is skipped with its reason,
 * but fails if REQUIRE_BACKENDS (names with commas between) asks for it.
 */
import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import { onlyInAll } from '../core/testing/only-in-all.ts';
import type { Backend, DeviceName } from './backend.ts';
import { KERNEL_NAMES, type KernelName } from './kernels.ts';
import { createReferenceBackend } from './reference/index.ts';
import { describeBackend, describeEquality, describeKernels } from './testing/contract.ts';
import { createVariant, otherVariants } from './testing/variants.ts';

interface Device {
  readonly available: boolean;
  readonly reason: string;
  readonly create: (threads: number) => Promise<Backend> | Backend;
}

const native = await import('./native/index.ts');
const wasm = await import('./wasm/index.ts');

const DEVICES: Record<DeviceName, Device> = {
  reference: { available: true, reason: 'always there', create: createReferenceBackend },
  native: { ...native.nativeAvailability(), create: (threads) => native.createNativeBackend({ threads }) },
  // Relaxed instructions give other bits on other machines; without them the suite means the same everywhere.
  wasm: {
    ...(await wasm.wasmAvailability()),
    create: (threads) => wasm.createWasmBackend({ threads, relaxed: false }),
  },
};
const required = (process.env.REQUIRE_BACKENDS ?? '').split(',').filter((name) => name !== '');
const ran: string[] = [];

function noted(backend: Backend, share = ''): Backend {
  const label = `${backend.name} (${backend.variant}, threads: ${backend.threads})${share}`;
  if (!ran.includes(label)) ran.push(label);
  return backend;
}

it('REQUIRE_BACKENDS names devices that exist', () => {
  for (const name of required) assert.ok(name in DEVICES, `REQUIRE_BACKENDS: there is no device ${name}`);
});

for (const [name, { available, reason, create }] of Object.entries(DEVICES)) {
  if (available) {
    describeBackend(name, async () => noted(await create(3)), name === 'reference' ? undefined : () => create(1));
  } else {
    describe(`${name} device`, () => {
      it('is there', { skip: required.includes(name) ? false : reason }, () => assert.fail(`required, but ${reason}`));
    });
  }
}

/** Kernels whose sums may be taken in another order, or with fused multiply-adds, on another instruction set. */
const OTHER_BITS: readonly KernelName[] = [
  'matmul',
  'selective_scan',
  'selective_scan_bwd',
  'attention',
  'attention_bwd',
];
const SAME_BITS = KERNEL_NAMES.filter((name) => !OTHER_BITS.includes(name));

if (DEVICES.native.available && DEVICES.wasm.available) {
  describeEquality(
    'native and wasm',
    SAME_BITS,
    () => DEVICES.native.create(2),
    () => DEVICES.wasm.create(1),
  );
} else {
  it('native and wasm: the same bits', { skip: 'needs both devices' }, () => {});
}

const { variant } = native.nativeAvailability();
for (const other of otherVariants()) {
  describe(`native ${other}`, onlyInAll('another instruction set than the usual'), () => {
    describeEquality(
      `native ${variant} and ${other}`,
      SAME_BITS,
      () => DEVICES.native.create(2),
      () => createVariant(other, 2),
    );
    describeKernels(
      `native ${other}, kernels whose bits are its own`,
      OTHER_BITS,
      () => noted(createVariant(other, 3), ` in ${OTHER_BITS.length} kernels`),
      () => createVariant(other, 1),
    );
  });
}

after(() => console.log(`devices that ran the contract: ${ran.join(', ')}`));
