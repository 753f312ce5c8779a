/** `krait study downstream` on models of a few kilobytes: its cells, what it keeps, what it refuses; its page in a browser. */
import assert from 'node:assert/strict';
import { copyFileSync, cpSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { isDeepStrictEqual } from 'node:util';
import { NodeFileSystem } from 'krait';
import { createModel, loadModel, parseConfig, saveModel } from 'krait/models';
import { Device } from 'krait/tensor';
import type { Browser } from 'playwright-core';
import { createReferenceBackend } from '../../../src/backend/reference/index.ts';
import { onlyInAll } from '../../../src/core/testing/only-in-all.ts';
import { launchChromium, lookAt, withoutChromium } from '../../../test/chromium.ts';
import { krait, refuses, workFolder } from '../../../test/cli-cases.ts';
import { writeTinyModel } from '../../../test/tiny-model.ts';

process.env.NO_COLOR = '1';
process.env.HF_HUB_OFFLINE = '1';

const work = workFolder('study-downstream');
process.env.HF_HOME = join(work, 'hf');
const at = (name: string) => join(work, name);
const dataDir = fileURLToPath(new URL('../../../test/fixtures/harness/data', import.meta.url));

const records = [
  ...Array.from({ length: 30 }, (_, i) => ({
    instruction: `Say ${i}.`,
    input: i % 2 ? 'well' : '',
    output: `yes ${i}`,
  })),
  {
    conversations: [
      { from: 'system', value: 'Be brief.' },
      { from: 'human', value: 'hello' },
      { from: 'gpt', value: 'hi' },
    ],
  },
  { prompt: 'tell', completion: ' well' },
];
const COMMON = ['--preset', 'paper', '--tasks', 'piqa', '--data-dir', dataDir, '--shots', '0,1'];
const SMALL = ['--steps', '2', '--rank', '3', '--seeds', '2', '--limit', '3', '--precisions', 'f32,bf16'];
const MODELS = ['--model', at('tiny'), '--reference', `twin=${at('neox')}`, '--data', at('instructions.jsonl')];
const METHODS = ['--methods', 'full,lora-all,lora-x,lora-x-untied'];
const study = (...flags: string[]) =>
  krait('study', 'downstream', ...COMMON, ...SMALL, ...MODELS, ...METHODS, ...flags);

before(async () => {
  writeFileSync(at('instructions.jsonl'), records.map((record) => `${JSON.stringify(record)}\n`).join(''));
  await writeTinyModel(at('tiny'));
  const sizes = {
    hidden_size: 16,
    num_hidden_layers: 2,
    num_attention_heads: 2,
    intermediate_size: 32,
    vocab_size: 272,
  };
  const neox = parseConfig({ model_type: 'gpt_neox', ...sizes, max_position_embeddings: 1024 }, 'config.json');
  const device = new Device(createReferenceBackend());
  await saveModel(createModel(device, neox, 1), new NodeFileSystem(), at('neox'));
  copyFileSync(join(at('tiny'), 'tokenizer.json'), join(at('neox'), 'tokenizer.json'));
  device.close();
});

interface Document {
  settings: {
    searchSteps: number;
    meta: { steps: number; searchSteps: number };
    rates: { full: number[]; lora: number[] };
  };
  tasks: { name: string; chance: number | null; asks: string }[];
  planned: number;
  measured: number;
  rates: { model: string; method: string; rate: number }[];
  results: {
    model: string;
    method: string | null;
    precision: string;
    seeds: number[];
    trainable: number | null;
    aipss: { value: number | null; error: number | null };
    divergence: { value: number; error: number } | null;
  }[];
  cells: {
    name: string;
    kind: string;
    seconds: number;
    scores: { points: { task: string; shots: number; value: number }[] } | null;
    cost: { validationLoss: number } | null;
  }[];
}
const read = (out: string) => JSON.parse(readFileSync(join(at(out), 'downstream.json'), 'utf8')) as Document;

describe('krait study downstream', () => {
  /** 2 models x 2 precisions x 2 seeds untuned, (4 + 2) ways x 3 trials, and x 2 precisions x 2 seeds. */
  const PLANNED = 8 + 18 + 24;

  it('stops after as many cells as it is told to, and reports what there is', async () => {
    const { code, stderr, stdout } = await study('--out', at('all'), '--cells', '9');
    assert.equal(code, 0, stderr);
    assert.match(stderr, new RegExp(`9 of ${PLANNED} cells are measured; go on with --resume`));
    assert.match(stdout, /tiny, untuned, f32/);
    assert.equal(read('all').measured, 9);
    assert.match(
      readFileSync(join(at('all'), 'report.html'), 'utf8'),
      new RegExp(`9 of ${PLANNED} cells are measured: figures`),
    );
  });

  it('goes on with what is missing, and leaves no checkpoint behind', async () => {
    const cells = join(at('all'), 'cells');
    const times = () => new Map(readdirSync(cells).map((name) => [name, statSync(join(cells, name)).mtimeMs]));
    const before = times();
    writeFileSync(join(cells, '0-tiny-untuned-bf16-seed-1.json'), '{"identity":'); // what a crash may leave
    const { code, stderr } = await study('--out', at('all'), '--resume');
    assert.equal(code, 0, stderr);
    assert.match(stderr, /warning .*0-tiny-untuned-bf16-seed-1\.json: .*; it is measured again/);
    const after = times();
    const again = [...before].filter(([name, time]) => after.get(name) !== time).map(([name]) => name);
    assert.deepEqual(again, ['0-tiny-untuned-bf16-seed-1.json']);
    const { measured, planned } = read('all');
    assert.deepEqual([measured, planned, after.size], [PLANNED, PLANNED, PLANNED]);
    assert.deepEqual(readdirSync(join(at('all'), 'tuning')), []);
  });

  it('tells of every way that a model has, with errors over the seeds', () => {
    const { results, rates, cells } = read('all');
    assert.deepEqual(
      results.filter(({ precision }) => precision === 'f32').map(({ model, method }) => [model, method]),
      [
        ['tiny', null],
        ['twin', null],
        ['tiny', 'full'],
        ['tiny', 'lora-all'],
        ['tiny', 'lora-x'],
        ['tiny', 'lora-x-untied'],
        ['twin', 'full'],
        ['twin', 'lora-all'],
      ],
    );
    assert.ok(results.every(({ seeds }) => seeds.length === 2));
    for (const { divergence, precision } of results) assert.equal(divergence === null, precision === 'f32');
    const trained = (method: string) => results.find((r) => r.method === method && r.model === 'tiny')!.trainable!;
    // x_proj of the tiny model: [2 + 4 + 4, 64] in each of two layers, rank 3 or three times 1.
    assert.deepEqual([trained('lora-x'), trained('lora-x-untied')], [2 * 3 * (64 + 10), 2 * (3 * 64 + 10)]);
    assert.deepEqual(
      rates.map(({ model, method }) => `${model} ${method}`),
      ['tiny full', 'tiny lora-all', 'tiny lora-x', 'tiny lora-x-untied', 'twin full', 'twin lora-all'],
    );
    const scored = cells.filter(({ kind }) => kind !== 'trial');
    assert.ok(
      scored.every(({ scores }) => scores!.points.length === 2 && scores!.points.every(({ task }) => task === 'piqa')),
    );
  });

  it('measures again what other examples or questions were asked of', async () => {
    const data = at('changed');
    cpSync(dataDir, data, { recursive: true });
    const changed = (...flags: string[]) =>
      krait('study', 'downstream', ...COMMON, ...SMALL, ...MODELS, '--data-dir', data, '--out', at('again'), ...flags);
    const cells = join(at('again'), 'cells');
    const time = () => statSync(join(cells, '0-tiny-untuned-f32-seed-0.json')).mtimeMs;
    assert.equal((await changed('--cells', '1')).code, 0);
    for (const split of ['train', 'validation']) {
      const before = time();
      assert.equal((await changed('--cells', '1', '--resume')).code, 0);
      assert.equal(time(), before, `${split}: the same data was measured again`);
      const path = join(data, 'piqa', `${split}.jsonl`);
      const rows = readFileSync(path, 'utf8').split('\n');
      writeFileSync(
        path,
        [...rows.slice(0, 1), ...rows.slice(1).map((row) => row.replace('"sol1": "', '"sol1": "Not '))].join('\n'),
      );
      assert.equal((await changed('--cells', '1', '--resume')).code, 0);
      assert.notEqual(time(), before, `${split}: a cell of other data was kept`);
    }
  });

  it('takes rates and lengths of trials, and tells chance from the choices', async () => {
    const flags = ['--search-steps', '3', '--full-rates', '1e-2,1e-3', '--cells', '1'];
    const { code, stderr } = await study('--out', at('rates'), ...flags);
    assert.equal(code, 0, stderr);
    const { settings, tasks } = read('rates');
    assert.deepEqual([settings.searchSteps, settings.rates.full], [3, [1e-3, 1e-2]]);
    assert.deepEqual(settings.rates.lora, [1e-5, 1e-4, 1e-3]);
    assert.deepEqual(
      tasks.map(({ name, chance }) => [name, chance]),
      [['piqa', 0.5]],
    );
    assert.equal(read('all').settings.searchSteps, 1, 'in proportion to 2 steps');
  });

  it('writes CSV with a figure a row', () => {
    const [head, ...rows] = readFileSync(join(at('all'), 'downstream.csv'), 'utf8')
      .trimEnd()
      .split('\n');
    assert.equal(head, 'model,method,precision,seed,task,shots,quantity,value,error');
    assert.ok(rows.some((row) => /^tiny,untuned,f32,0,piqa,1,acc,[\d.]+,/.test(row)));
    assert.ok(rows.some((row) => /^tiny,lora-x-untied,bf16,1,,,peakBytes,\d+,$/.test(row)));
    assert.ok(rows.some((row) => /^twin,full,bf16,,,,"divergence from f32, points",/.test(row)));
    assert.ok(rows.some((row) => row.startsWith('twin,lora-all,f32,0,,,validation loss at rate')));
  });

  it('meta-trains models of the micro preset once, and tunes what that gives', onlyInAll('meta-training'), async () => {
    const models = ['--model', at('tiny'), '--reference', `twin=${at('neox')}`];
    const small = ['--seeds', '1', '--precisions', 'f32', '--shots', '0,1', '--limit', '2', '--tasks', 'micro_copy'];
    const methods = ['--methods', 'full,meta', '--meta-steps', '20', '--meta-rates', '1e-3,1e-2', '--steps', '2'];
    const micro = (...flags: string[]) =>
      krait(
        'study',
        'downstream',
        ...models,
        ...small,
        ...methods,
        '--full-rates',
        '1e-3',
        '--out',
        at('meta'),
        ...flags,
      );
    // Of each model: untuned, two trials of meta-training and it, a trial of full, and both scored.
    const { code, stderr } = await micro('--cells', '8');
    assert.equal(code, 0, stderr);
    const weights = () => readdirSync(join(at('meta'), 'meta'));
    assert.deepEqual(
      weights().map((name) => name.split('-')[1]),
      ['tiny', 'twin'],
    );
    const cells = join(at('meta'), 'cells');
    const times = () => new Map(readdirSync(cells).map((name) => [name, statSync(join(cells, name)).mtimeMs]));
    const before = times();
    assert.equal(before.size, 8);
    // Weights that are lost, or not those that the cell tells of, are trained again.
    rmSync(join(at('meta'), 'meta', weights()[0]), { recursive: true });
    const twin = join(at('meta'), 'meta', weights()[0], 'model.safetensors');
    const trained = readFileSync(twin);
    const changed = Buffer.from(trained);
    changed[changed.length - 1] ^= 1;
    writeFileSync(twin, changed);
    const resumed = await micro('--resume');
    assert.equal(resumed.code, 0, resumed.stderr);
    const after = times();
    const again = [...before].filter(([name, time]) => after.get(name) !== time).map(([name]) => name);
    assert.deepEqual(
      [again, after.size, weights().length],
      [['0-tiny-meta-training-seed-0.json', '1-twin-meta-training-seed-0.json'], 14, 2],
    );
    assert.deepEqual(readFileSync(twin), trained, 'the same training gives the same weights');
    const { results, rates, settings } = read('meta');
    // Tuning starts from them: without meta-training it ends elsewhere.
    const lossOf = (name: string) =>
      read(name).cells.find((c) => c.name === 'twin, full, f32, seed 0')!.cost!.validationLoss;
    const plain = [
      ...models,
      ...small,
      '--methods',
      'full',
      '--full-rates',
      '1e-3',
      '--steps',
      '2',
      '--out',
      at('plain'),
    ];
    assert.equal((await krait('study', 'downstream', ...plain)).code, 0);
    assert.ok(Math.abs(lossOf('meta') - lossOf('plain')) > 1e-3, `${lossOf('meta')} ${lossOf('plain')}`);
    const other = await micro('--resume', '--steps', '3', '--cells', '1'); // of tuning alone: what it starts from is kept
    assert.equal(other.code, 0, other.stderr);
    const late = [...times()].filter(([name, time]) => after.get(name) !== time).map(([name]) => name);
    assert.deepEqual(late, ['0-tiny-trial-of-full-rate-0.001.json']);
    assert.deepEqual(
      results.map(({ model, method }) => [model, method]),
      ['tiny', 'twin']
        .map((model) => [model, null])
        .concat(
          ['tiny', 'twin'].flatMap((model) => [
            [model, 'meta'],
            [model, 'full'],
          ]),
        ),
    );
    assert.deepEqual([settings.meta.steps, settings.meta.searchSteps], [20, 5]);
    assert.equal(rates.filter(({ method }) => method === 'meta').length, 2);
    assert.match(
      readFileSync(join(at('meta'), 'report.html'), 'utf8'),
      /Meta-trained, all weights but embeddings and output head/,
    );
    // Embeddings stay as they were; other weights do not.
    const device = new Device(createReferenceBackend());
    const [was, is] = [
      await loadModel(device, new NodeFileSystem(), at('neox')),
      await loadModel(device, new NodeFileSystem(), join(at('meta'), 'meta', weights()[1])),
    ];
    for (const [name, tensor] of was.parameters) {
      const isSame = isDeepStrictEqual(await tensor.read(), await is.parameters.get(name)!.read());
      assert.equal(isSame, /embed/.test(name), name);
    }
    device.close();
    // Every seed has a meta-training of its own; what one leaves that is measured anew takes the place of the old.
    const old = weights();
    const shorter = await micro('--resume', '--meta-steps', '8', '--seeds', '2');
    assert.equal(shorter.code, 0, shorter.stderr);
    assert.deepEqual(
      weights().map((name) => name.replace(/-[0-9a-f]{12}$/, '')),
      ['tiny', 'twin'].flatMap((model, i) => [0, 1].map((seed) => `${i}-${model}-meta-training-seed-${seed}`)),
    );
    assert.ok(!weights().some((name) => old.includes(name)));
    const trainedAs = weights().map((name) => readFileSync(join(at('meta'), 'meta', name, 'model.safetensors')));
    assert.ok(!trainedAs[0].equals(trainedAs[1]) && !trainedAs[2].equals(trainedAs[3]));
  });

  const isSlow = onlyInAll('meta-training');
  it('reports what there is where meta-training diverges, and does not train it again', isSlow, async () => {
    const flags = ['--model', at('tiny'), '--seeds', '1', '--precisions', 'f32', '--shots', '0,1', '--limit', '2'];
    const tasks = 'micro_copy,micro_source_a,micro_source_b';
    const wild = ['--tasks', tasks, '--methods', 'meta,full', '--meta-steps', '20', '--meta-rates', '1e30'];
    const diverging = (...more: string[]) =>
      krait('study', 'downstream', ...flags, ...wild, '--full-rates', '1e-3', '--out', at('diverged'), ...more);
    const { code, stderr } = await diverging();
    assert.equal(code, 0, stderr);
    assert.match(stderr, /tiny: meta-training at rate 1e\+30 diverged: step \d+: .*; give lower --meta-rates/);
    const cell = join(at('diverged'), 'cells', '0-tiny-meta-training-seed-0.json');
    const time = statSync(cell).mtimeMs;
    assert.equal((await diverging('--resume')).code, 0);
    assert.equal(statSync(cell).mtimeMs, time);
    const { results, measured, planned, tasks: asked } = read('diverged');
    assert.deepEqual([results.map(({ method }) => method), measured], [[null], planned]);
    assert.deepEqual(
      asked.map(({ asks }) => asks),
      ['micro_source_a', 'micro_source_a', 'micro_copy'],
    );
    const page = readFileSync(join(at('diverged'), 'report.html'), 'utf8');
    assert.match(page, /Diverged: tiny, full, f32, seed 0: not measured, as meta-training at rate/);
  });

  it('refuses what it cannot do, and says at once all that is missing', async () => {
    const refusesStudy = (code: number, pattern: RegExp, ...flags: string[]) =>
      refuses(work, code, pattern, 'study', 'downstream', '--out', at('refused'), ...flags);
    await refusesStudy(2, /--preset.*allowed choices are micro, paper/, '--preset', 'large');
    await refusesStudy(2, /shots: 1,5 lacks 0/, '--shots', '1,5');
    await refusesStudy(2, /precisions: bf16 lacks f32/, '--precisions', 'bf16');
    await refusesStudy(2, /expected some of meta,full,lora-all.* got lora-y/, '--methods', 'lora-y');
    await refusesStudy(2, /--meta-steps, --meta-rates: meta is not among --methods/, ...COMMON, '--meta-steps', '3');
    await refusesStudy(2, /--methods: meta needs the episodes of the micro preset/, ...COMMON, '--methods', 'meta');
    await refusesStudy(2, /--full-rates.*expected numbers above 0/, '--full-rates', '1e-3,-1');
    await refusesStudy(
      2,
      /two models are called tiny; name them/,
      ...COMMON,
      '--model',
      at('tiny'),
      '--reference',
      at('tiny'),
    );
    await refusesStudy(
      2,
      /--tasks: wikitext has no accuracy/,
      '--preset',
      'paper',
      '--tasks',
      'wikitext',
      '--model',
      at('tiny'),
    );
    const lacks =
      /the paper preset lacks \d things: .*state-spaces\/mamba-130m-hf.*EleutherAI\/pythia-160m.*hellaswag.*no instructions to tune on; give --data/;
    await refusesStudy(1, lacks, '--preset', 'paper');
    await refuses(
      work,
      2,
      /all exists and is not empty; give --resume/,
      'study',
      'downstream',
      ...COMMON,
      ...MODELS,
      '--out',
      at('all'),
    );
  });
});

/** Runs in the page, all details open. */
const LOOK = `(() => {
  for (const details of document.querySelectorAll('details')) details.open = true;
  const { scrollWidth, clientWidth } = document.documentElement;
  const shown = [...document.querySelectorAll('svg[role=img]')].filter((svg) => getComputedStyle(svg).display !== 'none');
  const outside = shown.filter((svg) => svg.getBoundingClientRect().right > clientWidth).length;
  const left = document.querySelector('main').getBoundingClientRect().left;
  const boxOf = (text) => text.getBoundingClientRect();
  const cut = shown.flatMap((svg) => [...svg.querySelectorAll('text')])
    .filter((text) => boxOf(text).left < left - 1 || boxOf(text).right > clientWidth)
    .map((text) => text.textContent);
  const sideways = [...document.querySelectorAll('.scroll')].filter((box) => box.scrollWidth > box.clientWidth + 1)
    .map((box) => box.getAttribute('aria-label'));
  const paper = getComputedStyle(document.body).backgroundColor;
  return { overflow: scrollWidth - clientWidth, shown: shown.length, outside, paper, cut, sideways, text: document.body.innerText };
})()`;

describe('its page in Chromium', { skip: withoutChromium }, () => {
  let browser: Browser;
  before(async () => {
    browser = await launchChromium();
  });
  after(async () => {
    await browser?.close();
  });

  it('says nothing on the console, and nothing of it runs over, at any width and in either light', async () => {
    const papers = new Set<string>();
    for (const width of [390, 1000, 1280]) {
      for (const colorScheme of ['light', 'dark'] as const) {
        type Seen = {
          overflow: number;
          shown: number;
          outside: number;
          paper: string;
          cut: string[];
          sideways: string[];
          text: string;
        };
        const file = join(at('all'), 'report.html');
        const { seen, said } = await lookAt<Seen>(browser, file, { width, colorScheme }, LOOK);
        const where = `${width} ${colorScheme}`;
        assert.deepEqual(said, [], where);
        assert.deepEqual([seen.overflow, seen.outside, seen.shown], [0, 0, 3], where);
        assert.deepEqual(seen.cut, [], `${where}: a label is cut off`);
        if (width >= 1000) assert.deepEqual(seen.sideways, [], `${where}: a table scrolls sideways`);
        else assert.ok(!seen.sideways.some((label) => label.startsWith('What Halloran')), `${where}: findings scroll`);
        assert.doesNotMatch(seen.text, /\de-1\d/, `${where}: what rounding left is told as a figure`);
        papers.add(seen.paper);
        for (const heading of [
          'Raw scores',
          'What mixed precision changes',
          'Speed and memory',
          'What this can and cannot say',
        ]) {
          assert.ok(seen.text.includes(heading), `${where}: ${heading} is missing`);
        }
      }
    }
    assert.equal(papers.size, 2, 'light and dark are alike');
  });
});
