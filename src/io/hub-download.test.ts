import assert from 'node:assert/strict';
import { existsSync, lstatSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { before, describe, test } from 'node:test';
import { EnvironmentError } from '../core/index.ts';
import { NodeFileSystem } from '../platform/node/index.ts';
import { NetworkError } from './http-exchange.ts';
import type { DownloadProgress } from './hub.ts';
import { fails, useHub, WEIGHTS } from './testing/hub-models.ts';
import { HubServer, sha256 } from './testing/hub-server.ts';

const hub = useHub();
const { files, server, resolve, snapshot, blobs } = hub;

describe('a download that is cut off', () => {
  const incomplete = () => join(hub.cacheDir, 'models--org--plain/blobs', `${sha256(WEIGHTS)}.incomplete`);
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
    const promise = resolve('org/plain', { attempts: 1, timeoutMs: 1500 });
    await fails(promise, EnvironmentError, /cut off after 0 B .*silent for 1500 ms/);
  });

  test('what is there beforehand is checked: complete, too long, damaged', async () => {
    const cases: [string, Uint8Array, (string | undefined)[]][] = [
      ['complete', WEIGHTS, []],
      ['too long', new Uint8Array(WEIGHTS.length + 5), [undefined]],
      ['damaged', new Uint8Array(1000), ['bytes=1000-', undefined]],
    ];
    for (const [name, content, asked] of cases) {
      await files.remove(hub.cacheDir);
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
    await fails(resolve('org/plain', { attempts: 2 }), EnvironmentError, /more bytes than the 200104 announced/);
    server.faults = { wrongContent: WEIGHTS.subarray(0, 100) };
    await fails(
      resolve('org/plain', { attempts: 2 }),
      EnvironmentError,
      /cut off after 0 B of 195\.4 KiB \(cannot be resumed \(416/,
    );
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
  const unreachable = { endpoint: '' };
  before(async () => {
    const closed = new HubServer({});
    await closed.start();
    unreachable.endpoint = closed.endpoint;
    await closed.stop();
  });

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
      /^http:\/\/127\.0\.0\.1:\d+ cannot be reached \(ECONNREFUSED\): using org\/sharded as it was last fetched$/,
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
      /^http:\/\/127\.0\.0\.1:\d+ cannot be reached \(ECONNREFUSED\); check the connection and HF_ENDPOINT, or give the folder/,
    );
    assert.deepEqual(readdirSync(hub.cacheDir), []);
  });

  test('a snapshot without a shard is not complete', async () => {
    const folder = await resolve('org/sharded');
    rmSync(join(folder, 'model-2.safetensors'));
    await fails(resolve('org/sharded', {}, { offline: true }), EnvironmentError, /is not complete/);
    assert.ok(existsSync(join(await resolve('org/sharded'), 'model-2.safetensors')));
  });
});
