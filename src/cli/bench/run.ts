/** Work of `krait bench`: tokens per second of a model on this machine, held against what the machine can do at most. */
import { measureRoofline, type Profile, type Roofline } from '../../backend/index.ts';
import { type DType, sizeOf, UsageError } from '../../core/index.ts';
import {
  decodeBytes,
  measureSpeed,
  randomModel,
  type SpeedResult,
  shapeConfig,
  storedType,
  type Work,
  workFlops,
} from '../../measure/index.ts';
import type { LanguageModel } from '../../models/index.ts';
import { formatBytes, table } from '../../report/terminal.ts';
import type { Device } from '../../tensor/index.ts';
import { withInterrupt } from '../interrupt.ts';
import { activationsOf, storageOf } from '../options.ts';
import type { Output } from '../output.ts';
import { checkProfileFile, reportProfiles, rooflineText } from '../profile.ts';
import { modelFolder, openDevice, openWeights } from '../session.ts';
import type { BenchFlags } from './command.ts';

/** Tokens of a round, unless given. */
const TOKENS: Record<Work, number> = { prefill: 512, decode: 32, train: 512, lora: 512 };

interface Measured extends Omit<SpeedResult, 'profile'> {
  readonly flopsPerToken: number;
  /** Bytes that a decoding step must move; null for other work. */
  readonly bytesPerStep: number | null;
}

interface Figures extends Measured {
  /** Useful operations a second over the peak of the vector units. */
  readonly utilisation: number;
  /** Bytes a second of decoding over the speed of reading. */
  readonly bandwidthShare: number | null;
}

function figuresOf(measured: Measured, { flopsPerSecond, bytesPerSecond }: Roofline): Figures {
  const { batch, tokensPerSecond, flopsPerToken, bytesPerStep } = measured;
  const utilisation = (flopsPerToken * tokensPerSecond) / flopsPerSecond;
  const bandwidthShare = bytesPerStep && (bytesPerStep * tokensPerSecond) / batch / bytesPerSecond;
  return { ...measured, utilisation, bandwidthShare };
}

function figuresText(rows: readonly Figures[]): string {
  const cells = rows.map((row) => {
    const { work, tokens, batch, seconds, tokensPerSecond } = row;
    const rate = (value: number) => ((tokens * batch) / value).toFixed(1);
    return [
      work,
      `${batch} x ${tokens}`,
      seconds.length,
      tokensPerSecond.toFixed(1),
      rate(Math.max(...seconds)),
      rate(Math.min(...seconds)),
      ((row.flopsPerToken * tokensPerSecond) / 1e9).toFixed(1),
      (100 * row.utilisation).toFixed(1),
      row.bandwidthShare === null ? '-' : (100 * row.bandwidthShare).toFixed(1),
      formatBytes(row.peakBytes),
    ];
  });
  const head = ['what', 'tokens', 'rounds', 'tok/s', 'least', 'most', 'GFLOP/s', '% of peak', '% of memory', 'in use'];
  return table([head, ...cells]);
}

/** A model for each type that weights are stored in: those that are trained stay f32, activations take the half type. */
class Models {
  private current: { dtype: DType; model: LanguageModel } | null = null;

  constructor(
    private readonly device: Device,
    private readonly options: BenchFlags,
    private readonly folder: string | null,
    private readonly output: Output,
  ) {}

  async for(work: Work): Promise<LanguageModel> {
    const dtype = storedType(work, storageOf(this.options.dtype));
    if (this.current?.dtype !== dtype) {
      this.dispose();
      this.current = { dtype, model: await this.make(dtype) };
    }
    const { model } = this.current!;
    model.activations = activationsOf(this.options.dtype);
    return model;
  }

  private async make(dtype: DType): Promise<LanguageModel> {
    const { device, folder, options, output } = this;
    if (folder === null) return randomModel(device, shapeConfig(options.shape ?? '130m'), dtype);
    const { model } = await openWeights({ ...options, model: folder }, output, { dtype, on: device });
    return model;
  }

  dispose(): void {
    this.current?.model.dispose();
    this.current = null;
  }
}

const higher = (a: Roofline, b: Roofline): Roofline => ({
  flopsPerSecond: Math.max(a.flopsPerSecond, b.flopsPerSecond),
  bytesPerSecond: Math.max(a.bytesPerSecond, b.bytesPerSecond),
});

function describe(model: LanguageModel, name: string) {
  const { numHiddenLayers: layers, hiddenSize, vocabSize } = model.config;
  const parameters = [...model.parameters.values()].reduce((sum, { shape }) => sum + sizeOf(shape), 0);
  return { name, parameters, layers, hiddenSize, vocabSize };
}

/** One kind of work after the other, with the roofs between: what slows a moment down does not lower both. */
async function measureAll(device: Device, options: BenchFlags, models: Models, output: Output, signal: AbortSignal) {
  const results: Measured[] = [];
  const profiles: Record<string, Profile> = {};
  let roofs = await measureRoofline(device.backend);
  let about: ReturnType<typeof describe> | null = null;
  for (const work of options.what) {
    const model = await models.for(work);
    about ??= describe(model, options.model ?? options.shape ?? '130m');
    const { batch, rounds } = options;
    const size = { tokens: options.tokens ?? TOKENS[work], batch };
    const bar = output.progress(work, rounds + (options.profile ? 2 : 1));
    let done = 0;
    const onRound = () => bar.update(++done);
    const settings = { ...size, rounds, isProfiled: Boolean(options.profile), signal, onRound };
    const { profile, ...speed } = await measureSpeed(model, work, settings).finally(() => bar.stop());
    const flopsPerToken = workFlops(model.config, work, size) / (size.tokens * batch);
    results.push({ ...speed, flopsPerToken, bytesPerStep: work === 'decode' ? decodeBytes(model, batch) : null });
    if (profile) profiles[work] = profile;
    roofs = higher(roofs, await measureRoofline(device.backend));
  }
  return { roofs, model: about!, figures: results.map((measured) => figuresOf(measured, roofs)), profiles };
}

export async function run(options: BenchFlags, output: Output): Promise<void> {
  if (options.model && options.shape) throw new UsageError('--shape: the model has a shape of its own; leave it out');
  const training =
    options.dtype === 'int8' ? options.what.find((work) => work === 'train' || work === 'lora') : undefined;
  if (training) {
    throw new UsageError(`--what ${training}: weights in int8 cannot be trained; give --dtype f32, bf16 or f16`);
  }
  await checkProfileFile(options.profile);
  const { model: name, revision } = options;
  const folder = name === undefined ? null : await modelFolder({ model: name, revision }, output);
  const device = await openDevice(options, output);
  const models = new Models(device, options, folder, output);
  try {
    const work = (signal: AbortSignal) => measureAll(device, options, models, output, signal);
    const { roofs, model, figures, profiles } = await withInterrupt(output, 'stopping after this round', work);
    const { backend } = device;
    const report = await reportProfiles(backend, profiles, roofs, options.profile);
    const about = { device: backend.name, variant: backend.variant, threads: backend.threads, dtype: options.dtype };
    output.result(
      { ...about, model, roofs, results: figures, ...(options.profile && { profiles: report.json }) },
      () => {
        const parameters = model.parameters.toLocaleString('en');
        const lead = `${about.device} ${about.variant}, ${about.threads} threads, ${about.dtype}; ${model.name}: ${parameters} parameters`;
        return [`${lead}\n${rooflineText(roofs)}`, figuresText(figures), report.text].filter(Boolean).join('\n\n');
      },
    );
  } finally {
    device.close();
  }
}
