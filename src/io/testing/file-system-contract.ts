/** Checks of every `FileSystem`; each platform's test runs them. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { FileFormatError, KraitError } from '../../core/index.ts';
import { type FileSystem, joinPath } from '../index.ts';

const bytes = (...values: number[]) => Uint8Array.from(values);
const text = (value: Uint8Array) => new TextDecoder().decode(value);

type Make = () => Promise<{ files: FileSystem; folder: string }>;

/** @param make a file system and a folder in it that nothing else uses */
export function describeFileSystem(name: string, make: Make): void {
  describe(name, () => {
    testWholeFiles(make);
    testWritingInPlace(make);
    testFaults(make);
  });
}

function testWholeFiles(make: Make): void {
  test('reads any part, and no more than there is', async () => {
    const { files, folder } = await make();
    const path = joinPath(folder, 'a');
    await files.writeAtomic(path, bytes(0, 1, 2, 3, 4));
    const file = await files.open(path);
    assert.equal(file.size, 5);
    assert.deepEqual([...(await file.read(1, 3))], [1, 2, 3]);
    assert.deepEqual([...(await file.read(5, 0))], []);
    const target = bytes(9, 9, 9);
    await file.readInto(2, target.subarray(1));
    assert.deepEqual([...target], [9, 2, 3]);
    await assert.rejects(file.read(3, 3), FileFormatError);
    await assert.rejects(file.readInto(6, bytes(0)), FileFormatError);
    await file.close();
  });

  test('writes text, bytes and pieces; folders are made; status and listing follow', async () => {
    const { files, folder } = await make();
    const path = (end: string) => joinPath(folder, 'deep/er', end);
    await files.writeAtomic(path('b'), 'héllo');
    await files.writeAtomic(path('a'), [bytes(65), bytes(66)]);
    await files.writeAtomic(
      path('c'),
      (async function* () {
        yield bytes(67);
      })(),
    );
    assert.equal(await files.readText(path('b')), 'héllo');
    assert.equal(await files.readText(path('a')), 'AB');
    assert.deepEqual(await files.list(joinPath(folder, 'deep/er')), ['a', 'b', 'c']);
    assert.deepEqual(await files.status(path('b')), { size: 6, isFolder: false });
    assert.equal((await files.status(joinPath(folder, 'deep')))?.isFolder, true);
    assert.equal(await files.status(path('none')), undefined);
    assert.equal(await files.exists(path('none')), false);
    await files.writeAtomic(path('b'), 'new');
    assert.equal(await files.readText(path('b')), 'new');
  });

  test('a write that fails leaves the old content and nothing beside it', async () => {
    const { files, folder } = await make();
    const path = joinPath(folder, 'a');
    await files.writeAtomic(path, 'old');
    const failing = (async function* () {
      yield bytes(1, 2, 3);
      throw new KraitError('the source broke');
    })();
    await assert.rejects(files.writeAtomic(path, failing), /the source broke/);
    assert.equal(await files.readText(path), 'old');
    assert.deepEqual(await files.list(folder), ['a']);
  });
}

function testWritingInPlace(make: Make): void {
  test('writes in place, appends and cuts; content survives opening', async () => {
    const { files, folder } = await make();
    const path = joinPath(folder, 'new/log');
    let file = await files.openWritable(path);
    await file.write(bytes(97, 98));
    await file.write(bytes(99));
    assert.equal(file.size, 3);
    await file.close();
    file = await files.openWritable(path);
    assert.equal(file.size, 3);
    await file.write(bytes(100));
    await file.write(bytes(66), 1);
    assert.equal(file.size, 4);
    await file.sync();
    assert.equal(await files.readText(path), 'aBcd');
    await file.truncate(2);
    await file.write(bytes(101));
    await file.close();
    assert.equal(await files.readText(path), 'aBe');
  });

  test('renames and removes files and folders', async () => {
    const { files, folder } = await make();
    await files.writeAtomic(joinPath(folder, 'x/1'), 'one');
    await files.rename(joinPath(folder, 'x'), joinPath(folder, 'y'));
    assert.equal(await files.readText(joinPath(folder, 'y/1')), 'one');
    assert.equal(await files.exists(joinPath(folder, 'x')), false);
    await files.remove(joinPath(folder, 'y'));
    assert.equal(await files.exists(joinPath(folder, 'y/1')), false);
    await files.remove(joinPath(folder, 'y'));
  });
}

function testFaults(make: Make): void {
  test('text that is not UTF-8 is an error, a byte-order mark is dropped', async () => {
    const { files, folder } = await make();
    const path = joinPath(folder, 'a');
    await files.writeAtomic(path, bytes(0xef, 0xbb, 0xbf, 65));
    assert.equal(await files.readText(path), 'A');
    await files.writeAtomic(path, bytes(0xff));
    await assert.rejects(files.readText(path), /not valid UTF-8/);
    assert.equal(text(await (await files.open(path)).read(0, 0)), '');
  });

  test('what is not there is an error that names it', async () => {
    const { files, folder } = await make();
    const path = joinPath(folder, 'none');
    for (const attempt of [() => files.open(path), () => files.readText(path), () => files.list(path)]) {
      await assert.rejects(attempt(), (error: FileFormatError) => {
        assert.ok(error instanceof FileFormatError);
        assert.equal(error.message, `${path}: no such file or folder; check the path`);
        return true;
      });
    }
  });
}
