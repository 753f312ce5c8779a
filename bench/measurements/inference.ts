/** Reading and writing against node-llama-cpp, in the same types, on the same weights. */
import type { DType } from '../../src/core/index.ts';
import type { GgufType } from '../../src/io/index.ts';
import type { BenchCommandOptions } from '../lanes/krait-command.ts';
import type { LlamaLaneOptions } from '../lanes/llama.ts';
import { figure, krait, profileOf, programsOf, roofShare, speedRatio } from '../suite/figures.ts';
import { script } from '../suite/lane.ts';
import type { Context, Figure, Measurement, ProfileLine } from '../suite/measurement.ts';
import { type Entry, race, roundsOf } from '../suite/race.ts';
import { median } from '../suite/statistics.ts';
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

const TYPES: readonly { readonly dtype: DType | 'int8'; readonly type: GgufType; readonly least: number }[] = [
  { dtype: 'f32', type: 'f32', least: 1.9 },
  { dtype: 'bf16', type: 'bf16', least: 2.5 },
  { dtype: 'int8', type: 'q8_0', least: 2.0 },
];

/** Krait writing in a type. Int8 is a matter of the command, which finds its own weights. */
function writer(context: Context, model: string, dtype: DType | 'int8') {
  if (dtype !== 'int8') return krait(context, { model, dtype, work: 'decode', tokens: NEW_TOKENS, hasRoofs: true });
  const { threads } = context;
  return script('lanes/krait-command.ts', {
    model,
    dtype,
    threads,
    what: 'decode',
    tokens: NEW_TOKENS,
  } satisfies BenchCommandOptions);
}

function bandwidth(dtype: DType | 'int8', entry: Entry): Figure {
  const subject = { row: 'decode-bandwidth', what: dtype, least: 0.8 } as const;
  if (dtype !== 'int8') return roofShare(subject, entry, 'bytesPerSecond');
  return figure({ ...subject, unit: '%' }, () => ({
    value: median(roundsOf(entry, 'bandwidthShare')),
    from: 'as `krait bench` says',
  }));
}

export const decode: Measurement = {
  name: 'decode',
  about: 'tokens one by one against node-llama-cpp, and by what memory can give',
  async measure(context) {
    const model = await modelFolder(context);
    const figures: Figure[] = [];
    const profiles: Record<string, ProfileLine[]> = {};
    const raw: Record<string, Record<string, Entry>> = {};
    for (const { dtype, type, least } of TYPES) {
      context.say(dtype);
      const entries = await race(
        context,
        { krait: writer(context, model, dtype), llama: await llama(context, type, 'decode', NEW_TOKENS) },
        {
          rounds: context.isQuick ? 2 : context.rounds,
          after: { krait: dtype === 'int8' ? [] : ['profile', 'memory'], llama: ['memory'] },
        },
      );
      const what = type === dtype ? dtype : `${dtype} against ${type}`;
      figures.push(
        speedRatio({ row: 'decode', what, least }, { over: entries.krait, under: entries.llama, names: NAMES }),
      );
      figures.push(bandwidth(dtype, entries.krait));
      if (dtype !== 'int8') profiles[`decode, ${dtype}`] = profileOf(entries.krait);
      raw[dtype] = entries;
    }
    return { figures, profiles, programs: Object.values(raw).flatMap(programsOf), raw };
  },
};
