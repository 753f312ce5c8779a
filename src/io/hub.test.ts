import assert from 'node:assert/strict';
import { existsSync, lstatSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, beforeEach, describe, test } from 'node:test';
import { EnvironmentError, FileFormatError, type KraitError, UsageError } from '../core/index.ts';
import { BlobFileSystem } from '../platform/browser/index.ts';
import { NodeFileSystem } from '../platform/node/index.ts';
import { openCheckpoint } from './checkpoint.ts';
import { NetworkError } from './http-exchange.ts';
import { type DownloadProgress, type ResolveOptions, resolveModel } from './hub.ts';
import { type HubSettings, hubSettings } from './hub-settings.ts';
import { writeSafetensors } from './safetensors-writer.ts';
import { gitEtag, HubServer, sha256, TOKEN } from './testing/hub-server.ts';

const COMMIT = 'c'.repeat(40);
const files = new NodeFileSystem();

async function weights(name: string, size: number): Promise<Uint8Array> {
  const memory = new BlobFileSystem();
  const data = () => new Uint8Array(Float32Array.from({ length: size }, (_, i) => i).buffer);
  await writeSafetensors(memory, 'x', [{ name, dtype: 'F32', shape: [size], data }]);
  const file = await memory.open('x');
  return file.read(0, file.size);
}

const WEIGHTS = await weights('w', 50_000);
const CONFIG = '{"model_type":"mamba"}';
const INDEX = JSON.stringify({ weight_map: { a: 'model-1.safetensors', b: 'model-2.safetensors' } });
const plain = {
  'config.json': CONFIG,
  'tokenizer.json': '{}',
  'model.safetensors': WEIGHTS,
  'README.md': 'not fetched',
  'flax_model.msgpack': 'nor this',
};

const server = new HubServer({
  'org/plain': { commit: COMMIT, files: plain },
  'org/sharded': {
    commit: COMMIT,
    files: {
      'config.json': CONFIG,
      'model.safetensors.index.json': INDEX,
      'model-1.safetensors': await weights('a', 10),
      'model-2.safetensors': await weights('b', 20),
    },
  },
  'org/pickle': { commit: COMMIT, files: { 'config.json': CONFIG, 'pytorch_model.bin': 'x' } },
  'org/nothing': { commit: COMMIT, files: { 'config.json': CONFIG } },
  'org/bare': { commit: COMMIT, files: { 'README.md': 'x' } },
  'org/private': { commit: COMMIT, files: plain, isPrivate: true },
  'org/gated': { commit: COMMIT, files: plain, isGated: true },
  'org/renamed': 'org/plain',
  'org/circle': 'org/circle',
  single: { commit: COMMIT, files: plain },
});

before(() => server.start());
after(() => server.stop());

let cacheDir: string;
beforeEach(() => {
  cacheDir = mkdtempSync(join(tmpdir(), 'krait-hub-'));
  server.faults = {};
  server.takeRequests();
});
afterEach(() => rmSync(cacheDir, { recursive: true, force: true }));

const settings = (changes: Partial<HubSettings> = {}): HubSettings => ({
  cacheDir,
  endpoint: server.endpoint,
  offline: false,
  token: null,
  ...changes,
});
const resolve = (id: string, options: ResolveOptions = {}, changes: Partial<HubSettings> = {}, fs = files) =>
  resolveModel(fs, id, settings(changes), { retryDelayMs: 1, timeoutMs: 5000, ...options });
const snapshot = (id: string, commit = COMMIT) =>
  join(cacheDir, `models--${id.replace('/', '--')}`, 'snapshots', commit);
const blobs = (id: string) => readdirSync(join(cacheDir, `models--${id.replace('/', '--')}`, 'blobs')).sort();

async function fails(
  promise: Promise<unknown>,
  kind: new (...args: never[]) => KraitError,
  expected: RegExp,
): Promise<void> {
  await assert.rejects(promise, (error: Error) => {
    assert.ok(error instanceof kind, String(error.stack));
    assert.match(error.message, expected);
    assert.match(error.message, /^[^\n]+; [^\n]+$/, 'one line with a remedy');
    return true;
  });
}

describe('a model that is fetched', () => {
  test('lies in the layout of the Hugging Face cache, with what is needed and no more', async () => {
    const folder = await resolve('org/plain');
    assert.equal(folder, snapshot('org/plain'));
    assert.deepEqual(readdirSync(folder).sort(), ['config.json', 'model.safetensors', 'tokenizer.json']);
    assert.deepEqual(blobs('org/plain'), [gitEtag(CONFIG), gitEtag('{}'), sha256(WEIGHTS)].sort());
    assert.equal(readFileSync(join(cacheDir, 'models--org--plain/refs/main'), 'utf8'), COMMIT);
    assert.ok(lstatSync(join(folder, 'model.safetensors')).isSymbolicLink());
    assert.deepEqual(readFileSync(join(folder, 'model.safetensors')), Buffer.from(WEIGHTS));
    const checkpoint = await openCheckpoint(files, folder);
    assert.equal(checkpoint.info('w').shape[0], 50_000);
    await checkpoint.close();
  });

  test('is asked about once afterwards, and not at all by its commit', async () => {
    await resolve('org/plain');
    server.takeRequests();
    await resolve('org/plain');
    assert.deepEqual(
      server.takeRequests().map(({ method, url }) => `${method} ${url}`),
      ['HEAD /org/plain/resolve/main/config.json'],
    );
    assert.equal(await resolve('org/plain', { revision: COMMIT }), snapshot('org/plain'));
    assert.deepEqual(server.takeRequests(), []);
  });

  test('by commit, by an id without organisation, by an old name', async () => {
    assert.equal(await resolve('org/plain', { revision: COMMIT }), snapshot('org/plain'));
    assert.equal(await resolve('single'), snapshot('single'));
    assert.ok(existsSync(join(await resolve('org/renamed'), 'model.safetensors')));
  });

  test('in shards', async () => {
    const folder = await resolve('org/sharded');
    const expected = ['config.json', 'model-1.safetensors', 'model-2.safetensors', 'model.safetensors.index.json'];
    assert.deepEqual(readdirSync(folder).sort(), expected);
    const checkpoint = await openCheckpoint(files, folder);
    assert.deepEqual([...checkpoint.tensors.keys()].sort(), ['a', 'b']);
    await checkpoint.close();
  });

  test('copied where links are not possible', async () => {
    const folder = await resolve('org/plain', {}, {}, new NodeFileSystem(false));
    assert.ok(lstatSync(join(folder, 'model.safetensors')).isFile());
    assert.deepEqual(readFileSync(join(folder, 'model.safetensors')), Buffer.from(WEIGHTS));
  });

  test('tells its progress', async () => {
    const seen: DownloadProgress[] = [];
    await resolve('org/plain', { progress: (progress) => seen.push(progress) });
    const last = seen.filter(({ file }) => file === 'model.safetensors').at(-1);
    assert.deepEqual(last, { file: 'model.safetensors', receivedBytes: WEIGHTS.length, totalBytes: WEIGHTS.length });
    assert.ok(
      seen.every(
        ({ receivedBytes }, i) =>
          i === 0 || seen[i - 1].file !== seen[i].file || receivedBytes >= seen[i - 1].receivedBytes,
      ),
    );
  });

  test('the token is for the hub, not for its storage', async () => {
    await resolve('org/private', {}, { token: TOKEN });
    const requests = server.takeRequests();
    assert.ok(
      requests
        .filter(({ server }) => server === 'hub')
        .every(({ authorization }) => authorization === `Bearer ${TOKEN}`),
    );
    const storage = requests.filter(({ server }) => server === 'storage');
    assert.deepEqual(
      storage.map(({ authorization }) => authorization),
      [undefined],
    );
  });

  test('from servers that lack HEAD, or do not say the commit', async () => {
    server.faults = { hasNoHead: true };
    assert.ok(existsSync(join(await resolve('org/plain'), 'model.safetensors')));
    server.faults = { hidesCommit: true };
    const folder = await resolve('single');
    assert.match(folder, /snapshots\/unversioned-/);
    assert.ok(existsSync(join(folder, 'model.safetensors')));
    assert.equal(await resolve('single'), folder);
    assert.equal(await resolve('single', {}, { offline: true }), folder);
  });

  test('after the server was busy', async () => {
    server.faults = { busy: 3 };
    assert.ok(await resolve('org/plain'));
    server.faults = { busy: 1000 };
    await fails(
      resolve('org/sharded'),
      EnvironmentError,
      /\/org\/sharded\/resolve\/main\/config\.json: the server is busy \(503\); try again later/,
    );
  });

  test('again, when the branch has moved on; what did not change is not fetched twice', async () => {
    await resolve('org/plain');
    const repository = server.repositories['org/plain'];
    const next = 'd'.repeat(40);
    server.repositories['org/plain'] = {
      commit: next,
      files: { ...plain, 'config.json': '{"model_type":"mamba","n":2}' },
    };
    server.takeRequests();
    const folder = await resolve('org/plain');
    server.repositories['org/plain'] = repository;
    assert.equal(folder, snapshot('org/plain', next));
    assert.equal(readFileSync(join(folder, 'config.json'), 'utf8'), '{"model_type":"mamba","n":2}');
    assert.equal(server.takeRequests().filter(({ server }) => server === 'storage').length, 0);
  });
});

describe('a download that is cut off', () => {
  const incomplete = () => join(cacheDir, 'models--org--plain/blobs', `${sha256(WEIGHTS)}.incomplete`);
  const ranges = () =>
    server
      .takeRequests()
      .filter(({ server }) => server === 'storage')
      .map(({ range }) => range);

  test('is resumed where it was cut', async () => {
    server.faults = { cutAfter: 60_000, cuts: 2 };
    const folder = await resolve('org/plain');
    assert.deepEqual(readFileSync(join(folder, 'model.safetensors')), Buffer.from(WEIGHTS));
    const asked = ranges();
    assert.equal(asked.length, 3);
    assert.equal(asked[0], undefined);
    assert.match(asked[1]!, /^bytes=[1-9]\d*-$/);
    assert.ok(!existsSync(incomplete()));
  });

  test('and stays cut off is an error, leaves nothing that looks complete, and resumes the next time', async () => {
    server.faults = { cutAfter: 60_000, cuts: 1 };
    const promise = resolve('org/plain', { attempts: 1 });
    await fails(
      promise,
      EnvironmentError,
      /^org\/plain\/model\.safetensors: cut off after .* of 195\.4 KiB \(.*\); run the same command again: it resumes$/,
    );
    assert.ok(!existsSync(join(snapshot('org/plain'), 'model.safetensors')));
    assert.ok(!blobs('org/plain').includes(sha256(WEIGHTS)));
    const received = lstatSync(incomplete()).size;
    assert.ok(received > 0 && received < WEIGHTS.length);
    await fails(resolve('org/plain', {}, { offline: true }), EnvironmentError, /is not complete in/);
    ranges();
    const folder = await resolve('org/plain');
    assert.deepEqual(ranges(), [`bytes=${received}-`]);
    assert.deepEqual(readFileSync(join(folder, 'model.safetensors')), Buffer.from(WEIGHTS));
  });

  test('starts again from a server that ignores ranges', async () => {
    server.faults = { cutAfter: 60_000, cuts: 1, ignoresRanges: true };
    const folder = await resolve('org/plain');
    assert.deepEqual(readFileSync(join(folder, 'model.safetensors')), Buffer.from(WEIGHTS));
  });

  test('a silent server is given up', async () => {
    server.faults = { isSilent: true };
    const promise = resolve('org/plain', { attempts: 2, timeoutMs: 50 });
    await fails(promise, EnvironmentError, /cut off after 0 B .*silent for 50 ms/);
  });

  test('what is there beforehand is checked: complete, too long, damaged', async () => {
    const cases: [string, Uint8Array, (string | undefined)[]][] = [
      ['complete', WEIGHTS, []],
      ['too long', new Uint8Array(WEIGHTS.length + 5), [undefined]],
      ['damaged', new Uint8Array(1000), ['bytes=1000-', undefined]],
    ];
    for (const [name, content, asked] of cases) {
      await files.remove(cacheDir);
      await files.writeAtomic(incomplete(), content);
      ranges();
      const folder = await resolve('org/plain');
      assert.deepEqual(readFileSync(join(folder, 'model.safetensors')), Buffer.from(WEIGHTS), name);
      assert.deepEqual(ranges(), asked, name);
    }
  });

  test('content with a wrong checksum or length is never kept', async () => {
    server.faults = { wrongContent: WEIGHTS.map((byte) => byte ^ 1) };
    await fails(
      resolve('org/plain'),
      EnvironmentError,
      /^org\/plain\/model\.safetensors: arrived damaged \(sha256 .*, expected .*\); run/,
    );
    server.faults = { wrongContent: new Uint8Array(WEIGHTS.length + 1) };
    await fails(resolve('org/plain', { attempts: 2 }), EnvironmentError, /more bytes than the 200072 announced/);
    server.faults = { wrongContent: WEIGHTS.subarray(0, 100) };
    await fails(resolve('org/plain', { attempts: 2 }), EnvironmentError, /cut off after 100 B/);
    assert.ok(!existsSync(join(snapshot('org/plain'), 'model.safetensors')));
  });

  test('aborted by the caller, it stays resumable', async () => {
    const controller = new AbortController();
    const progress = ({ file, receivedBytes }: DownloadProgress) => {
      if (file === 'model.safetensors' && receivedBytes > 0) controller.abort(new Error('stop'));
    };
    server.faults = { cutAfter: 60_000, cuts: 1 };
    await assert.rejects(resolve('org/plain', { signal: controller.signal, progress }), /^Error: stop$/);
    assert.ok(lstatSync(incomplete()).size > 0);
    assert.ok(await resolve('org/plain'));
  });

  test('two at once end with one good file', async () => {
    server.faults = { cutAfter: 60_000, cuts: 3 };
    const [one, two] = await Promise.all([resolve('org/plain'), resolve('org/plain', {}, {}, new NodeFileSystem())]);
    assert.equal(one, two);
    assert.deepEqual(readFileSync(join(one, 'model.safetensors')), Buffer.from(WEIGHTS));
  });
});

describe('without a network', () => {
  const unreachable = { endpoint: 'http://127.0.0.1:1' };

  test('the cache serves, offline by choice or by need', async () => {
    const folder = await resolve('org/sharded');
    server.takeRequests();
    assert.equal(await resolve('org/sharded', {}, { offline: true }), folder);
    assert.deepEqual(server.takeRequests(), []);
    const warnings: string[] = [];
    assert.equal(await resolve('org/sharded', { warn: (line) => warnings.push(line) }, unreachable), folder);
    assert.equal(warnings.length, 1);
    assert.match(
      warnings[0],
      /^http:\/\/127\.0\.0\.1:1 cannot be reached \(ECONNREFUSED\): using org\/sharded as it was last fetched$/,
    );
  });

  test('a model that is not there is an error with the way out', async () => {
    await fails(
      resolve('org/plain', {}, { offline: true }),
      EnvironmentError,
      /^model org\/plain \(main\) is not complete in .* and HF_HUB_OFFLINE is set; unset it/,
    );
    await fails(
      resolve('org/plain', {}, unreachable),
      NetworkError,
      /^http:\/\/127\.0\.0\.1:1 cannot be reached \(ECONNREFUSED\); check the connection and HF_ENDPOINT, or give the folder/,
    );
    assert.deepEqual(readdirSync(cacheDir), []);
  });

  test('a snapshot without a shard is not complete', async () => {
    const folder = await resolve('org/sharded');
    rmSync(join(folder, 'model-2.safetensors'));
    await fails(resolve('org/sharded', {}, { offline: true }), EnvironmentError, /is not complete/);
    assert.ok(existsSync(join(await resolve('org/sharded'), 'model-2.safetensors')));
  });
});

describe('what is no model', () => {
  test('is refused in one line', async () => {
    const cases: [string, ResolveOptions, RegExp][] = [
      ['org/absent', {}, /^no model org\/absent on http.* \(401\); check the id, or set HF_TOKEN if it is private$/],
      ['org/private', {}, /^no model org\/private on http.* \(401\); check the id, or set HF_TOKEN/],
      [
        'org/gated',
        {},
        /^access to model org\/gated is refused \(403\); accept its terms on http.*\/org\/gated and set HF_TOKEN/,
      ],
      ['org/plain', { revision: 'v9' }, /^model org\/plain on http.* has no revision v9; check --revision/],
      ['org/bare', {}, /^model org\/bare has no config\.json at main; use a repository in the format of transformers/],
      [
        'org/nothing',
        {},
        /^model org\/nothing has neither model\.safetensors nor model\.safetensors\.index\.json; use/,
      ],
      ['org/circle', {}, /more than 5 redirects; check HF_ENDPOINT/],
    ];
    for (const [id, options, expected] of cases) await fails(resolve(id, options), EnvironmentError, expected);
    await fails(
      resolve('org/pickle'),
      FileFormatError,
      /^org\/pickle\/pytorch_model\.bin: .*pickle only.*save_file.*-hf/,
    );
    assert.deepEqual(readdirSync(cacheDir), [], 'nothing was written');
  });

  test('paths and ids are told apart before anything is asked', async () => {
    const folder = join(cacheDir, 'local');
    await files.makeFolder(folder);
    assert.equal(await resolve(folder), folder);
    const file = join(cacheDir, 'file');
    writeFileSync(file, '');
    await fails(resolve(file), UsageError, /file: is a file; give the folder of a model/);
    for (const path of ['./missing', '/missing/x', 'a/b/c', '../x', 'a/..', '', 'C:\\models', '-x/y']) {
      await fails(resolve(path), UsageError, /no such folder; give the folder of a model, or an id such as/);
    }
    await fails(resolve('org/plain', { revision: '../x' }), UsageError, /--revision: "\.\.\/x" is not a branch/);
    assert.deepEqual(server.takeRequests(), []);
  });
});

describe('settings', () => {
  test("are those of Hugging Face's variables", () => {
    const of = (env: Record<string, string>) => hubSettings(env, '/home/me');
    assert.deepEqual(of({}), {
      cacheDir: '/home/me/.cache/huggingface/hub',
      endpoint: 'https://huggingface.co',
      offline: false,
      token: null,
    });
    assert.equal(of({ XDG_CACHE_HOME: '/x' }).cacheDir, '/x/huggingface/hub');
    assert.equal(of({ HF_HOME: '/h', XDG_CACHE_HOME: '/x' }).cacheDir, '/h/hub');
    assert.equal(of({ HF_HOME: '~/h' }).cacheDir, '/home/me/h/hub');
    assert.equal(of({ HF_HUB_CACHE: '/c', HF_HOME: '/h' }).cacheDir, '/c');
    assert.deepEqual(
      ['1', 'ON', 'yes', 'true', '0', '', 'off'].map((value) => of({ HF_HUB_OFFLINE: value }).offline),
      [true, true, true, true, false, false, false],
    );
    assert.equal(of({ HF_TOKEN: ' hf_x\n' }).token, 'hf_x');
    assert.equal(of({ HF_ENDPOINT: 'http://mirror:8080/' }).endpoint, 'http://mirror:8080');
    assert.throws(() => of({ HF_ENDPOINT: 'mirror' }), /HF_ENDPOINT: mirror is not an http\(s\) address/);
  });
});
