/** Long sequences: whether time and memory grow with their length and no faster. */
import { figure, krait, lastNumber, speedRatio } from '../suite/figures.ts';
import type { Figure, Measurement } from '../suite/measurement.ts';
import { race } from '../suite/race.ts';
import { modelFolder } from '../suite/weights.ts';

const SHORT = 1024;
const MIDDLE = 4096;
const LONG = 16_384;

const gibibytes = (bytes: number): string => `${(bytes / 2 ** 30).toFixed(2)} GiB`;

export const longPrefill: Measurement = {
  name: 'long-prefill',
  about: 'tokens per second of a prompt of 16,384 tokens over one of 1,024',
  async measure(context) {
    const model = await modelFolder(context);
    const figures: Figure[] = [];
    const raw: Record<string, unknown> = {};
    for (const dtype of context.isQuick ? (['f32'] as const) : (['f32', 'bf16'] as const)) {
      const lane = (tokens: number) =>
        krait(context, { model, dtype, work: 'prefill', tokens, isCold: tokens === LONG });
      const entries = await race(
        context,
        { long: lane(LONG), short: lane(SHORT) },
        { rounds: context.isQuick ? 1 : 3, after: { long: ['memory'], short: ['memory'] } },
      );
      const subject = { row: 'long-speed', what: `prefill, ${dtype}`, least: 0.9 } as const;
      const names = ['16,384', '1,024'] as const;
      figures.push(speedRatio(subject, { over: entries.long, under: entries.short, names }));
      raw[dtype] = entries;
    }
    return { figures, raw };
  },
};

export const longStep: Measurement = {
  name: 'long-step',
  about: 'a step of full fine-tuning on 16,384 tokens, with activation checkpointing, over shorter ones',
  async measure(context) {
    const model = await modelFolder(context);
    const lane = (tokens: number) =>
      krait(context, {
        model,
        dtype: 'f32',
        work: 'train',
        tokens,
        checkpointing: true,
        isCold: tokens === LONG, // a minute of warming changes nothing in the next
      });
    const entries = await race(
      context,
      { long: lane(LONG), middle: lane(MIDDLE), short: lane(SHORT) },
      { rounds: context.isQuick ? 1 : 2, after: { long: ['memory'], middle: ['memory'], short: ['memory'] } },
    );
    const sides = { over: entries.long, under: entries.short, names: ['16,384', '1,024'] } as const;
    const memory = (what: string, key: string): Figure =>
      figure({ row: 'long-memory', what, unit: 'x', most: 4.2 }, () => {
        const [long, middle] = [entries.long, entries.middle].map((entry) => lastNumber(entry, 'memory', key));
        return { value: long / middle, from: `${gibibytes(long)} over ${gibibytes(middle)}` };
      });
    const figures = [
      speedRatio({ row: 'long-speed', what: 'full fine-tuning with checkpointing, f32', least: 0.9 }, sides),
      memory('device memory', 'peakBytes'),
      memory('resident memory of the process', 'peakRss'),
    ];
    return { figures, raw: entries };
  },
};
