/** Questions with several answers, of which the most probable one is taken. */
import { z } from 'zod';
import { capitalize, trim, trimStart } from '../python/text.ts';
import { defineTask, type FewShot, type Task } from './task.ts';

const ACC = ['acc'] as const;
const ACC_AND_NORM = ['acc', 'acc_norm'] as const;

/** Examples from the training split, by chance. */
const TRAIN: FewShot = { split: 'train', order: 'random', excludesSelf: false };
/** The same of tasks without a test split, where lm-eval compares each example with the question. */
const TRAIN_WITHOUT_SELF: FewShot = { ...TRAIN, excludesSelf: true };

const label = z.union([z.int(), z.string().regex(/^\d+$/).transform(Number)]);
/** Choices with letters or digits as names. */
const lettered = z.object({ text: z.array(z.string()), label: z.array(z.string()) });

/** WikiHow's marks are taken out of HellaSwag's texts. */
export function cleanHellaswag(text: string): string {
  return trim(text)
    .replaceAll(' [title]', '. ')
    .replace(/\[[^\n]*?\]/g, '')
    .replaceAll('  ', ' ');
}

export const hellaswag = defineTask({
  name: 'hellaswag',
  summary: 'how a described scene goes on',
  version: 1,
  output: 'multiple_choice',
  data: {
    id: 'Rowan/hellaswag',
    config: 'default',
    folder: 'hellaswag',
    stems: (split) => [`hellaswag_${split === 'validation' ? 'val' : split}`],
  },
  split: 'validation',
  fewShot: TRAIN_WITHOUT_SELF,
  metrics: ACC_AND_NORM,
  row: z.object({
    activity_label: z.string(),
    ctx_a: z.string(),
    ctx_b: z.string(),
    endings: z.array(z.string()),
    label,
  }),
  question: ({ activity_label, ctx_a, ctx_b, endings, label: gold }) => ({
    kind: 'choice',
    prompt: cleanHellaswag(`${activity_label}: ${ctx_a} ${capitalize(ctx_b)}`),
    choices: endings.map(cleanHellaswag),
    gold,
  }),
});

export const piqa = defineTask({
  name: 'piqa',
  summary: 'which of two ways reaches a goal with everyday things',
  version: 1,
  output: 'multiple_choice',
  data: { id: 'baber/piqa', config: 'default', folder: 'piqa' },
  split: 'validation',
  fewShot: TRAIN_WITHOUT_SELF,
  metrics: ACC_AND_NORM,
  row: z.object({ goal: z.string(), sol1: z.string(), sol2: z.string(), label }),
  question: ({ goal, sol1, sol2, label: gold }) => ({
    kind: 'choice',
    prompt: `Question: ${goal}\nAnswer:`,
    choices: [sol1, sol2],
    gold,
  }),
});

const arc = (name: string, config: string, summary: string): Task =>
  defineTask({
    name,
    summary,
    version: 1,
    output: 'multiple_choice',
    data: { id: 'allenai/ai2_arc', config, folder: name },
    split: 'test',
    fewShot: TRAIN,
    metrics: ACC_AND_NORM,
    row: z.object({ question: z.string(), choices: lettered, answerKey: z.string() }),
    question: ({ question, choices, answerKey }) => ({
      kind: 'choice',
      prompt: `Question: ${question}\nAnswer:`,
      choices: choices.text,
      gold: choices.label.indexOf(answerKey),
    }),
  });

export const arcEasy = arc('arc_easy', 'ARC-Easy', 'science questions of school tests');
export const arcChallenge = arc('arc_challenge', 'ARC-Challenge', 'those that look-ups and co-occurrence fail on');

export const winogrande = defineTask({
  name: 'winogrande',
  summary: 'which of two words a pronoun stands for, by what comes after it',
  version: 1,
  output: 'multiple_choice',
  data: {
    id: 'allenai/winogrande',
    config: 'winogrande_xl',
    folder: 'winogrande',
    stems: (split) => (split === 'train' ? ['train_xl'] : ['dev']),
  },
  split: 'validation',
  fewShot: TRAIN_WITHOUT_SELF,
  metrics: ACC,
  row: z.object({
    sentence: z.string().includes('_', { error: 'expected a sentence with a blank, _' }),
    option1: z.string(),
    option2: z.string(),
    answer: z.enum(['1', '2']),
  }),
  question({ sentence, option1, option2, answer }) {
    const blank = sentence.indexOf('_');
    return {
      kind: 'filled',
      prompts: [option1, option2].map((option) => sentence.slice(0, blank) + option),
      rest: trim(sentence.slice(blank + 1)),
      gold: Number(answer) - 1,
    };
  },
});

export const openbookqa = defineTask({
  name: 'openbookqa',
  summary: 'elementary science that needs a fact and common knowledge',
  version: 1,
  output: 'multiple_choice',
  data: { id: 'allenai/openbookqa', config: 'main', folder: 'openbookqa' },
  split: 'test',
  fewShot: TRAIN,
  metrics: ACC_AND_NORM,
  row: z.object({ question_stem: z.string(), choices: lettered, answerKey: z.string() }),
  question: ({ question_stem, choices, answerKey }) => ({
    kind: 'choice',
    prompt: question_stem,
    choices: choices.text,
    gold: choices.label.indexOf(trimStart(answerKey)),
  }),
});

export const boolq = defineTask({
  name: 'boolq',
  summary: 'yes or no, by a passage',
  version: 2,
  output: 'multiple_choice',
  data: {
    id: 'aps/super_glue',
    config: 'boolq',
    folder: 'boolq',
    stems: (split) => (split === 'validation' ? ['val'] : []),
  },
  split: 'validation',
  fewShot: TRAIN_WITHOUT_SELF,
  metrics: ACC,
  row: z.object({ passage: z.string(), question: z.string(), label: z.union([label, z.boolean().transform(Number)]) }),
  question: ({ passage, question, label: gold }) => ({
    kind: 'choice',
    prompt: `${passage}\nQuestion: ${question}?\nAnswer:`,
    choices: ['no', 'yes'],
    gold,
  }),
});

export const sciq = defineTask({
  name: 'sciq',
  summary: 'science questions with a passage that helps',
  version: 1,
  output: 'multiple_choice',
  data: { id: 'allenai/sciq', config: 'default', folder: 'sciq' },
  split: 'test',
  fewShot: TRAIN,
  metrics: ACC_AND_NORM,
  row: z.object({
    support: z.string(),
    question: z.string(),
    distractor1: z.string(),
    distractor2: z.string(),
    distractor3: z.string(),
    correct_answer: z.string(),
  }),
  question: ({ support, question, distractor1, distractor2, distractor3, correct_answer }) => ({
    kind: 'choice',
    prompt: `${trimStart(support)}\nQuestion: ${question}\nAnswer:`,
    choices: [distractor1, distractor2, distractor3, correct_answer],
    gold: 3,
  }),
});
