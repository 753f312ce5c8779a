import assert from 'node:assert/strict';
import { existsSync, lstatSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { EnvironmentError, FileFormatError, UsageError } from '../core/index.ts';
import { NodeFileSystem } from '../platform/node/index.ts';
import { openCheckpoint } from './checkpoint.ts';
import type { DownloadProgress, ResolveOptions } from './hub.ts';
import { hubSettings } from './hub-settings.ts';
import { COMMIT, CONFIG, fails, PLAIN, useHub, WEIGHTS } from './testing/hub-models.ts';
import { gitEtag, sha256, TOKEN } from './testing/hub-server.ts';

const hub = useHub();
const { files, server, resolve, snapshot, blobs } = hub;

describe('a model that is fetched', () => {
  test('lies in the layout of the Hugging Face cache, with what is needed and no more', async () => {
    const folder = await resolve('org/plain');
    assert.equal(folder, snapshot('org/plain'));
    assert.deepEqual(readdirSync(folder).sort(), ['config.json', 'model.safetensors', 'tokenizer.json']);
    assert.deepEqual(blobs('org/plain'), [gitEtag(CONFIG), gitEtag('{}'), sha256(WEIGHTS)].sort());
    assert.equal(readFileSync(join(hub.cacheDir, 'models--org--plain/refs/main'), 'utf8'), COMMIT);
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

  test('from servers that lack HEAD, or say nothing of commits and errors', async () => {
    server.faults = { hasNoHead: true };
    assert.ok(existsSync(join(await resolve('org/plain'), 'model.safetensors')));
    server.faults = { isPlain: true };
    const folder = await resolve('single');
    assert.match(folder, /snapshots\/unversioned-/);
    assert.ok(existsSync(join(folder, 'model.safetensors')));
    assert.equal(await resolve('single'), folder);
    assert.equal(await resolve('single', {}, { offline: true }), folder);
    await fails(resolve('org/bare'), EnvironmentError, /^no model org\/bare on http.* \(404\); check the id/);
    await fails(resolve('org/pickle'), FileFormatError, /PyTorch pickle/);
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
      files: { ...PLAIN, 'config.json': '{"model_type":"mamba","n":2}' },
    };
    server.takeRequests();
    const folder = await resolve('org/plain');
    server.repositories['org/plain'] = repository;
    assert.equal(folder, snapshot('org/plain', next));
    assert.equal(readFileSync(join(folder, 'config.json'), 'utf8'), '{"model_type":"mamba","n":2}');
    assert.equal(server.takeRequests().filter(({ server }) => server === 'storage').length, 0);
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
    assert.deepEqual(readdirSync(hub.cacheDir), [], 'nothing was written');
  });

  test('paths and ids are told apart before anything is asked', async () => {
    const folder = join(hub.cacheDir, 'local');
    await files.makeFolder(folder);
    assert.equal(await resolve(folder), folder);
    const file = join(hub.cacheDir, 'file');
    writeFileSync(file, '');
    await fails(resolve(file), UsageError, /file: is a file; give the folder of a model/);
    for (const path of ['./missing', '/missing/x', 'a/b/c', '../missing/x', 'a/..', '', 'C:\\models', '-x/y']) {
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
