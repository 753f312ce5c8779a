/** Long sequences: whether time and memory grow with their length and no faster. */
import { formatBytes } from '../../src/report/terminal.ts';
import { betweenRatio, figure, krait, lastNumber, speedRatio } from '../suite/figures.ts';
import type { Context, Figure, Measurement } from '../suite/measurement.ts';
import { between, race } from '../suite/race.ts';
import { modelFolder } from '../suite/weights.ts';

const SHORT = 1024;
const MIDDLE = 4096;
const LONG = 16_384;
/** Takes a quick run's minutes; its figures say how long theirs were. */
const QUICK_LONG = 4096;

/** Short steps before the long one, and as many after it. */
const SHORT_ROUNDS = 2;

/** The longest sequence of a run, and its name. */
const longest = ({ isQuick }: Context): number => (isQuick ? QUICK_LONG : LONG);
const named = (tokens: number): string => tokens.toLocaleString('en');

export const longPrefill: Measurement = {
  name: 'long-prefill',
  about: 'tokens per second of a prompt of 16,384 tokens over one of 1,024',
  async measure(context) {
    const model = await modelFolder(context);
    const long = longest(context);
    const figures: Figure[] = [];
    const raw: Record<string, unknown> = {};
    for (const dtype of ['f32', 'bf16'] as const) {
      context.say(dtype);
      const lane = (tokens: number) =>
        krait(context, { model, dtype, work: 'prefill', tokens, isCold: tokens === LONG });
      const entries = await race(
        context,
        { long: lane(long), short: lane(SHORT) },
        { rounds: context.isQuick ? 1 : 2, after: { long: ['memory'], short: ['memory'] } },
      );
      const what = `prefill, ${dtype}, ${named(long)} over ${named(SHORT)}`;
      const sides = { over: entries.long, under: entries.short, names: [named(long), named(SHORT)] } as const;
      figures.push(speedRatio({ row: 'long-speed', what, least: 0.9 }, sides));
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
    const [long, middle] = context.isQuick ? [QUICK_LONG, SHORT] : [LONG, MIDDLE];
    // One round of the long ones, and none before: it takes minutes, of which nothing of a first time is worth mention.
    const lane = (tokens: number) =>
      krait(context, { model, dtype: 'f32', work: 'train', tokens, checkpointing: true, isCold: tokens >= MIDDLE });
    const entries = await race(
      context,
      { long: lane(long), middle: lane(middle), short: lane(SHORT) },
      {
        rounds: [...between('short', 'long', 1, context.isQuick ? 1 : SHORT_ROUNDS), 'middle'],
        after: { long: ['memory'], middle: ['memory'], short: ['memory'] },
      },
    );
    const sides = { over: entries.long, under: entries.short, names: [named(long), named(SHORT)] } as const;
    const memory = (what: string, key: string): Figure =>
      figure(
        { row: 'long-memory', what: `${what}, ${named(long)} over ${named(middle)}`, unit: 'x', most: 4.2 },
        () => {
          const [a, b] = [entries.long, entries.middle].map((entry) => lastNumber(entry, 'memory', key));
          return { value: a / b, from: `${formatBytes(a)} over ${formatBytes(b)}` };
        },
      );
    const what = `full fine-tuning with checkpointing, f32, ${named(long)} over ${named(SHORT)}`;
    const figures = [
      betweenRatio({ row: 'long-speed', what, least: 0.9 }, sides, 'tokensPerSecond'),
      memory('device memory', 'peakBytes'),
      memory('resident memory of the process', 'peakRss'),
    ];
    return { figures, raw: entries };
  },
};
