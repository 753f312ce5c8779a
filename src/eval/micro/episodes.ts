/**
 * The instruction set of the micro preset: episodes, each a few solved questions and one more, in the very form in which
 * the micro tasks are asked. Every answer in an episode is learned. The label words of an episode are drawn by chance
 * from words that no test uses, and the rule of a choice among words is drawn too: what can be learned is to do as the
 * examples before do, not what a label means.
 */
import { HostRandom } from '../../core/index.ts';
import type { MicroItems, TwoClasses } from './items.ts';
import { differentWords, LOOKUP_KEYS, oneOf } from './rows.ts';
import { MAIL_WORDS, MICRO_DELIMITER, MICRO_PROMPTS } from './tasks.ts';

/** Prompts with their answers, without the space before these, in the order in which they are read. */
export type MicroEpisode = readonly { readonly prompt: string; readonly answer: string }[];

/** Label words of tuning; each is one token of the carried models. */
export const TUNING_LABELS: readonly string[] = (
  'river north red blue king gold horse glass paper silver green black south fire water earth house star tree wood ' +
  'bird dog hand eye six yellow corn oil rock sea root flower'
).split(' ');

type Make = (items: MicroItems, count: number, random: HostRandom) => MicroEpisode;

const repeated = <T>(count: number, make: () => T): T[] => Array.from({ length: count }, make);

function labelling(
  classes: TwoClasses,
  labels: readonly string[],
  count: number,
  random: HostRandom,
  prompt: (text: string) => string,
): MicroEpisode {
  return repeated(count, () => {
    const label = random.integer(2);
    return { prompt: prompt(oneOf(classes[label], random)), answer: labels[label] };
  });
}

const byNovelWords =
  (kind: 'source' | 'definition'): Make =>
  (items, count, random) =>
    labelling(items[kind], differentWords(TUNING_LABELS, 2, random), count, random, MICRO_PROMPTS.label);

const picking: Make = ({ words }, count, random) => {
  const place = random.integer(3);
  return repeated(count, () => {
    const three = differentWords(words, 3, random);
    return { prompt: MICRO_PROMPTS.pick(three), answer: three[place] };
  });
};

/** A few words with their values, each asked more than once: from the second time on the answer stands before. */
const lookingUp: Make = ({ words }, count, random) => {
  const keys = differentWords(words, 3, random).filter((word) => !LOOKUP_KEYS.includes(word));
  const values = differentWords(TUNING_LABELS, keys.length, random);
  return repeated(count, () => {
    const which = random.integer(keys.length);
    return { prompt: MICRO_PROMPTS.lookup(keys[which]), answer: values[which] };
  });
};

const copying: Make = ({ words }, count, random) =>
  repeated(count, () => {
    const word = oneOf(words, random);
    return { prompt: MICRO_PROMPTS.copy(word), answer: word };
  });

const sorting: Make = ({ mail }, count, random) => labelling(mail, MAIL_WORDS, count, random, MICRO_PROMPTS.mail);

/** Each with the most questions that an episode of it has: six fill a row of 256 tokens, of mails two do. */
const KINDS: readonly { readonly make: Make; readonly most: number }[] = [
  { make: byNovelWords('source'), most: 6 },
  { make: byNovelWords('definition'), most: 6 },
  { make: lookingUp, most: 12 },
  { make: picking, most: 6 },
  { make: lookingUp, most: 12 },
  { make: copying, most: 6 },
  { make: sorting, most: 2 },
];

/** `count` episodes, their kinds taking turns; the same for the same seed. */
export function microEpisodes(items: MicroItems, count: number, seed = 0): MicroEpisode[] {
  const random = new HostRandom(seed, 100);
  return Array.from({ length: count }, (_, i) => {
    const { make, most } = KINDS[i % KINDS.length];
    return make(items, most === 2 ? 1 + random.integer(2) : most, random);
  });
}

/** Text before an episode's answers, in turn: each prompt with what stands between it and the answer before. */
export const episodePieces = (episode: MicroEpisode): { context: string; answer: string }[] =>
  episode.map(({ prompt, answer }, i) => ({
    context: (i > 0 ? MICRO_DELIMITER : '') + prompt,
    answer: ` ${answer}`,
  }));
