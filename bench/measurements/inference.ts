/** Reading and writing against node-llama-cpp, in the same types, on the same weights. */
import type { DType } from '../../src/core/index.ts';
import type { GgufType } from '../../src/io/index.ts';
import type { LlamaLaneOptions } from '../lanes/llama.ts';
import { krait, profileOf, programsOf, roofShare, speedRatio } from '../suite/figures.ts';
import { script } from '../suite/lane.ts';
import type { Context, Figure, Measurement, ProfileLine } from '../suite/measurement.ts';
import { type Entry, race } from '../suite/race.ts';
import { ggufFile, modelFolder } from '../suite/weights.ts';

const NAMES = ['Krait', 'node-llama-cpp'] as const;
const NEW_TOKENS = 64;

async function llama(context: Context, type: GgufType, work: LlamaLaneOptions['work'], tokens: number) {
  const { threads } = context;
  return script('lanes/llama.ts', {
    file: await ggufFile(context, type),
    threads,
    work,
    tokens,
  } satisfies LlamaLaneOptions);
}

export const prefill: Measurement = {
  name: 'prefill',
  about: 'prompts of 512 and 2,048 tokens against node-llama-cpp',
  async measure(context) {
    const model = await modelFolder(context);
    const figures: Figure[] = [];
    const profiles: Record<string, ProfileLine[]> = {};
    const raw: Record<string, Record<string, Entry>> = {};
    for (const [dtype, least] of [
      ['f32', 4.5],
      ['bf16', 5.5],
    ] as const) {
      for (const tokens of context.isQuick ? [512] : [512, 2048]) {
        const what = `${dtype}, ${tokens} tokens`;
        context.say(what);
        const entries = await race(
          context,
          {
            krait: krait(context, { model, dtype, work: 'prefill', tokens }),
            llama: await llama(context, dtype, 'prefill', tokens),
          },
          {
            rounds: context.isQuick ? 2 : tokens === 512 ? context.rounds : 3,
            after: { krait: ['profile', 'memory'], llama: ['memory'] },
          },
        );
        figures.push(
          speedRatio({ row: 'prefill', what, least }, { over: entries.krait, under: entries.llama, names: NAMES }),
        );
        if (tokens === 512) profiles[`prefill of 512 tokens, ${dtype}`] = profileOf(entries.krait);
        raw[what] = entries;
      }
    }
    return { figures, profiles, programs: Object.values(raw).flatMap(programsOf), raw };
  },
};

interface Written {
  readonly name: string;
  /** What Krait's weights are stored in. */
  readonly dtype: DType;
  readonly type: GgufType;
  readonly least: number;
}
const TYPES: readonly Written[] = [
  { name: 'f32', dtype: 'f32', type: 'f32', least: 1.9 },
  { name: 'bf16', dtype: 'bf16', type: 'bf16', least: 2.5 },
  { name: 'int8', dtype: 'i8', type: 'q8_0', least: 2.0 },
];

export const decode: Measurement = {
  name: 'decode',
  about: 'tokens one by one against node-llama-cpp, and by what memory can give',
  async measure(context) {
    const model = await modelFolder(context);
    const figures: Figure[] = [];
    const profiles: Record<string, ProfileLine[]> = {};
    const raw: Record<string, Record<string, Entry>> = {};
    for (const { name, dtype, type, least } of TYPES) {
      context.say(name);
      const entries = await race(
        context,
        {
          krait: krait(context, { model, dtype, work: 'decode', tokens: NEW_TOKENS, hasRoofs: true }),
          llama: await llama(context, type, 'decode', NEW_TOKENS),
        },
        {
          rounds: context.isQuick ? 2 : context.rounds,
          after: { krait: ['profile', 'memory'], llama: ['memory'] },
        },
      );
      const what = type === name ? name : `${name} against ${type}`;
      figures.push(
        speedRatio({ row: 'decode', what, least }, { over: entries.krait, under: entries.llama, names: NAMES }),
      );
      figures.push(roofShare({ row: 'decode-bandwidth', what: name, least: 0.8 }, entries.krait, 'bytesPerSecond'));
      profiles[`decode, ${name}`] = profileOf(entries.krait);
      raw[name] = entries;
    }
    return { figures, profiles, programs: Object.values(raw).flatMap(programsOf), raw };
  },
};
