/**
 * The contract of a device as a test suite: every kernel against the reference in f64 on the same inputs, and the
 * behaviour of memory and queue. The same suite runs on every device.
 *
 * The inputs follow from KRAIT_SEED (default 1) and the case's label, which a failure prints.
 */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { isAll } from '../../core/testing/only-in-all.ts';
import type { Backend } from '../backend.ts';
import { KERNEL_NAMES, type KernelName } from '../kernels.ts';
import { describeQueue } from './behaviour.ts';
import { CASES, type ContractCase } from './cases/index.ts';
import { assertClose } from './comparison.ts';
import { Draw } from './operands.ts';
import { describeProfiling } from './profiling.ts';
import { evaluate, type Launch, type Outputs, run } from './runner.ts';

export type CreateBackend = () => Promise<Backend> | Backend;

const SEED = Number(process.env.KRAIT_SEED ?? 1);

/** FNV-1a of a label, mixed with the seed: cases draw unrelated numbers, and adding one changes no other. */
function seedOf(label: string): number {
  let hash = 0x811c9dc5 ^ SEED;
  for (let i = 0; i < label.length; i++) hash = Math.imul(hash ^ label.charCodeAt(i), 0x01000193);
  return hash >>> 0;
}

/** The launch of a case: the same on every device and in every run. */
export function launchOf(kernel: KernelName, x: ContractCase): Promise<Launch> | Launch {
  return x.make(new Draw(seedOf(`${kernel} ${x.label}`), x.types, x.layout));
}

/** A launch of each kernel: its first case. */
export const oneOfEach = (): Promise<Launch[]> =>
  Promise.all(KERNEL_NAMES.map((kernel) => launchOf(kernel, CASES[kernel][0])));

/** Expected outputs, kept because several devices are held against them. */
const references = new Map<ContractCase, { launch: Launch; expected: Outputs }>();

async function referenceOf(kernel: KernelName, x: ContractCase) {
  let reference = references.get(x);
  if (!reference) {
    const launch = await launchOf(kernel, x);
    reference = { launch, expected: await evaluate(launch) };
    references.set(x, reference);
  }
  return reference;
}

/** `npm test` takes one case of this many. Types and layouts repeat after 8, so that all of them come up. */
const STRIDE = 19;

/** The cases of a kernel that are run. Of the reference, which is held against itself in f64, one of each type in `npm test`. */
function casesOf(kernel: KernelName, isReference = false): readonly ContractCase[] {
  const cases = CASES[kernel];
  if (isAll) return cases;
  if (!isReference) return cases.filter((_, i) => i % STRIDE === 0);
  return cases.filter(({ types }, i) => cases.findIndex((other) => other.types === types) === i);
}

/** Adds case and seed to whatever went wrong. */
async function named(kernel: KernelName, x: ContractCase, body: () => Promise<void>): Promise<void> {
  try {
    await body();
  } catch (error) {
    const where = `[${kernel}] ${x.label} (KRAIT_SEED=${SEED})`;
    throw new Error(`${where}: ${(error as Error).message}`, { cause: error });
  }
}

async function checkCase([backend, other]: readonly Backend[], kernel: KernelName, x: ContractCase): Promise<void> {
  await named(kernel, x, async () => {
    const { launch, expected } = await referenceOf(kernel, x);
    const outputs = await run(backend, launch);
    assert.deepEqual(Object.keys(outputs), Object.keys(expected));
    for (const [name, got] of Object.entries(outputs)) {
      assertClose(name, launch.tensors[name]!, got, expected[name], x.tolerance);
    }
    if (other) assertSameBits(outputs, await run(other, launch));
  });
}

/** Cases of a kernel on a device and its twin, if it has one. Afterwards no more memory is in use than before. */
export async function checkKernel(
  devices: readonly Backend[],
  kernel: KernelName,
  cases: readonly ContractCase[] = CASES[kernel],
): Promise<void> {
  const inUse = devices.map(usedBy);
  for (const x of cases) await checkCase(devices, kernel, x);
  assert.deepEqual(devices.map(usedBy), inUse, 'memory is still in use');
}

/** The devices of a suite, open while its tests run. */
function openDevices(creates: readonly CreateBackend[]): readonly Backend[] {
  const devices: Backend[] = [];
  before(async () => {
    for (const create of creates) devices.push(await create());
  });
  after(() => devices.forEach((device) => void device.close()));
  return devices;
}

function checkKernels(devices: readonly Backend[], kernels: readonly KernelName[], isReference = false): void {
  for (const kernel of kernels) {
    const cases = casesOf(kernel, isReference);
    it(`${kernel} agrees with the reference in ${cases.length} cases`, () => checkKernel(devices, kernel, cases));
  }
}

/**
 * The contract suite, run against the device that `create` makes. Every case runs a second time on the device that
 * `createOther` makes, the same one with another number of threads, and must give the same bits. (A device without
 * threads needs no other.)
 */
export function describeBackend(name: string, create: CreateBackend, createOther?: CreateBackend): void {
  describe(`${name} device`, () => {
    const devices = openDevices(createOther ? [create, createOther] : [create]);
    describe('kernels', () => checkKernels(devices, KERNEL_NAMES, name === 'reference'));
    describeQueue(() => devices[0], create);
    describeProfiling(() => devices[0], oneOfEach);
  });
}

/** Of the contract suite the kernels named alone, on two devices that differ in the number of threads. */
export function describeKernels(
  name: string,
  kernels: readonly KernelName[],
  create: CreateBackend,
  createOther: CreateBackend,
): void {
  describe(name, () => checkKernels(openDevices([create, createOther]), kernels));
}

const usedBy = (backend: Backend) => {
  const { blocks, bytesInUse } = backend.memory();
  return { blocks, bytesInUse };
};

/** Tests that two devices agree bit for bit in every case of the kernels named. */
export function describeEquality(
  name: string,
  kernels: readonly KernelName[],
  createFirst: CreateBackend,
  createSecond: CreateBackend,
): void {
  describe(`${name}: the same bits`, () => {
    const open = openDevices([createFirst, createSecond]);
    for (const kernel of kernels) {
      it(`${kernel} in ${casesOf(kernel).length} cases`, async () => {
        const [first, second] = open;
        for (const x of casesOf(kernel)) {
          await named(kernel, x, async () => {
            const { launch } = await referenceOf(kernel, x);
            assertSameBits(await run(first, launch), await run(second, launch));
          });
        }
      });
    }
  });
}

function assertSameBits(a: Outputs, b: Outputs): void {
  for (const [name, x] of Object.entries(a)) {
    const different = x.findIndex((value, i) => !Object.is(value, b[name][i]));
    if (different < 0) continue;
    const count = x.filter((value, i) => !Object.is(value, b[name][i])).length;
    assert.fail(
      `${name}: element ${different} is ${x[different]} and ${b[name][different]}; ${count} of ${x.length} differ`,
    );
  }
}
