/** The micro tasks: held out, balanced, the same for the same seed, and told by their examples alone. */

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { NodeFileSystem, NpmDataSource } from 'krait';
import { baseModel } from 'krait/cli';
import { loadCorpus } from 'krait/data';
import { prepareTask } from 'krait/eval';
import { loadTokenizer } from 'krait/io';
import {
  LOOKUP_KEYS,
  loadMicroMaterial,
  MAIL_WORDS,
  MICRO_PARTS,
  MICRO_TASKS,
  type MicroMaterial,
  metaEpisodes,
  microEpisodes,
  microRows,
  TEST_LABELS,
  writeMicroTasks,
} from './index.ts';
import { definitionOf, sentencesOf } from './items.ts';

const files = new NodeFileSystem();
const source = new NpmDataSource();
const work = mkdtempSync(join(tmpdir(), 'krait-micro-'));
after(() => rmSync(work, { recursive: true }));

let material: MicroMaterial;
before(async () => {
  material = await loadMicroMaterial(source);
});

describe('material of the micro tasks', () => {
  it('is cut from texts as it should be', () => {
    const text =
      'It was a bright day, and we sailed on with the wind. No. "Stop," he said, and all of us stopped at once; the rest of the crew did nothing at all.';
    assert.deepEqual(sentencesOf(text), [
      'It was a bright day, and we sailed on with the wind.',
      'the rest of the crew did nothing at all.',
    ]);
    assert.equal(definitionOf('dog, hound (noun): an animal that barks; "a dog"', 'noun'), 'an animal that barks');
    assert.equal(definitionOf('dog (verb): go after with the intent to catch', 'noun'), null);
  });

  it('has parts without a common item, those of tests from documents that no model was trained on', async () => {
    for (const [i, part] of MICRO_PARTS.entries()) {
      const { source: prose, definition, mail, words } = material[part];
      for (const texts of [...prose, ...definition, ...mail, words]) {
        assert.ok(texts.length >= 60, `${part}: ${texts.length} items`);
        assert.equal(new Set(texts).size, texts.length, `${part}: an item twice`);
      }
      for (const other of MICRO_PARTS.slice(i + 1)) {
        const seen = new Set([
          ...material[other].source.flat(),
          ...material[other].definition.flat(),
          ...material[other].mail.flat(),
          ...material[other].words,
        ]);
        const common = [...prose, ...definition, ...mail, words].flat().filter((item) => seen.has(item));
        assert.deepEqual(common, [], `${part}, ${other}`);
      }
    }
    const trained = (await loadCorpus(source, 'moby-dick')).filter(({ split }) => split === 'train');
    const text = trained.map((document) => document.text.replace(/\s+/g, ' ')).join(' ');
    for (const sentence of material.test.source[1]) assert.ok(!text.includes(sentence), sentence);
  });
});

describe('micro tasks', () => {
  it('are balanced, and the same for the same seed', () => {
    for (const { name, chance } of MICRO_TASKS) {
      const rows = microRows(material.test, name, 60);
      assert.deepEqual(rows, microRows(material.test, name, 60), name);
      assert.notDeepEqual(rows, microRows(material.test, name, 60, 1), name);
      assert.equal(rows.length, 60);
      for (const { choices } of rows) assert.equal(choices.length, Math.round(1 / chance), name);
      if (chance === 1 / 2) assert.equal(rows.filter(({ answer }) => answer === 0).length, 30, name);
      if (name === 'micro_lookup') assert.equal(rows.filter(({ answer }) => answer === 3).length, 15);
    }
    assert.throws(() => microRows(material.test, 'micro_spam', 1e6), /micro tasks: 1000000 questions, there are \d+/);
    assert.throws(() => microRows(material.test, 'micro_piqa', 2), /"micro_piqa" is no micro task/);
  });

  it('cannot be told without examples: pairs ask the same and are answered the other way', () => {
    for (const kind of ['source', 'definition']) {
      const [a, b] = ['a', 'b'].map((variant) => microRows(material.test, `micro_${kind}_${variant}`, 40));
      assert.deepEqual(
        a.map(({ prompt, choices }) => [prompt, choices]),
        b.map(({ prompt, choices }) => [prompt, choices]),
      );
      assert.ok(a.every(({ answer }, i) => answer + b[i].answer === 1));
    }
    const [first, last] = ['first', 'last'].map((name) => microRows(material.test, `micro_${name}`, 40));
    assert.deepEqual(
      first.map(({ prompt }) => prompt),
      last.map(({ prompt }) => prompt),
    );
    first.forEach(({ prompt, choices, answer }, i) => {
      const words = prompt.replace(/:$/, '').split(', ');
      assert.deepEqual([choices[answer], last[i].choices[last[i].answer]], [words[0], words[2]]);
    });
  });

  it('are read back as the tasks of an evaluation, examples before the question', async () => {
    await writeMicroTasks(material, files, work, 8);
    const hub = { cacheDir: work, endpoint: 'http://127.0.0.1:9', offline: true, token: null };
    for (const task of MICRO_TASKS) {
      const prepared = await prepareTask(task, { files, dataDir: work, hub }, { shots: [0, 3], seed: 1 });
      const [{ requests }] = prepared.ask(3);
      const request = requests[0];
      assert.equal(request.kind, 'loglikelihood');
      if (request.kind !== 'loglikelihood') continue;
      assert.equal(request.context.split('\n\n').length >= 4, true, request.context);
      assert.match(request.context, /[:=]$| is$/);
      assert.match(request.continuation, /^ [a-z]+$/);
      assert.equal(requests.length, Math.round(1 / task.chance));
    }
  });
});

/** The text, or the words, that a question asks about. */
const itemsIn = (prompt: string): string[] =>
  /^[a-z]+(, [a-z]+){2}:$/.test(prompt)
    ? prompt.slice(0, -1).split(', ')
    : [prompt.replace(/^(Word|Mail): |\n(Copy|This mail is):$| =$| is$/g, '')];

describe('episodes to learn from', () => {
  const sets = { instructions: microEpisodes, 'meta-training': metaEpisodes };
  const testWords = [...TEST_LABELS.source, ...TEST_LABELS.definition, ...LOOKUP_KEYS] as string[];

  for (const [name, draw] of Object.entries(sets)) {
    it(`use no label word of the tests, and none of their items: ${name}`, () => {
      const episodes = draw(material.tune, 400);
      assert.deepEqual(episodes, draw(material.tune, 400));
      const asked = episodes.flat();
      assert.ok(!asked.some(({ answer }) => testWords.includes(answer)));
      const keys = asked.flatMap(({ prompt }) => /^([a-z]+) is$/.exec(prompt)?.[1] ?? []);
      assert.ok(keys.length > 1000 && !keys.some((key) => LOOKUP_KEYS.includes(key)));
      const rows = (part: 'test' | 'shots') => MICRO_TASKS.flatMap((task) => microRows(material[part], task.name, 60));
      const tested = new Set([...rows('test'), ...rows('shots')].flatMap(({ prompt }) => itemsIn(prompt)));
      assert.ok(tested.size > 500);
      const shared = asked.flatMap(({ prompt, answer }) => [...itemsIn(prompt), answer]).filter((x) => tested.has(x));
      assert.deepEqual(
        [...new Set(shared)].filter((item) => !MAIL_WORDS.includes(item as 'good')),
        [],
      );
    });

    it(`are told by what stands before: ${name}`, () => {
      const kinds = { key: 0, label: 0, other: 0 };
      for (const episode of draw(material.tune, 200)) {
        const prompts = new Set(episode.map(({ prompt }) => prompt));
        const answers = new Set(episode.map(({ answer }) => answer));
        const isLookup = prompts.size < episode.length && answers.size === prompts.size;
        const kind = isLookup ? 'key' : answers.size <= 2 && episode.length === 6 ? 'label' : 'other';
        kinds[kind]++;
        episode.forEach(({ prompt, answer, isTold }, i) => {
          const before = episode.slice(0, i);
          const same = before.filter((question) => question.prompt === prompt);
          if (kind === 'key') {
            assert.equal(isTold, same.length > 0, prompt);
            assert.ok(same.every((question) => question.answer === answer));
          } else if (kind === 'label') {
            assert.equal(
              isTold,
              before.some((question) => question.answer === answer),
              prompt,
            );
          } else {
            assert.ok(isTold || i === 0, prompt);
          }
        });
      }
      assert.ok(
        Object.values(kinds).every((count) => count >= 40),
        JSON.stringify(kinds),
      );
    });
  }

  it('have hundreds of label words, others to learn from than to validate with, most of them one token', async () => {
    const { tune, validation } = material;
    assert.ok(tune.labels.length >= 1000 && validation.labels.length >= 200);
    assert.ok(!tune.labels.some((word) => validation.labels.includes(word)));
    assert.ok(![...tune.labels, ...validation.labels].some((word) => testWords.includes(word)));
    const twin = fileURLToPath(new URL('../../models/pythia-twin', import.meta.url));
    for (const [model, folder] of [
      ['base', baseModel()],
      ['pythia-twin', twin],
    ] as const) {
      const tokenizer = await loadTokenizer(files, folder);
      const isOne = (word: string) => tokenizer.encode(` ${word}`, { addSpecialTokens: false }).length === 1;
      for (const word of [...Object.values(TEST_LABELS).flat(), ...MAIL_WORDS])
        assert.ok(isOne(word), `${model}: ${word}`);
      for (const { labels } of [tune, validation]) assert.ok(labels.filter(isOne).length > 0.6 * labels.length, model);
    }
  });

  it('ask in meta-training for what only examples tell', () => {
    const asks = (episodes: ReturnType<typeof metaEpisodes>, form: RegExp) =>
      episodes.filter(([{ prompt }]) => form.test(prompt)).length;
    assert.equal(asks(metaEpisodes(material.tune, 400), /^Word: |^Mail: /), 0);
    assert.equal(asks(microEpisodes(material.tune, 400), /^Word: |^Mail: /), 100);
  });
});
