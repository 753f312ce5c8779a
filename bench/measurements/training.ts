/** Steps of training: how much of the machine a full one uses, what LoRA saves, what the scan reaches. */

import { EXP_FLOPS, SOFTPLUS_FLOPS } from '../../src/backend/index.ts';
import { formatBytes } from '../../src/report/terminal.ts';
import { figure, krait, lastNumber, profileOf, roofShare, speedRatio } from '../suite/figures.ts';
import type { Figure, Measurement, ProfileLine } from '../suite/measurement.ts';
import { type Entry, race } from '../suite/race.ts';
import { median } from '../suite/statistics.ts';
import { modelFolder } from '../suite/weights.ts';

export const fullStep: Measurement = {
  name: 'full-step',
  about: 'a step of full fine-tuning on 512 tokens in f32, by the peak of the vector units',
  async measure(context) {
    const model = await modelFolder(context);
    const lane = krait(context, { model, dtype: 'f32', work: 'train', tokens: 512, hasRoofs: true });
    const entries = await race(
      context,
      { train: lane },
      { rounds: context.isQuick ? 2 : context.rounds, after: { train: ['profile'] } },
    );
    const subject = { row: 'full-step', what: '1 x 512 tokens, f32', least: 0.62 } as const;
    const profiles = { 'full fine-tuning, 1 x 512 tokens, f32': profileOf(entries.train) };
    return { figures: [roofShare(subject, entries.train, 'flopsPerSecond')], profiles, raw: entries };
  },
};

/** Memory of LoRA over that of full fine-tuning, by one of two counters. */
function memoryRatio(
  what: string,
  request: string,
  key: string,
  { lora, full }: Record<'lora' | 'full', Entry>,
): Figure {
  return figure({ row: 'lora', what, unit: '%', most: 0.3 }, () => {
    const [ours, theirs] = [lora, full].map((entry) => lastNumber(entry, request, key));
    return { value: ours / theirs, from: `LoRA ${formatBytes(ours)}, full ${formatBytes(theirs)}` };
  });
}

export const lora: Measurement = {
  name: 'lora',
  about: 'LoRA in bf16 against full fine-tuning in f32: speed and memory',
  async measure(context) {
    const model = await modelFolder(context);
    const figures: Figure[] = [];
    const profiles: Record<string, ProfileLine[]> = {};
    const raw: Record<string, unknown> = {};
    for (const batch of context.isQuick ? [1] : [1, 4]) {
      const size = `${batch} x 512 tokens`;
      context.say(size);
      const common = { model, tokens: 512, batch };
      const entries = await race(
        context,
        {
          lora: krait(context, { ...common, dtype: 'bf16', work: 'lora' }),
          full: krait(context, { ...common, dtype: 'f32', work: 'train' }),
        },
        {
          rounds: context.isQuick ? 2 : batch === 1 ? context.rounds : 3,
          after: { lora: ['memory', ...(batch === 1 ? ['profile'] : [])], full: ['memory'] },
        },
      );
      const sides = { over: entries.lora, under: entries.full, names: ['LoRA', 'full'] } as const;
      figures.push(speedRatio({ row: 'lora', what: `tokens per second, ${size}`, least: 2.2 }, sides));
      figures.push(memoryRatio(`device memory, ${size}`, 'memory', 'peakBytes', entries));
      figures.push(memoryRatio(`resident memory of the process, ${size}`, 'memory', 'peakRss', entries));
      if (batch === 1) profiles['LoRA, 1 x 512 tokens, bf16'] = profileOf(entries.lora);
      raw[size] = entries;
    }
    return { figures, profiles, raw };
  },
};

/** A kernel's line in each profile that was taken. @throws Error with the entrant's problem */
function linesOf(entry: Entry, kernel: string): ProfileLine[] {
  if ('problem' in entry) throw new Error(entry.problem);
  return entry.rounds.map(({ kernels }) => {
    const line = (kernels as ProfileLine[]).find((row) => row.kernel === kernel);
    if (!line) throw new Error(`no ${kernel} in the profile`);
    return line;
  });
}

/** A scan's share of its roofline, by the costs of the kernel table, and beside it with cheap transcendentals. */
export const scanShare = (what: string, entry: Entry, kernel: string): Figure =>
  figure({ row: 'scan', what, unit: '%', least: 0.5 }, () => {
    const lines = linesOf(entry, kernel);
    const plain = median(lines.map(({ plainShare }) => plainShare!));
    const counted = `e^x as ${EXP_FLOPS} operations, softplus as ${SOFTPLUS_FLOPS}, whatever instructions a variant takes`;
    return {
      value: median(lines.map(({ roofShare: share }) => share)),
      from: `the kernel table counts ${counted}; ${(100 * plain).toFixed(1)} % with each as one`,
    };
  });

export const scan: Measurement = {
  name: 'scan',
  about: 'the selective scan, forward and backward, in a profiled step of training',
  async measure(context) {
    const model = await modelFolder(context);
    const tokens = 512;
    const lane = krait(context, { model, dtype: 'f32', work: 'train', tokens });
    const entries = await race(context, { train: lane }, { rounds: context.isQuick ? 1 : 3, request: 'profile' });
    const figures = [
      scanShare('forward, f32', entries.train, 'selective_scan'),
      scanShare('backward, f32', entries.train, 'selective_scan_bwd'),
    ];
    return { figures, raw: entries };
  },
};

export const threads: Measurement = {
  name: 'threads',
  about: 'two threads against one',
  async measure(context) {
    const model = await modelFolder(context);
    const figures: Figure[] = [];
    const raw: Record<string, unknown> = {};
    for (const [work, dtype] of [
      ['prefill', 'f32'],
      ['prefill', 'bf16'],
      ['train', 'f32'],
    ] as const) {
      const what = `${work === 'train' ? 'training' : work} of 512 tokens, ${dtype}`;
      context.say(what);
      const options = { model, dtype, work, tokens: 512 } as const;
      const entries = await race(
        context,
        { two: krait({ threads: 2 }, options), one: krait({ threads: 1 }, options) },
        { rounds: context.isQuick ? 2 : context.rounds },
      );
      const sides = { over: entries.two, under: entries.one, names: ['two', 'one'] } as const;
      figures.push(speedRatio({ row: 'threads', what, least: 1.8 }, sides));
      raw[what] = entries;
    }
    return { figures, raw };
  },
};
