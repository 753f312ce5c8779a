/** Krait as a contestant: rounds of reading, writing or learning on a model of random weights. */
import { type DeviceName, measureRoofline, type Profile } from '../../src/backend/index.ts';
import { openBackend } from '../../src/backend/select.ts';
import type { DType } from '../../src/core/index.ts';
import { decodeBytes, storedType, type Work, workFlops, workRounds } from '../../src/measure/index.ts';
import { loadModel } from '../../src/models/index.ts';
import { NodeFileSystem } from '../../src/platform/node/index.ts';
import { Device } from '../../src/tensor/index.ts';
import { type Contestant, peakRss, serve, timed } from '../suite/serve.ts';
import { profileLines } from './profile-lines.ts';

export interface KraitOptions {
  /** Folder of the model. */
  readonly model: string;
  readonly device: DeviceName;
  readonly threads: number;
  /** i8 is a type of weights alone: their products take f32. */
  readonly dtype: DType;
  readonly work: Work;
  readonly tokens: number;
  readonly batch?: number;
  readonly checkpointing?: boolean;
  /** Whether the roofs are measured before and after each round; takes memory. */
  readonly hasRoofs?: boolean;
  /** Whether the first round that is asked for is the first of all: none is done before it. */
  readonly isCold?: boolean;
}

async function open(options: KraitOptions): Promise<Contestant> {
  const { work, tokens, dtype, threads, batch = 1, checkpointing, hasRoofs, isCold } = options;
  const { backend } = await openBackend({ device: options.device, threads });
  const device = new Device(backend);
  const model = await loadModel(device, new NodeFileSystem(), options.model, { dtype: storedType(work, dtype) });
  model.activations = dtype === 'i8' ? 'f32' : dtype;
  const size = { tokens, batch, checkpointing };
  const flops = workFlops(model.config, work, size);
  backend.resetPeak();
  const rounds = workRounds(model, work, size);
  const loss = isCold ? null : (await rounds.next()).value;
  const round = async () => {
    const before = hasRoofs ? await measureRoofline(backend, 3) : null;
    const seconds = await timed(() => rounds.next());
    const roofs = before && [before, await measureRoofline(backend, 3)];
    const rate = { tokensPerSecond: (tokens * batch) / seconds, flopsPerSecond: flops / seconds };
    const moved = work === 'decode' ? (decodeBytes(model, batch) * tokens) / seconds : null;
    return { seconds, ...rate, bytesPerSecond: moved, roofs };
  };
  const profile = async () => {
    backend.profiler.start();
    let found: Profile | null = null;
    await rounds.next().finally(async () => {
      found = await backend.profiler.stop();
    });
    return { kernels: profileLines(found!, await measureRoofline(backend), backend) };
  };
  const memory = async () => ({ ...backend.memory(), peakRss: peakRss() });
  return {
    about: {
      program: `Krait ${backend.name} ${backend.variant}, ${backend.threads} threads`,
      dtype,
      work,
      ...size,
      loss,
    },
    requests: { round, profile, memory },
    close: async () => {
      await rounds.return();
      device.close();
    },
  };
}

await serve(open);
