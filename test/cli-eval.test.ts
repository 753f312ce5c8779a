/** `krait eval` on a model of a few kilobytes: its files, what it prints, what it refuses, and that nothing is lost. */
import assert from 'node:assert/strict';
import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { onlyInAll } from '../src/core/testing/only-in-all.ts';
import { TASKS } from '../src/eval/index.ts';
import { krait, refuses, workFolder } from './cli-cases.ts';
import { runKrait } from './krait-process.ts';
import { writeTinyModel } from './tiny-model.ts';

process.env.NO_COLOR = '1'; // .ci/run sets CI, which asks for colours
process.env.HF_HUB_OFFLINE = '1';

const work = workFolder('eval');
const at = (name: string) => join(work, name);
process.env.HF_HUB_CACHE = at('cache');
const data = fileURLToPath(new URL('fixtures/harness/data', import.meta.url));

/** `krait eval run` on the tiny model; `out` is a folder in the work folder. */
const flagsOf = (tasks: string, out: string, ...flags: string[]) => {
  const given = ['eval', 'run', '--model', at('model'), '--data-dir', data, '--device', 'wasm'];
  return [...given, '--tasks', tasks, '--output', at(out), '--max-length', '400', ...flags];
};
const run = (tasks: string, out: string, ...flags: string[]) => krait(...flagsOf(tasks, out, ...flags));
const refusesRun = (code: number, pattern: RegExp, tasks: string, ...flags: string[]) =>
  refuses(work, code, pattern, ...flagsOf(tasks, 'refused', ...flags));

// biome-ignore lint/suspicious/noExplicitAny: documents whose shape is what is tested
type Json = Record<string, any>;
const read = (path: string) => JSON.parse(readFileSync(path, 'utf8')) as Json;
const lines = (path: string) => readFileSync(path, 'utf8').trimEnd().split('\n');

function put(path: string, content: string): void {
  mkdirSync(dirname(at(path)), { recursive: true });
  writeFileSync(at(path), content);
}

before(() => writeTinyModel(at('model')));

describe('krait eval run', () => {
  it('writes results in the shape of lm-eval, one file for each number of examples, and samples', async () => {
    const out = at('whole');
    const flags = ['--num-fewshot', '0,2', '--limit', '2', '--log-samples', '--batch-size', '3'];
    const { code, stdout, stderr } = await run('arc_easy,winogrande', 'whole', ...flags);
    assert.equal(code, 0, stderr);
    assert.match(stdout, /^task +metric +0-shot +2-shot\n-+/);
    assert.match(stdout, /\narc_easy +acc_norm +\d\.\d{4} ± \d\.\d{4} +\d/);
    const {
      results,
      versions,
      configs,
      config,
      'n-shot': shots,
      'n-samples': counts,
    } = read(join(out, 'results_2-shot.json'));
    assert.deepEqual(Object.keys(results.arc_easy), [
      'name',
      'alias',
      'sample_len',
      'acc,none',
      'acc_stderr,none',
      'acc_norm,none',
      'acc_norm_stderr,none',
    ]);
    assert.deepEqual([versions.winogrande, shots.winogrande, counts.winogrande], [1, 2, { original: 4, effective: 2 }]);
    assert.deepEqual([configs.arc_easy.num_fewshot, config.fewshot_seed, config.max_length], [2, 1234, 400]);
    const samples = lines(join(out, 'samples_winogrande_2-shot.jsonl')).map((line) => JSON.parse(line) as Json);
    assert.deepEqual(
      samples.map(({ doc_id }) => doc_id),
      [0, 1],
    );
    const [{ arguments: asked, filtered_resps, target, acc }] = samples;
    assert.equal(asked.gen_args_0.arg_0.split('\n\n').length, 3);
    assert.equal(asked.gen_args_1.arg_1, ` ${target}`);
    const better = Number(filtered_resps[1][0]) > Number(filtered_resps[0][0]) ? '2' : '1';
    assert.equal(acc, Number(better === samples[0].doc.answer));
  });

  it('scores groups by what is in them', onlyInAll('57 subjects'), async () => {
    const csv = (subject: string) => `"What is ${subject}?",one,two,three,four,B\n`.repeat(6);
    const subjects = TASKS.filter(({ data }) => data.folder === 'mmlu').map(({ alias }) => alias);
    for (const split of ['test', 'dev']) {
      for (const name of subjects) put(`mmlu/${split}/${name}_${split}.csv`, csv(name));
    }
    const { code, stdout, stderr } = await run(
      'mmlu',
      'group',
      '--data-dir',
      work,
      '--num-fewshot',
      '1',
      '--limit',
      '1',
      '--json',
    );
    assert.equal(code, 0, stderr);
    const [{ results, groups, group_subtasks }] = (JSON.parse(stdout) as Json).runs;
    assert.equal(Object.keys(results).length, 57 + 5);
    assert.deepEqual(Object.keys(groups), [
      'mmlu',
      'mmlu_stem',
      'mmlu_other',
      'mmlu_social_sciences',
      'mmlu_humanities',
    ]);
    assert.equal(group_subtasks.mmlu.length, 4);
    const right = subjects.filter((name) => results[`mmlu_${name}`]['acc,none'] === 1).length;
    assert.equal(results.mmlu['acc,none'], right / 57);
    assert.equal(results.mmlu['acc_stderr,none'], 'N/A');
  });

  it('asks tasks of the user’s own', async () => {
    const rows = [1, 2, 3, 4].map((n) => ({ question: `${n}+1`, choices: [`${n}`, `${n + 1}`], answer: 1 }));
    put('own.jsonl', rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
    put('own.yaml', 'task: sums\ndata: own.jsonl\nmetrics: [acc, f1]\n');
    const { code, stdout, stderr } = await run(at('own.yaml'), 'own', '--num-fewshot', '3', '--log-samples');
    assert.equal(code, 0, stderr);
    assert.match(stdout, /sums +f1 +\d\.\d{4}/);
    const [first] = lines(join(at('own'), 'samples_sums_3-shot.jsonl'));
    const prompt = (JSON.parse(first) as Json).arguments.gen_args_0.arg_0 as string;
    assert.deepEqual(prompt.match(/\d\+1/g)?.sort(), ['1+1', '2+1', '3+1', '4+1'], 'each other row once');
    put('own.yaml', 'task: piqa\ndata: own.jsonl\n');
    await refusesRun(2, /two tasks are called piqa; give yours another name/, `piqa,${at('own.yaml')}`);
  });

  it('counts contexts that are cut on the left', async () => {
    const { code, stderr } = await run('boolq', 'cut', '--max-length', '50', '--num-fewshot', '0,1');
    assert.equal(code, 0, stderr);
    assert.match(
      stderr,
      /warning 1-shot: 8 of 8 contexts of boolq were longer than 50 tokens and were cut on the left/,
    );
    assert.equal(read(join(at('cut'), 'results_0-shot.json')).krait.truncated.boolq, 8);
  });

  it('does not mix its answers with those of an earlier run, unless it is to go on with them', async () => {
    const ask = (...flags: string[]) => run('piqa', 'twice', '--limit', '2', '--json', ...flags);
    assert.equal((await ask()).code, 0);
    await refuses(work, 2, /--output: .*twice exists and is not empty; give --resume/, ...flagsOf('piqa', 'twice'));
    const cost = async (...flags: string[]) =>
      (JSON.parse((await ask(...flags)).stdout) as Json).runs[0].krait.computed_tokens;
    assert.equal(await cost('--resume'), 0);
    assert.equal((await cost('--resume', '--max-length', '300')) > 0, true, 'another limit is another question');
    assert.equal((await cost('--resume', '--dtype', 'bf16')) > 0, true, 'another precision is another model');
    assert.equal((await cost('--force')) > 0, true);
  });
});

describe('krait eval run refuses', () => {
  it('what it cannot ask: one line that says what to do', async () => {
    await refusesRun(2, /unknown task "pika" \(did you mean piqa\?\); krait eval ls lists all/, 'pika');
    await refusesRun(
      2,
      /'--num-fewshot <list>' argument 'two' is invalid: expected whole numbers/,
      'piqa',
      '--num-fewshot',
      'two',
    );
    await refusesRun(2, /--limit/, 'piqa', '--limit', '0');
    await refusesRun(
      2,
      /piqa: 99 examples need 100 rows of its split train, which has 16/,
      'piqa',
      '--num-fewshot',
      '99',
    );
    await refusesRun(1, /none\.yaml: /, at('none.yaml'));
  });

  it('data that are not there: what to fetch and where to put it', async () => {
    await refusesRun(
      1,
      /sciq: no data for its split test in .*; put http.*allenai\/sciq.* at .*sciq\/test\.parquet/,
      'sciq',
      '--data-dir',
      at('model'),
    );
    const online = flagsOf('sciq', 'refused').filter((flag) => flag !== '--data-dir' && flag !== data);
    await refuses(
      work,
      1,
      /sciq: its data .* HF_HUB_OFFLINE is set; put http.* at DIR\/sciq\/test\.parquet and give --data-dir DIR/,
      ...online,
    );
  });

  it('a model without a tokenizer, and one that names no token to begin a text with', async () => {
    cpSync(at('model'), at('wordless'), { recursive: true });
    rmSync(join(at('wordless'), 'tokenizer.json'));
    await refusesRun(1, /wordless\/tokenizer\.json/, 'piqa', '--model', at('wordless'));
    const { code, stderr } = await run('wikitext', 'beginning');
    assert.equal(code, 2);
    assert.match(stderr, /tokenizer\.json: names neither bos_token nor eos_token/);
  });
});

describe('an evaluation that is interrupted', () => {
  const flags = ['--num-fewshot', '0,1', '--log-samples', '--batch-size', '2'];
  const asked = (out: string, ...more: string[]) => flagsOf('hellaswag,sciq', out, ...flags, ...more);

  const interrupted = (moment: string, out: string) => runKrait(moment, asked(out));

  before(async () => {
    const { code, stderr } = await krait(...asked('alone'));
    assert.equal(code, 0, stderr);
  });

  for (const [moment, end] of [
    ['step', 130],
    ['answers', 'SIGKILL'],
  ] as const) {
    const isSlow = moment === 'answers' ? onlyInAll('a second process that is killed') : {};
    it(`(${moment}) goes on with --resume, to the same result`, isSlow, async () => {
      const out = `stopped-${moment}`;
      const stopped = await interrupted(moment, out);
      assert.equal(stopped.end, end, stopped.stderr);
      if (moment === 'step') assert.match(stopped.stderr, /stopped; go on with --resume --output .*stopped-step\n$/);
      const kept = lines(join(at(out), 'answers.jsonl')).length;
      assert.equal(existsSync(join(at(out), 'results_0-shot.json')), false);
      const { code, stderr } = await krait(...asked(out, '--resume'));
      assert.equal(code, 0, stderr);
      assert.equal(lines(join(at(out), 'answers.jsonl')).length > kept, true);
      for (const shots of [0, 1]) {
        const result = (folder: string) => read(join(at(folder), `results_${shots}-shot.json`)).results;
        assert.deepEqual(result(out), result('alone'));
        for (const task of ['hellaswag', 'sciq']) {
          const name = `samples_${task}_${shots}-shot.jsonl`;
          assert.equal(readFileSync(join(at(out), name), 'utf8'), readFileSync(join(at('alone'), name), 'utf8'), name);
        }
      }
    });
  }
});

describe('krait eval ls', () => {
  it('lists tasks and groups', async () => {
    const { code, stdout } = await krait('eval', 'ls');
    assert.equal(code, 0);
    assert.match(stdout, /\nhellaswag +acc, acc_norm +\S/);
    const { tasks, groups } = JSON.parse((await krait('eval', 'ls', '--json')).stdout) as Json;
    assert.deepEqual([tasks.length, groups.length], [67, 5]);
  });
});
