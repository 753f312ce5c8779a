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
import { decodeBytes, measureSpeed, randomModel, shapeConfig, type Work, workRounds } from '../src/study/index.ts';
import { Device } from '../src/tensor/index.ts';

const { available, reason } = nativeAvailability();
const device = new Device((await openBackend()).backend);
after(() => device.close());

const model = (dtype: DType) => randomModel(device, shapeConfig('base'), dtype);

/** Most device memory in a step of training of the base shape, and how much of it is free after the step. */
async function stepBytes(work: Work, activations: DType, tokens: number, checkpointing = false) {
  const own = model('f32');
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

  it('a step of LoRA in bf16 takes less than 70 % of the memory of a full one in f32', async () => {
    const [lora, full] = [await stepBytes('lora', 'bf16', 128), await stepBytes('train', 'f32', 128)];
    assert.ok(lora.peakBytes < 0.7 * full.peakBytes, `LoRA ${lora.peakBytes} bytes, full ${full.peakBytes}`);
  });

  it('memory of a step grows no faster than the sequence, with checkpointing', async () => {
    const [long, short] = [await stepBytes('train', 'f32', 1024, true), await stepBytes('train', 'f32', 256, true)];
    assert.ok(
      long.passingBytes < 4.2 * short.passingBytes,
      `${long.passingBytes} bytes for 1,024 tokens, ${short.passingBytes} for 256`,
    );
  });

  it('decoding reads every weight once, and half as much in bf16', async () => {
    const read: number[] = [];
    for (const dtype of ['f32', 'bf16'] as const) {
      const own = model(dtype);
      const { profile } = await measureSpeed(own, 'decode', { tokens: 4, batch: 1, rounds: 1, isProfiled: true });
      const { shapes } = profile as Profile;
      const products = shapes.filter(({ kernel }) => kernel.startsWith('matmul'));
      read.push(products.reduce((sum, { calls, bytes }) => sum + calls * bytes, 0) / 4);
      const share = read[read.length - 1] / decodeBytes(own, 1);
      assert.ok(share > 0.7 && share < 1.1, `${dtype}: products move ${share} of what decoding must`);
      own.dispose();
    }
    assert.ok(read[1] < 0.6 * read[0], `bf16 ${read[1]} bytes, f32 ${read[0]}`);
  });
});
