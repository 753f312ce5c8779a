/** A step of full fine-tuning against PyTorch on the CPU: Hugging Face's model, and one whose scan works in chunks. */

import { randomRows } from '../../src/measure/index.ts';
import { readModelConfig } from '../../src/models/index.ts';
import { NodeFileSystem } from '../../src/platform/node/index.ts';
import { sameLosses } from '../suite/checks.ts';
import { betweenRatio, krait, programsOf } from '../suite/figures.ts';
import type { LaneSpec } from '../suite/lane.ts';
import type { Check, Context, Figure, Measurement } from '../suite/measurement.ts';
import { between, race } from '../suite/race.ts';
import { modelFolder } from '../suite/weights.ts';

/** Of the model that all train: Hugging Face takes minutes for each step of four, and its time grows with their number. */
const LAYERS = 4;
const TOKENS = 512;
/** In a quick run, and of Hugging Face's step before the one that counts. */
const FEW_TOKENS = 128;
const WARM_UP = 16;

type Kind = 'transformers' | 'chunked';
const NAMES: Readonly<Record<Kind, string>> = { transformers: 'Hugging Face', chunked: 'chunked scan in PyTorch' };
/** Hugging Face gets one round: nothing that disturbs it for a moment counts in minutes. */
const isOnce = (kind: Kind): boolean => kind === 'transformers';

async function torch(context: Context, model: string, kind: Kind, tokens: number): Promise<LaneSpec> {
  const { vocabSize } = await readModelConfig(new NodeFileSystem(), model);
  const [ids] = randomRows({ vocabSize }, { tokens, batch: 1 });
  const options = { kind, model, ids, threads: context.threads, ...(isOnce(kind) && { warmUp: WARM_UP }) };
  return { command: [context.python!, 'bench/rivals/torch_mamba.py'], options };
}

export const pytorch: Measurement = {
  name: 'pytorch',
  about: 'training against Hugging Face and a chunked scan in PyTorch',
  async measure(context) {
    const figures: Figure[] = [];
    const checks: Check[] = [];
    const programs: string[] = [];
    const raw: Record<string, unknown> = {};
    const model = await modelFolder(context, LAYERS);
    for (const kind of ['transformers', 'chunked'] as const) {
      const tokens = context.isQuick && isOnce(kind) ? FEW_TOKENS : TOKENS;
      const what = `${NAMES[kind]}, ${tokens} tokens, ${LAYERS} layers on both sides`;
      const subject = { row: 'rivals', what, unit: 'x', ...(isOnce(kind) && { least: 50 }) } as const;
      if (context.python === null) {
        figures.push({ ...subject, value: null, problem: 'no Python with torch and transformers; give --python PATH' });
        continue;
      }
      const entries = await race(
        context,
        {
          Krait: krait(context, { model, dtype: 'f32', work: 'train', tokens }),
          rival: await torch(context, model, kind, tokens),
        },
        {
          rounds: between('Krait', 'rival', isOnce(kind) ? 1 : context.isQuick ? 2 : 3),
          after: { Krait: ['memory'], rival: ['memory'] },
        },
      );
      const sides = { over: entries.rival, under: entries.Krait, names: [NAMES[kind], 'Krait'] } as const;
      figures.push(betweenRatio(subject, sides, 'seconds'));
      const same = 'loss before the first step, same weights and tokens';
      checks.push(sameLosses(same, { Krait: entries.Krait, [NAMES[kind]]: entries.rival }));
      programs.push(...programsOf(entries));
      raw[kind] = entries;
    }
    return { figures, checks, programs, raw };
  },
};
