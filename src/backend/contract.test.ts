/**
 * The contract suite on every device that this machine has. A device that is not there is skipped with its reason,
 * but fails if REQUIRE_BACKENDS (names with commas between) asks for it.
 */
import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import type { Backend, DeviceName } from './backend.ts';
import { KERNEL_NAMES, type KernelName } from './kernels.ts';
import { createReferenceBackend } from './reference/index.ts';
import { describeBackend, describeEquality } from './testing/contract.ts';

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

it('REQUIRE_BACKENDS names devices that exist', () => {
  for (const name of required) assert.ok(name in DEVICES, `REQUIRE_BACKENDS: there is no device ${name}`);
});

for (const [name, { available, reason, create }] of Object.entries(DEVICES)) {
  if (available) {
    describeBackend(
      name,
      async () => {
        const backend = await create(3);
        const label = `${backend.name} (${backend.variant}, threads: ${backend.threads})`;
        if (!ran.includes(label)) ran.push(label);
        return backend;
      },
      name === 'reference' ? undefined : () => create(1),
    );
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

/** A native device of one instruction set, which this machine must have. */
function createVariant(variant: string): Backend {
  const before = process.env.KRAIT_ISA;
  process.env.KRAIT_ISA = variant;
  try {
    return native.createNativeBackend({ threads: 2 });
  } finally {
    if (before === undefined) delete process.env.KRAIT_ISA;
    else process.env.KRAIT_ISA = before;
  }
}

const { available, variant, variants } = native.nativeAvailability();
for (const other of available ? variants.filter((name) => name !== variant) : []) {
  describeEquality(
    `native ${variant} and ${other}`,
    SAME_BITS,
    () => DEVICES.native.create(2),
    () => createVariant(other),
  );
}

after(() => console.log(`devices that ran the contract: ${ran.join(', ')}`));
