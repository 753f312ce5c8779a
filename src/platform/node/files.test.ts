import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import {
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { FileFormatError } from '../../core/index.ts';
import { describeFileSystem } from '../../io/testing/file-system-contract.ts';
import { NodeFileSystem } from './files.ts';

const root = mkdtempSync(join(tmpdir(), 'krait-files-'));
after(() => rmSync(root, { recursive: true, force: true }));
let count = 0;
const makeFolder = () => {
  const folder = join(root, String(count++));
  mkdirSync(folder);
  return folder;
};

describeFileSystem('files of Node', async () => ({ files: new NodeFileSystem(), folder: makeFolder() }));

describe('what only real files do', () => {
  const files = new NodeFileSystem();

  test('a full disk is one line with a remedy', { skip: !existsSync('/dev/full') && 'no /dev/full here' }, async () => {
    const file = await files.openWritable('/dev/full');
    await assert.rejects(file.write(new Uint8Array(10)), (error: FileFormatError) => {
      assert.ok(error instanceof FileFormatError);
      assert.equal(error.message, '/dev/full: the disk is full; free some space, then run the command again');
      return true;
    });
    await file.close();
  });

  test('a full disk in the middle of an atomic write leaves the folder as it was', async () => {
    const folder = makeFolder();
    const path = join(folder, 'a');
    writeFileSync(path, 'old');
    const full = async function* () {
      yield new Uint8Array(1 << 16);
      throw Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC' });
    };
    await assert.rejects(
      files.writeAtomic(path, full()),
      new RegExp(`^FileFormatError: ${path}: the disk is full; free`),
    );
    assert.deepEqual(readdirSync(folder), ['a']);
    assert.equal(readFileSync(path, 'utf8'), 'old');
  });

  test('while it writes, the old content stands', async () => {
    const path = join(makeFolder(), 'a');
    writeFileSync(path, 'old');
    const seen: string[] = [];
    const slow = async function* () {
      yield new TextEncoder().encode('new');
      seen.push(readFileSync(path, 'utf8'));
    };
    await files.writeAtomic(path, slow());
    assert.deepEqual([...seen, readFileSync(path, 'utf8')], ['old', 'new']);
  });

  test('what a killed process left aside is removed, what another process writes is not', async () => {
    const folder = makeFolder();
    const dead = join(folder, 'a.999999999.0.tmp');
    const recent = join(folder, 'a.999999998.0.tmp');
    const living = join(folder, `a.${process.ppid}.3.tmp`);
    for (const path of [dead, recent, living, join(folder, 'a.x.tmp'), join(folder, 'ab.999999999.0.tmp')]) {
      writeFileSync(path, 'half');
      if (path !== recent) utimesSync(path, 1, 1);
    }
    await files.writeAtomic(join(folder, 'a'), 'whole');
    const expected = ['a', `a.${process.ppid}.3.tmp`, 'a.999999998.0.tmp', 'a.x.tmp', 'ab.999999999.0.tmp'].sort();
    assert.deepEqual(readdirSync(folder).sort(), expected);
  });

  test('folders and missing parts of paths are told apart', async () => {
    const folder = makeFolder();
    writeFileSync(join(folder, 'file'), '');
    await assert.rejects(files.open(folder), /is a folder; give a file/);
    await assert.rejects(files.readText(folder), /is a folder; give a file/);
    await assert.rejects(files.readText(join(folder, 'file/x')), /a part of the path is a file/);
    await assert.rejects(files.writeAtomic(join(folder, 'file/x'), ''), FileFormatError);
    assert.equal(await files.status(join(folder, 'file/x')), undefined);
  });

  test('a file that shrinks while it is read is an error', async () => {
    const path = join(makeFolder(), 'a');
    writeFileSync(path, 'abcdef');
    const file = await files.open(path);
    writeFileSync(path, 'ab');
    await assert.rejects(
      file.read(0, 6),
      /bytes 0 to 6 are outside of its 6 bytes; the file is cut off or has changed/,
    );
    await file.close();
  });

  test('links, or copies where links are not possible; both replace', async () => {
    for (const canLink of [true, false]) {
      const folder = makeFolder();
      writeFileSync(join(folder, 'blob'), 'content');
      const path = join(folder, 'snapshots/1/file');
      const linking = new NodeFileSystem(canLink);
      await linking.link(join(folder, 'blob'), path);
      await linking.link(join(folder, 'blob'), path);
      assert.equal(readFileSync(path, 'utf8'), 'content');
      assert.equal(lstatSync(path).isSymbolicLink(), canLink);
      assert.deepEqual(readdirSync(join(folder, 'snapshots/1')), ['file']);
    }
  });

  test('sha256', async () => {
    const path = join(makeFolder(), 'a');
    const content = new Uint8Array(3 << 20).map((_, i) => i * 7);
    writeFileSync(path, content);
    assert.equal(await files.sha256(path), createHash('sha256').update(content).digest('hex'));
  });
});
