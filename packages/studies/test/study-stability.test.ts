/** `krait study stability` on models of a few kilobytes: its files, what it keeps, what it refuses; its page in a browser. */
import assert from 'node:assert/strict';
import { copyFileSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { NodeFileSystem } from 'krait';
import { createModel, type LanguageModel, loadModel, parseConfig, saveModel } from 'krait/models';
import { Device } from 'krait/tensor';
import { attachLora, saveAdapter } from 'krait/tune';
import type { Browser } from 'playwright-core';
import { createReferenceBackend } from '../../../src/backend/reference/index.ts';
import { onlyInAll } from '../../../src/core/testing/only-in-all.ts';
import { launchChromium, lookAt, withoutChromium } from '../../../test/chromium.ts';
import { krait, refuses, workFolder } from '../../../test/cli-cases.ts';
import { writeTinyModel } from '../../../test/tiny-model.ts';
import { STABILITY_SETTINGS, studyStability } from '../src/stability/index.ts';

process.env.NO_COLOR = '1'; // .ci/run sets CI, which asks for colours

const work = workFolder('study-stability');
const at = (name: string) => join(work, name);
const files = new NodeFileSystem();
const text = 'hello world, the weather is well in hell and yellow leaves fall on a wall; who would tell? '.repeat(8);

const small = ['--texts', '2', '--warmup', '8', '--tokens', '16', '--directions', '2', '--precisions', 'bf16'];
const common = ['--file', at('text.txt'), '--device', 'reference', ...small];
const study = (...flags: string[]) => krait('study', 'stability', '--model', at('tiny'), ...common, ...flags);
const refusesStudy = (code: number, pattern: RegExp, ...flags: string[]) =>
  refuses(
    work,
    code,
    pattern,
    'study',
    'stability',
    '--model',
    at('tiny'),
    '--out',
    at('refused'),
    ...common,
    ...flags,
  );

/** Writes a changed copy of a model, or what `make` makes of nothing. */
async function writeModel(name: string, make: (device: Device) => Promise<LanguageModel>): Promise<void> {
  const device = new Device(createReferenceBackend());
  await saveModel(await make(device), files, at(name));
  copyFileSync(join(at('tiny'), 'tokenizer.json'), join(at(name), 'tokenizer.json'));
  device.close();
}

/** The tiny model with one number of a layer's A_log put to something else. */
const withRate = (name: string, value: number) =>
  writeModel(name, async (device) => {
    const model = await loadModel(device, files, at('tiny'));
    const aLog = model.parameters.get('backbone.layers.1.mixer.A_log')!;
    const values = (await aLog.read()) as Float32Array;
    values[3] = value;
    aLog.write(values);
    return model;
  });

before(async () => {
  writeFileSync(at('text.txt'), text);
  await writeTinyModel(at('tiny'));
  const sizes = {
    hidden_size: 16,
    num_hidden_layers: 2,
    num_attention_heads: 2,
    intermediate_size: 32,
    vocab_size: 272,
  };
  const neox = parseConfig({ model_type: 'gpt_neox', ...sizes, max_position_embeddings: 64 }, 'config.json');
  await writeModel('neox', async (device) => createModel(device, neox, 1));
  const device = new Device(createReferenceBackend());
  const model = await loadModel(device, files, at('tiny'));
  const adapter = attachLora(model, { r: 2, loraAlpha: 8, targetModules: ['x_proj', 'dt_proj'] });
  for (const [i, tensor] of [...adapter.trainable.values()].entries()) {
    tensor.write(Float32Array.from({ length: tensor.size }, (_, k) => Math.sin(i + k) / 4));
  }
  await saveAdapter(adapter, files, at('adapter'));
  device.close();
});

interface Model {
  label: string;
  verdict: string | null;
  complaint: string | null;
  recurrence: { maximal: number | null; layers: { verdict: string; notFinite: number }[] } | null;
  stream: { hidden: { times: number[]; median: number[]; rate: unknown } };
  rounding: { precision: string }[];
}
const read = (out: string) => JSON.parse(readFileSync(join(at(out), 'stability.json'), 'utf8')) as { models: Model[] };

describe('krait study stability', () => {
  before(async () => {
    const others = ['--adapter', `tuned=${at('adapter')}`, '--compare', at('neox')];
    const { code, stdout, stderr } = await study('--out', at('all'), '--json', ...others);
    assert.equal(code, 0, stderr);
    assert.deepEqual(JSON.parse(stdout).models, read('all').models);
  });

  it('measures the model, what tuning made of it, and a Transformer', () => {
    const { models } = read('all');
    assert.deepEqual(
      models.map(({ label, verdict, complaint }) => [label, verdict, complaint]),
      [
        ['tiny', 'stable', null],
        ['tuned', 'stable', null],
        ['neox', null, null],
      ],
    );
    const [tiny, tuned, neox] = models;
    assert.ok(tiny.recurrence!.maximal! < 0 && tuned.recurrence!.maximal! < 0, 'an exponent is not below 0');
    assert.notEqual(tiny.recurrence!.maximal, tuned.recurrence!.maximal, 'the adapter changed nothing');
    assert.equal(neox.recurrence, null);
    for (const { stream, rounding } of models) {
      assert.deepEqual(stream.hidden.times, [1, 2, 3, 4, 6, 8, 11, 16]);
      assert.ok(
        stream.hidden.median.every((x) => x > 0),
        'no deviation',
      );
      assert.deepEqual(
        rounding.map(({ precision }) => precision),
        ['bf16'],
      );
    }
  });

  it('writes CSV with a figure a row', () => {
    const [head, ...rows] = readFileSync(join(at('all'), 'stability.csv'), 'utf8')
      .trimEnd()
      .split('\n');
    assert.equal(head, 'model,quantity,layer,position,value,low,high');
    const quantities = new Set(rows.map((row) => row.split(',').slice(0, 2).join(' ')));
    for (const wanted of ['tiny exponent.maximal', 'tuned frozen', 'neox stream.hidden', 'neox bf16.logits']) {
      assert.ok(quantities.has(wanted), `${wanted} is not among ${[...quantities].join(', ')}`);
    }
    assert.ok(!quantities.has('neox frozen'), 'a Transformer has a recurrence');
    assert.ok(
      rows.every((row) => row.split(',').length === 7),
      'a row has another number of fields',
    );
  });

  it('keeps what is measured, for --resume with the same settings alone', onlyInAll('many studies'), async () => {
    const flags = ['--out', at('kept'), '--compare', at('neox')];
    assert.equal((await study(...flags)).code, 0);
    const first = readFileSync(join(at('kept'), 'stability.json'), 'utf8');
    const again = await study(...flags, '--resume');
    assert.equal(again.code, 0, again.stderr);
    assert.match(again.stderr, /tiny: measured before\nneox: measured before\n/);
    assert.equal(readFileSync(join(at('kept'), 'stability.json'), 'utf8'), first);
    writeFileSync(join(at('kept'), 'cells', '02-neox.json'), '{"identity":');
    const mended = await study(...flags, '--resume');
    assert.match(mended.stderr, /tiny: measured before\n/);
    assert.match(mended.stderr, /warning .*02-neox\.json: .*; it is measured again\n/);
    const other = await study(...flags, '--resume', '--seed', '5');
    assert.doesNotMatch(other.stderr, /measured before/);
    assert.notEqual(readFileSync(join(at('kept'), 'stability.json'), 'utf8'), first);
  });

  it('goes on where it was stopped', async () => {
    const device = new Device(createReferenceBackend());
    const models = ['tiny', 'neox'].map((label) => ({ label, folder: at(label), adapter: null }));
    const settings = {
      ...STABILITY_SETTINGS,
      texts: 1,
      warmup: 4,
      horizon: 8,
      window: 8,
      directions: 1,
      precisions: [],
    };
    const input = { device, files, models, settings, documents: [text], source: 'text', out: at('stopped') };
    const stop = new AbortController();
    const onModel = (label: string) => void (label === 'neox' && stop.abort());
    await assert.rejects(studyStability({ ...input, signal: stop.signal, onModel }), { name: 'AbortError' });
    assert.equal(device.memory().blocks, 0, 'blocks stay behind');
    const seen: [string, boolean][] = [];
    const { cells } = await studyStability({ ...input, onModel: (label, isKept) => void seen.push([label, isKept]) });
    assert.deepEqual(seen, [
      ['tiny', true],
      ['neox', false],
    ]);
    const { cells: whole } = await studyStability({ ...input, out: null });
    assert.deepEqual(
      cells.map(({ result }) => result),
      whole.map(({ result }) => result),
    );
    device.close();
  });

  it('says of a checkpoint whose A has the wrong sign that it is unstable', async () => {
    await withRate('wrong', Math.log(-1)); // what a converter makes of A = 1: -exp(A_log) has no positive values
    const { code, stdout, stderr } = await study('--out', at('unstable'), '--compare', at('wrong'));
    assert.equal(code, 0, stderr);
    const [tiny, wrong] = read('unstable').models;
    assert.deepEqual([tiny.verdict, wrong.verdict], ['stable', 'unstable']);
    assert.equal(wrong.recurrence!.maximal, null);
    assert.deepEqual(
      wrong.recurrence!.layers.map(({ verdict, notFinite }) => [verdict, notFinite]),
      [
        ['stable', 0],
        ['unstable', 1],
      ],
    );
    assert.match(stdout, /wrong +unstable +– +– +– +– /); // what is not a number is not counted as gone
    assert.match(
      stderr,
      /warning .*model\.safetensors: tensor backbone\.layers\.1\.mixer\.A_log: 1 of \d+ values are NaN/,
    );
    assert.match(
      stderr,
      /warning wrong is UNSTABLE: .*layer 1: exponent not a number \(1 not finite of \d+ states\)\n$/,
    );
    assert.match(wrong.complaint!, /^wrong is UNSTABLE/);
    const page = readFileSync(join(at('unstable'), 'report.html'), 'utf8');
    assert.match(page, /class="callout alert"[\s\S]*wrong is UNSTABLE/);
    assert.match(page, /<td class="alert">unstable<\/td>/);
  });

  it('says of one that never forgets that it is marginal', onlyInAll('two studies for a line'), async () => {
    await withRate('keeping', Number.NEGATIVE_INFINITY); // A = -0
    const { stderr } = await study('--out', at('marginal'), '--compare', at('keeping'));
    assert.match(
      stderr,
      /warning keeping is marginal: some state never forgets \(exponent 0\): layer 1: exponent 0\n$/,
    );
    assert.equal(read('marginal').models[1].verdict, 'marginal');
  });

  it('refuses what it cannot do, in one line', async () => {
    await refusesStudy(2, /two models are called tiny; name them: --compare name=/, '--compare', at('tiny'));
    await refusesStudy(2, /--precisions.* expected some of bf16,f16 or none, got f8/, '--precisions', 'f8');
    await refusesStudy(2, /horizon: 16 is no multiple of the window of 5; give 15/, '--window', '5');
    await refusesStudy(
      2,
      /text\.txt: 3 texts are wanted, got \d of at least 408 tokens \(the longest has \d+\)/,
      '--texts',
      '3',
      '--tokens',
      '400',
    );
    await refusesStudy(1, /nothing\.txt: no such file/, '--file', at('nothing.txt'));
    await refusesStudy(1, /neox.adapter_config\.json: no such file or folder; check the path/, '--adapter', at('neox'));
    await refusesStudy(2, /unknown option '--texst' \(did you mean --texts\?\)/, '--texst', '4');
    await refuses(work, 2, /krait: .*stabilty/, 'study', 'stabilty', '--model', at('tiny'));
    await refuses(
      work,
      2,
      /all exists and is not empty; give --resume to go on/,
      'study',
      'stability',
      '--model',
      at('tiny'),
      '--out',
      at('all'),
    );
  });

  it('warns of more positions than a Transformer was made for', onlyInAll('two studies for a line'), async () => {
    const flags = ['--out', at('long'), '--compare', at('neox'), '--tokens', '64', '--texts', '1'];
    const { stderr } = await study(...flags);
    assert.match(stderr, /warning neox: made for 64 positions, and read for 72; give fewer --tokens/);
  });
});

/** What a page tells of itself. */
interface Seen {
  overflow: number;
  plots: number;
  shown: number;
  outside: number;
  /** Height of the smallest label, in pixels. */
  smallest: number;
  ink: string;
  paper: string;
  stroke: string;
}

/** Runs in the page, all details open. */
const LOOK = `(() => {
  for (const details of document.querySelectorAll('details')) details.open = true;
  const { scrollWidth, clientWidth } = document.documentElement;
  const all = [...document.querySelectorAll('svg[role=img]')];
  const shown = all.filter((svg) => getComputedStyle(svg).display !== 'none');
  const heights = shown.flatMap((svg) => [...svg.querySelectorAll('text')].map((t) => t.getBoundingClientRect().height));
  const { color: ink, backgroundColor: paper } = getComputedStyle(document.body);
  const { stroke } = getComputedStyle(document.querySelector('svg [aria-label=line] path, svg path[aria-label=line]'));
  const outside = shown.filter((svg) => svg.getBoundingClientRect().right > clientWidth).length;
  const counts = { plots: all.length / 2, shown: shown.length, outside };
  return { overflow: scrollWidth - clientWidth, ...counts, smallest: Math.min(...heights), ink, paper, stroke };
})()`;

describe('its page in Chromium', { skip: withoutChromium }, () => {
  let browser: Browser;
  before(async () => {
    browser = await launchChromium();
  });
  after(async () => {
    await browser?.close();
  });

  /** What the page at `out` looks like from within; fails on anything that is said on the console or asked for elsewhere. */
  async function look(out: string, width: number, colorScheme: 'light' | 'dark') {
    const { seen, said } = await lookAt<Seen>(browser, join(at(out), 'report.html'), { width, colorScheme }, LOOK);
    assert.deepEqual(said, [], `${out} ${width} ${colorScheme}`);
    return seen;
  }

  const luminance = (color: string) =>
    color
      .match(/\d+/g)!
      .slice(0, 3)
      .reduce((sum, c) => sum + Number(c) / 765, 0);

  for (const [out, width] of [
    ['all', 390],
    ['all', 1280],
    ['unstable', 390],
  ] as const) {
    it(`fits ${width} pixels, light and dark, and says nothing on the console: ${out}`, async () => {
      const [light, dark] = [await look(out, width, 'light'), await look(out, width, 'dark')];
      for (const seen of [light, dark]) {
        assert.equal(seen.overflow, 0, 'the page is wider than the window');
        assert.ok(seen.plots >= 6 && seen.shown === seen.plots, `${seen.shown} of ${seen.plots} plots are shown`);
        assert.equal(seen.outside, 0, 'a plot sticks out');
        assert.ok(seen.smallest >= 9, `a label is ${seen.smallest} pixels high`);
      }
      assert.ok(luminance(light.paper) > 0.9 && luminance(light.ink) < 0.3, `${light.ink} on ${light.paper}`);
      assert.ok(luminance(dark.paper) < 0.2 && luminance(dark.ink) > 0.7, `${dark.ink} on ${dark.paper}`);
      assert.notEqual(light.stroke, dark.stroke, 'lines have the same colour in the light and in the dark');
    });
  }
});
