/** A step of full fine-tuning against PyTorch on the CPU: Hugging Face's model, and one whose scan works in chunks. */
import { readModelConfig } from '../../src/models/index.ts';
import { NodeFileSystem } from '../../src/platform/node/index.ts';
import { randomRows } from '../../src/study/index.ts';
import { figure, krait, programsOf, rateText } from '../suite/figures.ts';
import type { LaneSpec } from '../suite/lane.ts';
import type { Context, Figure, Measurement } from '../suite/measurement.ts';
import { type Entry, race, roundsOf } from '../suite/race.ts';
import { median } from '../suite/statistics.ts';
import { modelFolder } from '../suite/weights.ts';

const TOKENS = 512;
/** Of the model that all train: Hugging Face would take minutes for each step through 24. */
const LAYERS = 4;
/** Tokens of Hugging Face's step before those that count. */
const WARM_UP = 16;

async function torch(context: Context, model: string, kind: 'transformers' | 'chunked'): Promise<LaneSpec> {
  const { vocabSize } = await readModelConfig(new NodeFileSystem(), model);
  const [ids] = randomRows({ vocabSize }, { tokens: TOKENS, batch: 1 });
  const options = { kind, model, ids, threads: context.threads, ...(kind === 'transformers' && { warmUp: WARM_UP }) };
  return { command: [context.python!, 'bench/rivals/torch_mamba.py'], options };
}

/** How often a step of Krait fits into one of the other's. */
function timesFaster(what: string, least: number | undefined, ours: Entry, theirs: Entry, name: string): Figure {
  return figure({ row: 'rivals', what, unit: 'x', least }, () => {
    const [a, b] = [ours, theirs].map((entry) => roundsOf(entry, 'seconds'));
    return { value: median(b) / median(a), from: `Krait ${rateText(a, 's')}, ${name} ${rateText(b, 's')}` };
  });
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
  about: `training on ${TOKENS} tokens against Hugging Face and a chunked scan in PyTorch`,
  async measure(context) {
    const names = ['Hugging Face', 'chunked scan in PyTorch'];
    const what = (name: string, layers: number) => `${name}, ${layers} layers on both sides`;
    if (context.python === null) {
      const problem = 'no Python with torch and transformers: give --python PATH';
      const missing = (name: string): Figure => ({
        row: 'rivals',
        what: what(name, LAYERS),
        value: null,
        unit: 'x',
        problem,
      });
      return { figures: names.map(missing), raw: null };
    }
    const figures: Figure[] = [];
    const step = { dtype: 'f32', work: 'train', tokens: TOKENS } as const;
    const few = await modelFolder(context, LAYERS);
    const four = await race(
      context,
      {
        krait: krait(context, { ...step, model: few }),
        transformers: await torch(context, few, 'transformers'),
        chunked: await torch(context, few, 'chunked'),
      },
      { rounds: context.isQuick ? 1 : 2, after: { krait: ['memory'], transformers: ['memory'], chunked: ['memory'] } },
    );
    figures.push(timesFaster(what(names[0], LAYERS), 50, four.krait, four.transformers, names[0]));
    figures.push(timesFaster(what(names[1], LAYERS), undefined, four.krait, four.chunked, 'PyTorch'));
    return { figures, remarks: [lossRemark(four)], programs: programsOf(four), raw: four };
  },
};
