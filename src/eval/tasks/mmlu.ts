/** MMLU: 57 subjects in four groups, and the total. Examples are the first rows of the split `dev`. */
import { z } from 'zod';
import { trim } from '../python/text.ts';
import type { TaskGroup } from './group.ts';
import { defineTask, type Task } from './task.ts';

const SUBJECTS = {
  stem: [
    'abstract_algebra anatomy astronomy college_biology college_chemistry college_computer_science',
    'college_mathematics college_physics computer_security conceptual_physics electrical_engineering',
    'elementary_mathematics high_school_biology high_school_chemistry high_school_computer_science',
    'high_school_mathematics high_school_physics high_school_statistics machine_learning',
  ],
  other: [
    'business_ethics clinical_knowledge college_medicine global_facts human_aging management marketing',
    'medical_genetics miscellaneous nutrition professional_accounting professional_medicine virology',
  ],
  social_sciences: [
    'econometrics high_school_geography high_school_government_and_politics high_school_macroeconomics',
    'high_school_microeconomics high_school_psychology human_sexuality professional_psychology public_relations',
    'security_studies sociology us_foreign_policy',
  ],
  humanities: [
    'formal_logic high_school_european_history high_school_us_history high_school_world_history international_law',
    'jurisprudence logical_fallacies moral_disputes moral_scenarios philosophy prehistory professional_law',
    'world_religions',
  ],
} as const;

const LETTERS = ['A', 'B', 'C', 'D'] as const;
const COLUMNS = ['question', 'choice0', 'choice1', 'choice2', 'choice3', 'answer'] as const;

/** An index, as a number or in digits, or a letter: what the hub's files, CSV with and CSV without a header have. */
const answer = z.union([
  z.int().min(0).max(3),
  z.enum(['0', '1', '2', '3']).transform(Number),
  z.enum(LETTERS).transform((letter) => LETTERS.indexOf(letter)),
]);
const row = z.union([
  z.object({ question: z.string(), choices: z.array(z.string()).length(4), answer }),
  z
    .object({
      question: z.string(),
      choice0: z.string(),
      choice1: z.string(),
      choice2: z.string(),
      choice3: z.string(),
      answer,
    })
    .transform(({ question, answer: gold, ...choices }) => ({
      question,
      choices: Object.values(choices) as string[],
      answer: gold,
    })),
]);

function subjectTask(subject: string): Task {
  const words = subject.replaceAll('_', ' ');
  return defineTask({
    name: `mmlu_${subject}`,
    alias: subject,
    summary: `examination questions about ${words}`,
    version: 1,
    output: 'multiple_choice',
    data: {
      id: 'cais/mmlu',
      config: subject,
      folder: 'mmlu',
      isShared: true,
      stems: (split) => [`${split}/${subject}_${split}`],
      columns: COLUMNS,
    },
    split: 'test',
    fewShot: { split: 'dev', order: 'first', excludesSelf: false },
    description: `The following are multiple choice questions (with answers) about ${words}.\n\n`,
    metrics: ['acc'],
    row,
    question: ({ question, choices, answer: gold }) => ({
      kind: 'choice',
      prompt: [trim(question), ...choices.map((choice, i) => `${LETTERS[i]}. ${choice}`), 'Answer:'].join('\n'),
      choices: LETTERS,
      gold,
    }),
  });
}

const subjectsOf = (lines: readonly string[]): string[] => lines.flatMap((line) => line.split(' '));

export const mmluTasks: readonly Task[] = Object.values(SUBJECTS).flatMap(subjectsOf).map(subjectTask);

const groups = Object.entries(SUBJECTS).map(
  ([name, lines]): TaskGroup => ({
    name: `mmlu_${name}`,
    alias: name.replaceAll('_', ' '),
    summary: `${subjectsOf(lines).length} subjects of MMLU`,
    version: 2,
    members: subjectsOf(lines).map((subject) => `mmlu_${subject}`),
    metrics: ['acc'],
  }),
);

export const mmluGroups: readonly TaskGroup[] = [
  {
    name: 'mmlu',
    alias: 'mmlu',
    summary: 'examination questions of 57 subjects',
    version: 2,
    members: groups.map(({ name }) => name),
    metrics: ['acc'],
  },
  ...groups,
];
