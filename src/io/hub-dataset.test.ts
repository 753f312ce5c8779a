import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, beforeEach, describe, it } from 'node:test';
import { NodeFileSystem } from '../platform/node/index.ts';
import { resolveSplit, splitAddress } from './hub-dataset.ts';
import { HubServer } from './testing/hub-server.ts';

const files = new NodeFileSystem();
const COMMIT = 'c'.repeat(40);
const AT = { id: 'org/quiz', config: 'default', split: 'test' };
const bytes = (text: string) => new TextEncoder().encode(text);

describe('splits of data sets on a hub', () => {
  const folder = mkdtempSync(join(tmpdir(), 'krait-dataset-'));
  const server = new HubServer({
    'datasets/org/quiz': {
      commit: COMMIT,
      files: { 'default/test/0000.parquet': bytes('one'), 'default/test/0001.parquet': bytes('two') },
    },
  });
  let cacheDir = '';
  const settings = (more = {}) => ({ cacheDir, endpoint: server.endpoint, offline: false, token: null, ...more });
  before(() => server.start());
  beforeEach(() => {
    cacheDir = mkdtempSync(join(folder, 'cache-'));
    server.takeRequests();
  });
  after(async () => {
    await server.stop();
    rmSync(folder, { recursive: true });
  });

  it('come part by part into the cache of Hugging Face, and are not asked for twice', async () => {
    const paths = await resolveSplit(files, AT, settings());
    const snapshot = join(cacheDir, 'datasets--org--quiz', 'snapshots', COMMIT, 'default', 'test');
    assert.deepEqual(paths, [join(snapshot, '0000.parquet'), join(snapshot, '0001.parquet')]);
    assert.deepEqual(
      paths.map((path) => readFileSync(path, 'utf8')),
      ['one', 'two'],
    );
    const ref = join(cacheDir, 'datasets--org--quiz', 'refs', 'refs', 'convert', 'parquet');
    assert.equal(readFileSync(ref, 'utf8'), COMMIT);
    assert.equal(
      server.takeRequests()[0].url,
      `/datasets/org/quiz/resolve/refs%2Fconvert%2Fparquet/default/test/0000.parquet`,
    );
    assert.deepEqual(await resolveSplit(files, AT, settings()), paths);
    assert.deepEqual(server.takeRequests(), []);
    assert.deepEqual(await resolveSplit(files, AT, settings({ offline: true })), paths);
  });

  it('that are not there, or not to be had, are named with what can be done', async () => {
    await assert.rejects(
      resolveSplit(files, { ...AT, split: 'train' }, settings()),
      /data set org\/quiz has no default\/train\/0000\.parquet on the branch refs\/convert\/parquet/,
    );
    await assert.rejects(resolveSplit(files, { ...AT, id: 'org/none' }, settings()), /no data set org\/none on http/);
    await assert.rejects(
      resolveSplit(files, AT, settings({ offline: true })),
      /data set org\/quiz \(default, test\) is not in .* and HF_HUB_OFFLINE is set; unset it/,
    );
    assert.equal(existsSync(join(cacheDir, 'datasets--org--quiz', 'snapshots')), false);
    assert.match(
      splitAddress(AT, settings()),
      /\/datasets\/org\/quiz\/resolve\/refs%2Fconvert%2Fparquet\/default\/test\/0000\.parquet$/,
    );
  });
});
