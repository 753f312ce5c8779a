/** Questions and examples of the micro tasks, drawn from the material; the same for the same seed. */
import { HostRandom, UsageError } from 'krait/core';
import { type FileSystem, formatJsonl, joinPath } from 'krait/io';
import type { MicroItems, MicroMaterial, TwoClasses } from './items.ts';
import {
  LOOKUP_KEYS,
  MAIL_WORDS,
  MICRO_PROMPTS,
  MICRO_TASKS,
  type MicroRow,
  TEST_LABELS,
  TEST_VALUES,
} from './tasks.ts';

/** One of several things. */
export const oneOf = <T>(items: readonly T[], random: HostRandom): T => items[random.integer(items.length)];

/** `count` different words. */
export function differentWords(words: readonly string[], count: number, random: HostRandom): string[] {
  const chosen = new Set<string>();
  while (chosen.size < count) chosen.add(oneOf(words, random));
  return [...chosen];
}

/** Draws the same number of each class, in random order, each text once. @throws UsageError if there are too few */
function balanced(classes: TwoClasses, count: number, random: HostRandom): { text: string; label: number }[] {
  const half = Math.ceil(count / 2);
  const fewest = Math.min(...classes.map(({ length }) => length));
  if (half > fewest) throw new UsageError(`micro tasks: ${count} questions, there are ${2 * fewest}; ask for fewer`);
  const chosen = classes.flatMap((texts, label) =>
    random
      .shuffle([...texts])
      .slice(0, half)
      .map((text) => ({ text, label })),
  );
  return random.shuffle(chosen).slice(0, 2 * Math.floor(count / 2));
}

function labelled(
  classes: TwoClasses,
  labels: readonly string[],
  count: number,
  random: HostRandom,
  prompt: (text: string) => string = MICRO_PROMPTS.label,
): MicroRow[] {
  return balanced(classes, count, random).map(({ text, label }) => ({
    prompt: prompt(text),
    choices: [...labels],
    answer: label,
  }));
}

function picked(words: readonly string[], place: number, count: number, random: HostRandom): MicroRow[] {
  return Array.from({ length: count }, () => {
    const three = differentWords(words, 3, random);
    const choices = random.shuffle([...three]);
    return { prompt: MICRO_PROMPTS.pick(three), choices, answer: choices.indexOf(three[place]) };
  });
}

/**
 * Look-ups among four words, each with a value of its own, all equally often. The words and their values are the same
 * for every split, whose material has no words in common.
 */
function lookedUp(count: number, random: HostRandom): MicroRow[] {
  const rows = Array.from({ length: count }, (_, i): MicroRow => {
    const answer = i % TEST_VALUES.length;
    return { prompt: MICRO_PROMPTS.lookup(LOOKUP_KEYS[answer]), choices: [...TEST_VALUES], answer };
  });
  return random.shuffle(rows);
}

function copied(words: readonly string[], count: number, random: HostRandom): MicroRow[] {
  return Array.from({ length: count }, () => {
    const choices = differentWords(words, 4, random);
    const answer = random.integer(4);
    return { prompt: MICRO_PROMPTS.copy(choices[answer]), choices, answer };
  });
}

type Draw = (items: MicroItems, count: number, random: HostRandom) => MicroRow[];

/** By name, without `_a` and `_b`: these differ in the order of the labels, not in the questions. */
const DRAWS: Readonly<Record<string, Draw>> = {
  source: ({ source }, count, random) => labelled(source, TEST_LABELS.source, count, random),
  definition: ({ definition }, count, random) => labelled(definition, TEST_LABELS.definition, count, random),
  first: ({ words }, count, random) => picked(words, 0, count, random),
  last: ({ words }, count, random) => picked(words, 2, count, random),
  lookup: (_, count, random) => lookedUp(count, random),
  copy: ({ words }, count, random) => copied(words, count, random),
  spam: ({ mail }, count, random) => labelled(mail, MAIL_WORDS, count, random, MICRO_PROMPTS.mail),
};
/** Numbers of the draws' streams; first and last ask about the same words. */
const STREAMS = ['source', 'definition', 'first', 'copy', 'spam', 'lookup'];

/** The other label is right: the texts keep their classes, the classes change their words. */
const turned = (rows: readonly MicroRow[]): MicroRow[] => rows.map((row) => ({ ...row, answer: 1 - row.answer }));

/** Rows of one split of a micro task. @throws UsageError for more questions than there is material */
export function microRows(items: MicroItems, name: string, count: number, seed = 0): MicroRow[] {
  const [, kind, variant] = /^micro_([a-z]+?)(?:_([ab]))?$/.exec(name) ?? [];
  const draw = DRAWS[kind];
  if (!draw) throw new UsageError(`${JSON.stringify(name)} is no micro task`);
  const stream = STREAMS.indexOf(kind === 'last' ? 'first' : kind);
  const rows = draw(items, count, new HostRandom(seed, stream));
  return variant === 'b' ? turned(rows) : rows;
}

/** Rows of examples of a task, enough to draw from. */
const SHOT_ROWS = 100;

/** Writes the tests of all micro tasks as `FOLDER/TASK/test.jsonl` and `shots.jsonl`, for `--data-dir FOLDER`. */
export async function writeMicroTasks(
  material: MicroMaterial,
  files: Pick<FileSystem, 'writeAtomic'>,
  folder: string,
  questions: number,
): Promise<void> {
  for (const { name } of MICRO_TASKS) {
    const write = (split: 'test' | 'shots', count: number) =>
      files.writeAtomic(joinPath(folder, name, `${split}.jsonl`), [
        ...formatJsonl(microRows(material[split], name, count)),
      ]);
    await write('test', questions);
    await write('shots', SHOT_ROWS);
  }
}
