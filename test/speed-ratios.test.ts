/**
 * Ratios that a slow or busy machine does not change: shares of what the same run reached otherwise, bytes over bytes.
 * Bounds are generous; the figures themselves are the benchmark suite's (`bench`).
 */
import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import { launchSeconds, productFlops, productLaunch } from '../bench/lanes/product.ts';
import type { Profile } from '../src/backend/index.ts';
import { createNativeBackend, nativeAvailability } from '../src/backend/native/index.ts';
import { openBackend } from '../src/backend/select.ts';
import type { DType } from '../src/core/index.ts';
import {
  decodeBytes,
  measureSpeed,
  randomModel,
  shapeConfig,
  storedType,
  type Work,
  workRounds,
} from '../src/measure/index.ts';
import { Device } from '../src/tensor/index.ts';

const { available, reason } = nativeAvailability();
const device = new Device((await openBackend()).backend);
after(() => device.close());

const model = (dtype: DType) => randomModel(device, shapeConfig('base'), dtype);

/** Most device memory in a step of training of the base shape, and how much of it is free after the step. */
async function stepBytes(work: Work, activations: DType, tokens: number, checkpointing = false) {
  const own = model(storedType(work, activations));
  own.activations = activations;
  device.backend.resetPeak();
  const rounds = workRounds(own, work, { tokens, batch: 1, checkpointing });
  await rounds.next();
  await rounds.next();
  const { peakBytes, bytesInUse } = device.backend.memory();
  await rounds.return();
  own.dispose();
  return { peakBytes, passingBytes: peakBytes - bytesInUse };
}

describe('ratios inside one run', () => {
  // One thread and probes of a few milliseconds: both find a moment for themselves on a machine that is busy.
  it('the native f32 product reaches 40 % of the peak of the vector units', {
    skip: !available && reason,
  }, async () => {
    const backend = createNativeBackend({ threads: 1 });
    const shape = { m: 512, n: 384, k: 768, transB: true };
    const launch = productLaunch(backend, 'f32', shape);
    let [peak, rate] = [0, 0];
    for (let round = 0; round < 200 && (round < 3 || rate < 0.4 * peak); round++) {
      peak = Math.max(peak, await backend.measurePeak(1));
      rate = Math.max(rate, productFlops(shape) / (await launchSeconds(backend, launch, 1)));
    }
    backend.close();
    const text = `${(rate / 1e9).toFixed(1)} of ${(peak / 1e9).toFixed(1)} GFLOP/s on ${backend.variant}`;
    assert.ok(rate >= 0.4 * peak, text);
  });

  it('a step of LoRA in bf16 takes less than 45 % of the memory of a full one in f32', async () => {
    const [lora, full] = [await stepBytes('lora', 'bf16', 128), await stepBytes('train', 'f32', 128)];
    assert.ok(lora.peakBytes < 0.45 * full.peakBytes, `LoRA ${lora.peakBytes} bytes, full ${full.peakBytes}`);
  });

  it('memory of a step grows no faster than the sequence, with checkpointing', async () => {
    const [long, short] = [await stepBytes('train', 'f32', 1024, true), await stepBytes('train', 'f32', 256, true)];
    assert.ok(
      long.passingBytes < 4.2 * short.passingBytes,
      `${long.passingBytes} bytes for 1,024 tokens, ${short.passingBytes} for 256`,
    );
  });

  // By the kernel table's cost of each launch: what a kernel reads twice inside is not seen.
  it('the launches of a token move what decoding must and at most a tenth more: no weight converted, no product twice', async () => {
    const tokens = 4;
    const moved: number[] = [];
    for (const dtype of ['f32', 'bf16', 'i8'] as const) {
      const own = model(dtype);
      const { profile } = await measureSpeed(own, 'decode', { tokens, batch: 1, rounds: 1, isProfiled: true });
      const { shapes } = profile as Profile;
      const bytes = shapes.reduce((sum, shape) => sum + shape.calls * shape.bytes, 0) / tokens;
      const share = bytes / decodeBytes(own, 1);
      assert.ok(share > 0.95 && share < 1.1, `${dtype}: launches move ${share} of what decoding must`);
      moved.push(bytes);
      own.dispose();
    }
    const [f32, bf16, i8] = moved;
    assert.ok(bf16 < 0.6 * f32 && i8 < 0.4 * f32, `bytes a token: f32 ${f32}, bf16 ${bf16}, i8 ${i8}`);
  });
});
