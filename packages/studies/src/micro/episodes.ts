/**
 * What the micro preset learns from: episodes, each a few solved questions and one more, asked as the micro tasks ask. What
 * is to be learned is to do as the examples before do, not what a label means: label words are drawn anew for every episode
 * from hundreds that no test uses, and so are the classes that they tell apart, keys and their values, and the place of a
 * word that is to be picked. An answer is learned where what stands before it tells it; of the others only the frequency
 * could be learned.
 *
 * Two sets: for meta-training, in which a model learns to learn from examples (MetaICL, Min et al. 2022, arXiv 2110.15943),
 * tasks that examples alone tell; and instructions, among which are copying and spam too.
 */
import { HostRandom } from 'krait/core';
import type { MicroItems } from './items.ts';
import { differentWords, oneOf } from './rows.ts';
import { MAIL_WORDS, MICRO_DELIMITER, MICRO_PROMPTS } from './tasks.ts';

/** A prompt and its answer, without the space before that. */
export interface EpisodeQuestion {
  readonly prompt: string;
  readonly answer: string;
  /** Whether the prompt, or what stands before it in the episode, tells the answer. */
  readonly isTold: boolean;
}
/** In the order in which they are read. */
export type MicroEpisode = readonly EpisodeQuestion[];

type Untold = Omit<EpisodeQuestion, 'isTold'>;
type Make = (items: MicroItems, random: HostRandom) => MicroEpisode;

const repeated = <T>(count: number, make: () => T): T[] => Array.from({ length: count }, make);

/** Answers are told where the same answer, or the same prompt, has been read before. */
function toldBy(key: keyof Untold, questions: readonly Untold[]): MicroEpisode {
  const seen = new Set<string>();
  return questions.map((question) => {
    const isTold = seen.has(question[key]);
    seen.add(question[key]);
    return { ...question, isTold };
  });
}

const told = (questions: readonly Untold[]): MicroEpisode =>
  questions.map((question) => ({ ...question, isTold: true }));

/** Six texts of two classes, by label words. */
function labelling(classes: readonly (readonly string[])[], { labels }: MicroItems, random: HostRandom): MicroEpisode {
  const words = differentWords(labels, 2, random);
  const questions = repeated(6, () => {
    const label = random.integer(2);
    return { prompt: MICRO_PROMPTS.label(oneOf(classes[label], random)), answer: words[label] };
  });
  return toldBy('answer', questions);
}

/** What the tests ask for: speeches and a novel, nouns and verbs. */
const bySource: Make = (items, random) => labelling(items.source, items, random);
const byDefinition: Make = (items, random) => labelling(items.definition, items, random);

/** Any two of these four classes and single words. */
const byAnything: Make = (items, random) => {
  const { source, definition, labels } = items;
  return labelling(random.shuffle([...source, ...definition, labels]).slice(0, 2), items, random);
};

/** Two to four words with their values, each asked more than once: from the second time on the answer stands before. */
const lookingUp: Make = ({ labels }, random) => {
  const count = 2 + random.integer(3);
  const words = differentWords(labels, 2 * count, random);
  const questions = repeated(16, () => {
    const which = random.integer(count);
    return { prompt: MICRO_PROMPTS.lookup(words[which]), answer: words[count + which] };
  });
  return toldBy('prompt', questions);
};

/** The first, the second or the last of three words, rare ones or frequent. */
const picking: Make = ({ words, labels }, random) => {
  const place = random.integer(3);
  const drawn = random.integer(2) === 0 ? words : labels;
  const threes = repeated(6, () => differentWords(drawn, 3, random));
  return threes.map((three, i) => ({ prompt: MICRO_PROMPTS.pick(three), answer: three[place], isTold: i > 0 }));
};

const copying: Make = ({ words }, random) => {
  const copied = repeated(6, () => oneOf(words, random));
  return told(copied.map((word) => ({ prompt: MICRO_PROMPTS.copy(word), answer: word })));
};

/** Mails are long: two at most fit in a row of 256 tokens. */
const sorting: Make = ({ mail }, random) => {
  const labels = repeated(1 + random.integer(2), () => random.integer(2));
  return told(
    labels.map((label) => ({ prompt: MICRO_PROMPTS.mail(oneOf(mail[label], random)), answer: MAIL_WORDS[label] })),
  );
};

/** In turn. */
const META_KINDS: readonly Make[] = [
  lookingUp,
  byAnything,
  picking,
  byDefinition,
  lookingUp,
  picking,
  bySource,
  lookingUp,
];
const INSTRUCTION_KINDS: readonly Make[] = [
  bySource,
  lookingUp,
  picking,
  copying,
  byDefinition,
  lookingUp,
  picking,
  sorting,
];

const inTurn = (kinds: readonly Make[], items: MicroItems, count: number, random: HostRandom): MicroEpisode[] =>
  Array.from({ length: count }, (_, i) => kinds[i % kinds.length](items, random));

/** `count` episodes of instructions, their kinds taking turns; the same for the same seed. */
export const microEpisodes = (items: MicroItems, count: number, seed = 0): MicroEpisode[] =>
  inTurn(INSTRUCTION_KINDS, items, count, new HostRandom(seed, 100));

/** `count` episodes for meta-training, their kinds taking turns; the same for the same seed. */
export const metaEpisodes = (items: MicroItems, count: number, seed = 0): MicroEpisode[] =>
  inTurn(META_KINDS, items, count, new HostRandom(seed, 101));

/** Text before an episode's answers, in turn: each prompt with what stands between it and the answer before. */
export const episodePieces = (episode: MicroEpisode): { context: string; answer: string; isTold: boolean }[] =>
  episode.map(({ prompt, answer, isTold }, i) => ({
    context: (i > 0 ? MICRO_DELIMITER : '') + prompt,
    answer: ` ${answer}`,
    isTold,
  }));
