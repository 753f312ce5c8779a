/** Models on a hub on loopback, and a cache folder for each test. */
import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, beforeEach } from 'node:test';
import type { KraitError } from '../../core/index.ts';
import { BlobFileSystem } from '../../platform/browser/index.ts';
import { NodeFileSystem } from '../../platform/node/index.ts';
import { type HubSettings, type ResolveOptions, resolveModel, writeSafetensors } from '../index.ts';
import { HubServer, type Repository } from './hub-server.ts';

export const COMMIT = 'c'.repeat(40);

/** A safetensors file of one tensor of 0, 1, 2, ... */
async function weights(name: string, size: number): Promise<Uint8Array> {
  const memory = new BlobFileSystem();
  const data = () => new Uint8Array(Float32Array.from({ length: size }, (_, i) => i).buffer);
  await writeSafetensors(memory, 'x', [{ name, dtype: 'F32', shape: [size], data }]);
  const file = await memory.open('x');
  return file.read(0, file.size);
}

export const WEIGHTS = await weights('w', 50_000);
export const CONFIG = '{"model_type":"mamba"}';
const INDEX = JSON.stringify({ weight_map: { a: 'model-1.safetensors', b: 'model-2.safetensors' } });
const SHARDS = {
  'config.json': CONFIG,
  'model.safetensors.index.json': INDEX,
  'model-1.safetensors': await weights('a', 10),
  'model-2.safetensors': await weights('b', 20),
};
export const PLAIN = {
  'config.json': CONFIG,
  'tokenizer.json': '{}',
  'model.safetensors': WEIGHTS,
  'README.md': 'not fetched',
  'flax_model.msgpack': 'nor this',
};

const repository = (files: Repository['files'], more: Partial<Repository> = {}): Repository => ({
  commit: COMMIT,
  files,
  ...more,
});

const makeServer = () =>
  new HubServer({
    'org/plain': repository(PLAIN),
    'org/sharded': repository(SHARDS),
    'org/pickle': repository({ 'config.json': CONFIG, 'pytorch_model.bin': 'x' }),
    'org/nothing': repository({ 'config.json': CONFIG }),
    'org/bare': repository({ 'README.md': 'x' }),
    'org/private': repository(PLAIN, { isPrivate: true }),
    'org/gated': repository(PLAIN, { isGated: true }),
    'org/renamed': 'org/plain',
    'org/circle': 'org/circle',
    single: repository(PLAIN),
  });

const folderOf = (id: string) => `models--${id.replace('/', '--')}`;

/** A server for a test file, and a fresh cache for each of its tests. */
export function useHub() {
  const server = makeServer();
  const files = new NodeFileSystem();
  const hub = {
    server,
    files,
    cacheDir: '',
    resolve: (id: string, options: ResolveOptions = {}, changes: Partial<HubSettings> = {}, fileSystem = files) => {
      const settings = { cacheDir: hub.cacheDir, endpoint: server.endpoint, offline: false, token: null, ...changes };
      return resolveModel(fileSystem, id, settings, { retryDelayMs: 1, timeoutMs: 20_000, ...options });
    },
    snapshot: (id: string, commit = COMMIT) => join(hub.cacheDir, folderOf(id), 'snapshots', commit),
    blobs: (id: string) => readdirSync(join(hub.cacheDir, folderOf(id), 'blobs')).sort(),
  };
  before(() => server.start());
  after(() => server.stop());
  beforeEach(() => {
    hub.cacheDir = mkdtempSync(join(tmpdir(), 'krait-hub-'));
    server.faults = {};
    server.takeRequests();
  });
  afterEach(() => rmSync(hub.cacheDir, { recursive: true, force: true }));
  return hub;
}

type ErrorClass = new (...args: never[]) => KraitError;

/** An error of a kind, on one line, with a remedy. */
export async function fails(promise: Promise<unknown>, kind: ErrorClass, expected: RegExp): Promise<void> {
  await assert.rejects(promise, (error: Error) => {
    assert.ok(error instanceof kind, String(error.stack));
    assert.match(error.message, expected);
    assert.match(error.message, /^[^\n]+; [^\n]+$/, 'one line with a remedy');
    return true;
  });
}
