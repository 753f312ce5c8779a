import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { NodeFileSystem } from '../../platform/node/index.ts';
import {
  GROUPS,
  leavesOf,
  preambleOf,
  type Row,
  readCustomTask,
  requestsOf,
  ShotSampler,
  selectTasks,
  TASKS,
} from './index.ts';
import { detokenise } from './language.ts';

const named = (name: string) => TASKS.find((task) => task.name === name)!;

describe('tasks', () => {
  it('are those that were asked for, groups with all in them, each once', () => {
    const { tasks, groups } = selectTasks(['piqa', 'mmlu', 'mmlu_stem', 'mmlu_anatomy']);
    assert.equal(tasks.length, 58);
    assert.deepEqual(
      groups.map(({ name }) => name),
      ['mmlu', 'mmlu_stem', 'mmlu_other', 'mmlu_social_sciences', 'mmlu_humanities'],
    );
    assert.deepEqual(
      GROUPS.map((group) => leavesOf(group).length),
      [57, 19, 13, 12, 13],
    );
    assert.equal(new Set(TASKS.map(({ name }) => name)).size, 67);
  });

  it('that there are not are answered with the nearest names', () => {
    assert.throws(
      () => selectTasks(['helaswag']),
      /unknown task "helaswag" \(did you mean hellaswag\?\); krait eval ls/,
    );
    assert.throws(() => selectTasks(['arc_esay']), /did you mean arc_easy/);
    assert.throws(() => selectTasks(['zzzzzzzz']), /unknown task "zzzzzzzz"; krait eval ls lists all/);
  });

  it('name the row, and what it lacks', () => {
    assert.throws(() => named('piqa').ask({ goal: 'x', sol1: 'y', label: 0 }, 'a.jsonl:3'), {
      message: /^a\.jsonl:3: not a row of piqa: sol2 is missing .*; piqa needs goal, sol1, sol2, label$/,
    });
    const row = { question: 'q', choices: { text: ['a', 'b'], label: ['A', 'B'] }, answerKey: 'C' };
    assert.throws(() => named('arc_easy').ask(row, 'f'), /its answer is none of its 2 choices: -1/);
    assert.throws(
      () => named('winogrande').ask({ sentence: 'no blank', option1: 'a', option2: 'b', answer: '1' }, 'f'),
      /expected a sentence with a blank/,
    );
  });

  it('take rows in the forms that they come in', () => {
    const mmlu = named('mmlu_anatomy');
    const expected = mmlu.ask({ question: ' q\n', choices: ['w', 'x', 'y', 'z'], answer: 2 }, 'f');
    const flat = { question: 'q', choice0: 'w', choice1: 'x', choice2: 'y', choice3: 'z' };
    for (const answer of ['2', 'C']) assert.deepEqual(mmlu.ask({ ...flat, answer }, 'f'), expected);
    assert.equal(expected.kind === 'choice' && expected.prompt, 'q\nA. w\nB. x\nC. y\nD. z\nAnswer:');
    const boolq = { passage: 'p', question: 'is it' };
    assert.deepEqual(
      named('boolq').ask({ ...boolq, label: true }, 'f'),
      named('boolq').ask({ ...boolq, label: 1 }, 'f'),
    );
  });

  it('WikiText becomes ordinary text', () => {
    const page = ' = Title = \n\n He paid 1 @,@ 000 ( all ) , " so " ; kings \' own N days \n';
    assert.equal(detokenise(page), ' = Title =\n\nHe paid 1,000 (all), "so"; kings\' own 1 days\n');
  });
});

describe('examples', () => {
  const rows = (n: number): Row[] =>
    Array.from({ length: n }, (_, i) => ({ goal: `g${i}`, sol1: 'a', sol2: 'b', label: i % 2 }));
  const numbers = (drawn: Row[]) => drawn.map(({ goal }) => Number(String(goal).slice(1)));

  it('are drawn from one generator, document after document', () => {
    const sampler = new ShotSampler(named('sciq'), rows(10), 4);
    assert.deepEqual(numbers(sampler.next({})), [7, 1, 0, 9]);
    assert.notDeepEqual(numbers(sampler.next({})), [7, 1, 0, 9]);
    const other = new ShotSampler(named('sciq'), rows(10), 4, 42);
    assert.notDeepEqual(numbers(other.next({})), [7, 1, 0, 9]);
  });

  it('are never the question itself where lm-eval compares, however often it is there', () => {
    const [self, ...rest] = rows(3);
    const pool = [{ ...self }, ...rest, ...Array.from({ length: 20 }, () => ({ ...self }))];
    const sampler = new ShotSampler(named('piqa'), pool, 2);
    for (let i = 0; i < 30; i++) assert.deepEqual(numbers(sampler.next(self)).sort(), [1, 2]);
  });

  it('of MMLU are the first', () => {
    assert.deepEqual(numbers(new ShotSampler(named('mmlu_anatomy'), rows(5), 3).next({})), [0, 1, 2]);
  });

  it('that there are too few of are refused before anything is asked', () => {
    assert.throws(
      () => new ShotSampler(named('mmlu_anatomy'), rows(5), 6),
      /mmlu_anatomy: 6 examples need 6 rows of its split dev, which has 5/,
    );
    assert.throws(() => new ShotSampler(named('piqa'), rows(5), 5), /5 examples need 6 rows/);
  });
});

describe('tasks of the user’s own', () => {
  const folder = mkdtempSync(join(tmpdir(), 'krait-custom-'));
  after(() => rmSync(folder, { recursive: true }));
  const files = new NodeFileSystem();
  const write = (yaml: string) => {
    const path = join(folder, 'own.yaml');
    writeFileSync(path, yaml);
    return readCustomTask(files, path);
  };

  it('ask with the prompt and delimiters of their file', async () => {
    const { task, paths } = await write(
      'task: capitals\ndata: capitals.jsonl\nfewshot_data: /shots.csv\ndescription: "Capitals.\\n"\n' +
        'prompt: "{{ country }}, {{question}}:"\ntarget_delimiter: "="\nfewshot_delimiter: "|"\nmetrics: [acc, f1]\n',
    );
    assert.deepEqual([...paths.values()], [join(folder, 'capitals.jsonl'), '/shots.csv']);
    assert.deepEqual([task.metrics, task.fewShot.excludesSelf], [['acc', 'f1'], false]);
    const question = task.ask({ country: 'Peru', question: 'capital', choices: ['Lima', 'Rome'], answer: 'Rome' }, 'f');
    const preamble = preambleOf(task, [question]);
    assert.equal(preamble, 'Capitals.\nPeru, capital:=Rome|');
    assert.deepEqual(requestsOf(task, question, preamble), [
      { kind: 'loglikelihood', context: `${preamble}Peru, capital:`, continuation: '=Lima' },
      { kind: 'loglikelihood', context: `${preamble}Peru, capital:`, continuation: '=Rome' },
    ]);
  });

  it('without choices let the model write', async () => {
    const { task } = await write('task: sums\ndata: sums.jsonl\nuntil: ["\\n"]\nmax_tokens: 4\n');
    const question = task.ask({ question: '1+1', answer: 2 }, 'f');
    const [request] = requestsOf(task, question, '');
    assert.deepEqual(request, { kind: 'generate', context: 'Question: 1+1\nAnswer:', until: ['\n'], maxTokens: 4 });
    assert.deepEqual([task.output, task.metrics], ['generate_until', ['exact_match']]);
  });

  it('say what is wrong with them, and with their rows', async () => {
    await assert.rejects(
      write('task: a\ndata: b\npromt: x\n'),
      /own\.yaml: unknown key promt \(did you mean prompt\?\)/,
    );
    await assert.rejects(write('task: [a'), /own\.yaml: not valid YAML/);
    await assert.rejects(write('task: a\ndata: b\nuntil: ["x"]\nmetrics: [acc]\n'), /acc is not for written answers/);
    const { task } = await write('task: a\ndata: b.jsonl\nprompt: "{{qestion}}"\n');
    const row = { question: 'q', choices: ['x', 'y'], answer: 1 };
    assert.throws(
      () => task.ask(row, 'b.jsonl:1'),
      /b\.jsonl:1: no text in the field qestion of the prompt \(did you mean question\?\)/,
    );
    const plain = (await write('task: a\ndata: b.jsonl\n')).task;
    assert.throws(() => plain.ask({ ...row, answer: 'z' }, 'f'), /the answer "z" is none of the choices/);
    assert.throws(() => plain.ask({ ...row, answer: 2 }, 'f'), /answer is an index from 0 to 1/);
    assert.throws(
      () => plain.ask({ question: 'q', answer: 1 }, 'f'),
      /choices: expected two texts or more, got nothing/,
    );
  });
});
