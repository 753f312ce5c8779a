/** Results that are kept: what is given out again, what is measured again, and which line says so. */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { textHash } from '../core/index.ts';
import { NodeFileSystem } from '../platform/node/index.ts';
import { CellLog, CellStore, identityHash } from './cells.ts';
import { modelIdentity } from './model-identity.ts';

const files = new NodeFileSystem();
const work = mkdtempSync(join(tmpdir(), 'krait-cells-'));
after(() => rmSync(work, { recursive: true, force: true }));
const at = (...parts: string[]) => join(work, ...parts);

interface Result {
  readonly value: number | null;
}

function storeAt(folder: string, key?: string) {
  const lines: string[] = [];
  const store = new CellStore<Result>(files, at(folder), { key, onWarning: (line) => void lines.push(line) });
  return { store, lines };
}

describe('a store of cells', () => {
  const identity = { version: 1, weights: { 'model.safetensors': 'ab' } };

  it('gives a result back for its identity alone, and says once that others are measured again', async () => {
    const { store, lines } = storeAt('kept');
    assert.equal(await store.read('one', identity), null);
    await store.write('one', identity, { value: 0.1 });
    await store.write('two/result', identity, { value: 2 }, { spec: 'second' });
    assert.deepEqual(await store.read('one', { ...identity }), { value: 0.1 });
    assert.deepEqual(await store.read('two/result', identity), { value: 2 });
    assert.deepEqual(lines, []);
    const other = { ...identity, version: 2 };
    assert.deepEqual([await store.read('one', other), await store.read('two/result', other)], [null, null]);
    assert.equal(lines.length, 1);
    assert.match(lines[0], /kept.one\.json: kept from other models, data, settings or another version; it, and others/);
  });

  it('writes whole files with the hash of the identity, what stands beside, and the result', async () => {
    const { store } = storeAt('written');
    await store.write('cell', identity, { value: 3 }, { spec: { seed: 1 } });
    assert.deepEqual(readdirSync(at('written')), ['cell.json']);
    const hash = await textHash(JSON.stringify(identity));
    assert.equal(
      readFileSync(at('written', 'cell.json'), 'utf8'),
      `{"identity":"${hash}","spec":{"seed":1},"result":{"value":3}}\n`,
    );
  });

  it('returns what it will give back: what is no finite number is null', async () => {
    const { store } = storeAt('numbers');
    const written = await store.write('cell', identity, { value: Number.NaN });
    assert.deepEqual(written, { value: null });
    assert.deepEqual(await store.read('cell', identity), written);
  });

  it('measures damaged results again, with a line for each', async () => {
    const { store, lines } = storeAt('damaged');
    mkdirSync(at('damaged'));
    const damaged = { cut: '{"identity":', list: '[1]', binary: '\u0000' };
    for (const [name, text] of Object.entries(damaged)) {
      writeFileSync(at('damaged', `${name}.json`), text);
      assert.equal(await store.read(name, identity), null);
      assert.match(lines.at(-1)!, new RegExp(`${name}\\.json: .*; it is measured again$`));
    }
    assert.equal(lines.length, 3);
    writeFileSync(at('damaged', 'empty.json'), JSON.stringify({ identity: await identityHash(identity) }));
    assert.equal(await store.read('empty', identity), null);
    await store.write('cut', identity, { value: 1 });
    assert.deepEqual(await store.read('cut', identity), { value: 1 });
  });

  it('reads files of earlier versions: another key, or no identity where the reader knows it', async () => {
    const { store, lines } = storeAt('earlier', 'cell');
    mkdirSync(at('earlier'));
    const hash = await textHash(JSON.stringify(identity));
    writeFileSync(at('earlier', 'a.json'), `{"identity":"${hash}","cell":{"value":5}}\n`);
    assert.deepEqual(await store.read('a', identity), { value: 5 });
    writeFileSync(at('earlier', 'b.json'), '{ "value": 6, "lookback": 96 }');
    const read = (lookback: number) =>
      store.read('b', identity, (document) => (document['lookback'] === lookback ? { value: 6 } : null));
    assert.deepEqual(await read(96), { value: 6 });
    assert.deepEqual(lines, []);
    assert.equal(await read(720), null);
    assert.equal(lines.length, 1);
  });
});

describe('a log of cells', () => {
  const options = {
    noun: 'answer',
    resultOf: (value: unknown) => (typeof value === 'number' ? value : null),
    remedy: 'remove the file',
  };

  it('appends results as they come, drops a line that was cut short, and goes on', async () => {
    const path = at('log.jsonl');
    const log = await CellLog.open(files, path, options);
    await log.put([
      ['a', 1],
      ['b', 2],
    ]);
    assert.deepEqual([log.get('a'), log.get('c')], [1, undefined]);
    writeFileSync(path, `${readFileSync(path, 'utf8')}{"key":"c","ans`);
    const again = await CellLog.open(files, path, options);
    assert.deepEqual([again.get('b'), again.get('c')], [2, undefined]);
    await again.put([['c', 3]]);
    assert.equal(
      readFileSync(path, 'utf8'),
      '{"key":"a","answer":1}\n{"key":"b","answer":2}\n{"key":"c","answer":3}\n',
    );
  });

  it('refuses a file that holds something else, and leaves it as it is', async () => {
    for (const text of ['notes\n', '{"key":"a","answer":"one"}\n', '{"answer":1}\n', '[1]\n']) {
      writeFileSync(at('other.jsonl'), text);
      await assert.rejects(
        CellLog.open(files, at('other.jsonl'), options),
        /other\.jsonl:1: not a kept answer: .*; remove/,
      );
      assert.equal(readFileSync(at('other.jsonl'), 'utf8'), text);
    }
  });
});

describe('the identity of a model', () => {
  const write = (folder: string, contents: Record<string, string>) => {
    mkdirSync(at(folder), { recursive: true });
    for (const [name, text] of Object.entries(contents)) writeFileSync(at(folder, name), text);
    return at(folder);
  };

  it('is of its weights, configuration, tokenizer and adapter; not of its place or of other files', async () => {
    const own = { 'config.json': '{}', 'model.safetensors': 'weights', 'tokenizer.json': '[]' };
    const one = await modelIdentity(files, write('one', { ...own, 'README.md': 'first', 'metrics.jsonl': '1' }));
    assert.deepEqual(Object.keys(one), ['config.json', 'model.safetensors', 'tokenizer.json']);
    assert.equal(one['model.safetensors'], await textHash('weights'));
    assert.deepEqual(await modelIdentity(files, write('two', own)), one);
    for (const name of Object.keys(own)) {
      assert.notDeepEqual(await modelIdentity(files, write(`no-${name}`, { ...own, [name]: 'changed' })), one);
    }
    const adapter = write('adapter', { 'adapter_config.json': '{}', 'adapter_model.safetensors': 'factors' });
    const adapted = await modelIdentity(files, at('one'), adapter);
    assert.deepEqual(Object.keys(adapted).slice(3), [
      'adapter/adapter_config.json',
      'adapter/adapter_model.safetensors',
    ]);
  });
});
