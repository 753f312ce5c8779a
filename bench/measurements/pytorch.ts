/** A step of full fine-tuning against PyTorch on the CPU: Hugging Face's model, and one whose scan works in chunks. */
import { readModelConfig } from '../../src/models/index.ts';
import { NodeFileSystem } from '../../src/platform/node/index.ts';
import { randomRows } from '../../src/study/index.ts';
import { figure, krait, lastNumber, programsOf, rateText } from '../suite/figures.ts';
import type { LaneSpec } from '../suite/lane.ts';
import type { Context, Figure, Measurement } from '../suite/measurement.ts';
import { type Entry, race, roundsOf } from '../suite/race.ts';
import { median } from '../suite/statistics.ts';
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

/** The loss on the first weights: all compute the same, or the figures mean nothing. */
function lossRemark(entries: Readonly<Record<string, Entry>>): string {
  const losses = Object.entries(entries).flatMap(([name, entry]) =>
    'about' in entry ? [`${name} ${Number(entry.about.loss).toFixed(5)}`] : [],
  );
  return `loss before the first step, same weights and tokens: ${losses.join(', ')}`;
}

export const pytorch: Measurement = {
  name: 'pytorch',
  about: 'training against Hugging Face and a chunked scan in PyTorch',
  async measure(context) {
    const figures: Figure[] = [];
    const remarks: string[] = [];
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
          [kind]: await torch(context, model, kind, tokens),
        },
        {
          rounds: isOnce(kind) ? 1 : context.isQuick ? 2 : 3,
          after: { Krait: ['round', 'memory'], [kind]: ['memory'] },
        },
      );
      figures.push(
        figure(subject, () => {
          const b = roundsOf(entries[kind], 'seconds');
          // Once more after the other's last: a round among minutes of theirs says little.
          const a = [...roundsOf(entries.Krait, 'seconds'), lastNumber(entries.Krait, 'round', 'seconds')];
          return {
            value: median(b) / median(a),
            from: `Krait ${rateText(a, 's')}, ${NAMES[kind]} ${rateText(b, 's')}`,
          };
        }),
      );
      remarks.push(lossRemark(entries));
      programs.push(...programsOf(entries));
      raw[kind] = entries;
    }
    return { figures, remarks, programs, raw };
  },
};
