/**
 * Small tasks that tell whether a model learns from the examples in its context, for models of a few million parameters.
 *
 * | task                  | asked                            | answer                       | chance | told by          |
 * |-----------------------|----------------------------------|------------------------------|--------|------------------|
 * | micro_source_a, _b    | a sentence                       | ` iron` or ` leaf`           | 1/2    | the examples     |
 * | micro_definition_a, _b| a definition                     | ` table` or ` wind`          | 1/2    | the examples     |
 * | micro_first, _last    | three words                      | one of them                  | 1/3    | the examples     |
 * | micro_lookup          | one of four words                | one of four label words      | 1/4    | the examples     |
 * | micro_copy            | a word                           | it, among four               | 1/4    | form of question |
 * | micro_spam            | a mail                           | ` good` or ` spam`           | 1/2    | the words too    |
 *
 * Label words of the first two have no meaning: which is which is turned round from `_a` to `_b`, over the very same
 * questions. Without examples, or without learning from them, the two accuracies of such a pair sum to 1; so do those of
 * first and last to at most 1. A look-up has its answer in an example of the very same word, if that was drawn. Classes are
 * as frequent as one another; no label word or key is used in tuning, but for those of spam, which mean what they say.
 */

import { defineTask, type Task } from 'krait/eval';
import { z } from 'zod';

/** What a question looks like; tuning and tests share it. */
export const MICRO_PROMPTS = {
  label: (text: string): string => `${text} =`,
  pick: (words: readonly string[]): string => `${words.join(', ')}:`,
  lookup: (word: string): string => `${word} is`,
  copy: (word: string): string => `Word: ${word}\nCopy:`,
  mail: (text: string): string => `Mail: ${text}\nThis mail is:`,
} as const;

/** Between examples. */
export const MICRO_DELIMITER = '\n\n';

/** Label words of wanted mails and of others: those of the spam study. */
export const MAIL_WORDS = ['good', 'spam'] as const;

const row = z.object({
  /** The question as a model reads it. */
  prompt: z.string(),
  choices: z.array(z.string()).min(2),
  /** Index of the right choice. */
  answer: z.int(),
});
export type MicroRow = z.infer<typeof row>;

export interface MicroTask extends Task {
  /** Accuracy of a guess. */
  readonly chance: number;
}

const micro = (name: string, summary: string, chance: number): MicroTask => ({
  ...defineTask({
    name,
    summary,
    version: 1,
    output: 'multiple_choice',
    data: { id: null, config: 'default', folder: name },
    split: 'test',
    fewShot: { split: 'shots', order: 'random', excludesSelf: false },
    fewShotDelimiter: MICRO_DELIMITER,
    metrics: ['acc'],
    row,
    question: ({ prompt, choices, answer }) => ({ kind: 'choice', prompt, choices, gold: answer }),
  }),
  chance,
});

/** Label words of the tests, in pairs; the second task of a name turns them round. */
export const TEST_LABELS = { source: ['iron', 'leaf'], definition: ['table', 'wind'] } as const;
/** Keys and values of the look-up; none is an answer, a key or a single word of an episode. */
export const LOOKUP_KEYS: readonly string[] = ['bread', 'winter', 'bridge', 'moon'];
export const TEST_VALUES: readonly string[] = [...TEST_LABELS.source, ...TEST_LABELS.definition];

export const MICRO_TASKS: readonly MicroTask[] = [
  micro('micro_source_a', 'speech or novel, by labels that only the examples explain', 1 / 2),
  micro('micro_source_b', 'the same with the labels turned round', 1 / 2),
  micro('micro_definition_a', 'noun or verb, by labels that only the examples explain', 1 / 2),
  micro('micro_definition_b', 'the same with the labels turned round', 1 / 2),
  micro('micro_first', 'the first of three words, as the examples have it', 1 / 3),
  micro('micro_last', 'the last of three words, as the examples have it', 1 / 3),
  micro('micro_lookup', 'the value that an example gave to the same word', 1 / 4),
  micro('micro_copy', 'the word that stands there, among four', 1 / 4),
  micro('micro_spam', 'spam or not, by words that mean it', 1 / 2),
];
