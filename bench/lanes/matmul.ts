/** Krait's matrix product as a contestant: each round the peak of the vector units and then every shape. */
import { type DeviceName, peakFactor } from '../../src/backend/index.ts';
import { openBackend } from '../../src/backend/select.ts';
import type { DType } from '../../src/core/index.ts';
import { type Contestant, serve } from '../suite/serve.ts';
import { launchSeconds, type ProductShape, productFlops, productLaunch } from './product.ts';

export interface MatmulOptions {
  readonly device: DeviceName;
  readonly threads: number;
  readonly dtype: DType;
  readonly shapes: readonly ProductShape[];
  /** Time that a shape gets in a round, about. */
  readonly seconds: number;
}

async function open({ device: name, threads, dtype, shapes, seconds }: MatmulOptions): Promise<Contestant> {
  const { backend: device } = await openBackend({ device: name, threads });
  const factor = peakFactor(device, dtype, dtype);
  const launches = shapes.map((shape) => productLaunch(device, dtype, shape));
  const peakOf = async () => (device.measurePeak ? factor * (await device.measurePeak(3)) : null);
  const repeats: number[] = [];
  for (const launch of launches) {
    const once = Math.min(await launchSeconds(device, launch, 2), await launchSeconds(device, launch, 2));
    repeats.push(Math.max(1, Math.round(seconds / once)));
  }
  const round = async () => {
    const rates: number[] = [];
    const peaks: (number | null)[] = [await peakOf()];
    for (const [i, launch] of launches.entries()) {
      rates.push(productFlops(shapes[i]) / (await launchSeconds(device, launch, repeats[i])));
      peaks.push(await peakOf());
    }
    const found = peaks.filter((peak) => peak !== null);
    return { rates, peak: found.length ? Math.max(...found) : null };
  };
  return {
    about: { program: `Krait ${device.name} ${device.variant}, ${device.threads} threads`, dtype, shapes },
    requests: { round },
    close: () => device.close(),
  };
}

await serve(open);
