/**
 * The raw material of the micro tasks, from npm packages: sentences of two sources, definitions of two parts of speech,
 * words, mails of two kinds. What is asked and shown in tests comes from documents that `models/base` and its twin were
 * not trained on; what is tuned and validated on from those that they were.
 */
import { HostRandom } from 'krait/core';
import { type CorpusDocument, type DataSource, excerptMail, loadCorpus, loadSpamCorpus } from 'krait/data';
import { LOOKUP_KEYS, MAIL_WORDS, TEST_VALUES } from './tasks.ts';

/** `test` is asked, `shots` are the examples in tests; the others are for meta-training and tuning. */
export const MICRO_PARTS = ['test', 'shots', 'tune', 'validation'] as const;
export type MicroPart = (typeof MICRO_PARTS)[number];

/** Texts of two classes. */
export type TwoClasses = readonly [readonly string[], readonly string[]];

export interface MicroItems {
  /** Sentences of speeches, and of a novel. */
  readonly source: TwoClasses;
  /** Definitions of nouns, and of verbs. */
  readonly definition: TwoClasses;
  /** Mails that are wanted, and that are not. */
  readonly mail: TwoClasses;
  /** Words of four to six letters. */
  readonly words: readonly string[];
  /** Words that stand for a class or a value, whatever they mean; frequent ones, so that most are one token. No test asks about one. */
  readonly labels: readonly string[];
}

export type MicroMaterial = Readonly<Record<MicroPart, MicroItems>>;

const SENTENCE = { least: 35, most: 130 };
const DEFINITION = { least: 15, most: 70 };
/** Characters of a mail that are read, of its beginning and of its end: some 80 tokens. */
const EXCERPT = { head: 100, tail: 40 };
/** Items of a class that a part has at most. */
const MOST_ITEMS = 4000;

const isInside = (text: string, { least, most }: { least: number; most: number }): boolean =>
  text.length >= least && text.length <= most;

/** Sentences of prose and parts of them between semicolons, neither very short nor very long. */
export function sentencesOf(text: string): string[] {
  const parts = text.replace(/\s+/g, ' ').split(/(?<=[.!?;])\s+/);
  return parts
    .map((part) => part.replace(/;$/, ''))
    .filter((part) => isInside(part, SENTENCE) && /^\w[^"“”[\]]*$/.test(part));
}

/** The definition of a line `word, word (noun): definition; "example"`, if it is of that part of speech. */
export function definitionOf(line: string, part: 'noun' | 'verb'): string | null {
  const [, kind, gloss] = /^[^(]+ \((\w+)\): ([^;"]+)/.exec(line) ?? [];
  const text = gloss?.trim() ?? '';
  return kind === part && isInside(text, DEFINITION) && !/[():]/.test(text) ? text : null;
}

/** The single words that a line defines, but for those that have a part in tests. */
const wordsOf = (line: string): string[] =>
  line
    .replace(/ \(\w+\): .*/, '')
    .split(', ')
    .filter((word) => /^[a-z]{4,6}$/.test(word) && ![...LOOKUP_KEYS, ...TEST_VALUES].includes(word));

/** Label words that tuning and validation have, together. */
const LABEL_WORDS = 1500;
/** One in so many is validation's. */
const VALIDATION_LABELS = 6;

/** The most frequent words of three to eight letters but for some. */
function frequentWords(texts: readonly string[], without: readonly string[]): string[] {
  const counts = new Map<string, number>();
  for (const word of texts.flatMap((text) => text.match(/(?<![\w’'-])[a-z]{3,8}(?![\w’'-])/g) ?? [])) {
    counts.set(word, (counts.get(word) ?? 0) + 1);
  }
  for (const word of without) counts.delete(word);
  const ranked = [...counts].sort(([a, m], [b, n]) => n - m || (a < b ? -1 : 1));
  return ranked.slice(0, LABEL_WORDS).map(([word]) => word);
}

const distinct = (items: readonly string[]): string[] => [...new Set(items)];

/** Items in an order of their own, the same for the same seed. */
const shuffled = (items: readonly string[], stream: number): string[] =>
  new HostRandom(0, stream).shuffle(distinct(items)).slice(0, 2 * MOST_ITEMS);

/** Cuts items in two that have none in common: the first part gets `share` of them. */
function cut(items: readonly string[], share: number): [string[], string[]] {
  const at = Math.floor(items.length * share);
  return [items.slice(0, at), items.slice(at)];
}

/** The four parts of each item. Held-out documents give `test` and `shots`, the others `tune` and `validation`. */
function parted(
  documents: readonly CorpusDocument[],
  itemsOf: (text: string) => string[],
  stream: number,
): Record<MicroPart, string[]> {
  const of = (split: CorpusDocument['split']) =>
    documents.filter((document) => document.split === split).flatMap(({ text }) => itemsOf(text));
  const held = new Set(of('held-out'));
  const [test, shots] = cut(shuffled([...held], stream), 0.5);
  const rest = of('train').filter((item) => !held.has(item));
  const [tune, validation] = cut(shuffled(rest, stream + 1), 0.85);
  return { test, shots, tune, validation };
}

const mailTexts = (records: readonly Parameters<typeof excerptMail>[0][]): string[] =>
  distinct(records.map((record) => excerptMail(record, EXCERPT)));

/**
 * Everything that micro tasks are made of; takes some seconds.
 * @throws EnvironmentError if a package is not installed
 */
export async function loadMicroMaterial(source: DataSource): Promise<MicroMaterial> {
  const speeches = parted(await loadCorpus(source, 'sotu'), sentencesOf, 1);
  const chapters = parted(await loadCorpus(source, 'moby-dick'), sentencesOf, 3);
  const glosses = await loadCorpus(source, 'wordnet-glosses');
  const lines = (pick: (line: string) => string[]) => (text: string) => text.split('\n').flatMap(pick);
  const definitions = (part: 'noun' | 'verb', stream: number) =>
    parted(
      glosses,
      lines((line) => [definitionOf(line, part)].filter((text) => text !== null)),
      stream,
    );
  const [nouns, verbs] = [definitions('noun', 5), definitions('verb', 7)];
  const words = parted(glosses, lines(wordsOf), 9);
  const { splits } = await loadSpamCorpus(source);
  // Different mails may begin and end alike: an excerpt that the tests have is in no other part.
  const tested = new Set(mailTexts(splits.test));
  const mails = (label: 'ham' | 'spam'): Record<MicroPart, string[]> => {
    const of = (split: keyof typeof splits) => mailTexts(splits[split].filter((record) => record.label === label));
    const tune = of('train').filter((text) => !tested.has(text));
    const learned = new Set(tune);
    const validation = of('validation').filter((text) => !tested.has(text) && !learned.has(text));
    const [test, shots] = cut(of('test'), 0.5);
    return { test, shots, tune, validation };
  };
  const [ham, spam] = [mails('ham'), mails('spam')];
  const read = [speeches, chapters, nouns, verbs].flatMap(({ tune, validation }) => [...tune, ...validation]);
  const ofTests = [...TEST_VALUES, ...MAIL_WORDS, ...LOOKUP_KEYS, ...words.test, ...words.shots];
  const frequent = frequentWords(read, ofTests);
  const labels: Record<MicroPart, readonly string[]> = {
    test: TEST_VALUES,
    shots: TEST_VALUES,
    tune: frequent.filter((_, rank) => rank % VALIDATION_LABELS !== 0),
    validation: frequent.filter((_, rank) => rank % VALIDATION_LABELS === 0),
  };
  const itemsOf = (part: MicroPart): MicroItems => ({
    source: [speeches[part], chapters[part]],
    definition: [nouns[part], verbs[part]],
    mail: [ham[part], spam[part]],
    words: words[part],
    labels: labels[part],
  });
  return {
    test: itemsOf('test'),
    shots: itemsOf('shots'),
    tune: itemsOf('tune'),
    validation: itemsOf('validation'),
  };
}
