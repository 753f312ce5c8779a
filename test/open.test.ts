/** Opening a model: what is said first, what is refused, and that nothing stays open. */
import assert from 'node:assert/strict';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { UsageError } from '../src/core/index.ts';
import { locateModel, type OpenOptions, openDevice, openModel, openWeights } from '../src/krait/open.ts';
import { NodeFileSystem } from '../src/platform/node/index.ts';
import type { Device } from '../src/tensor/index.ts';
import { attachLora, saveAdapter } from '../src/tune/index.ts';
import { writeTinyModel } from './tiny-model.ts';

const work = mkdtempSync(join(tmpdir(), 'krait-open-'));
after(() => rmSync(work, { recursive: true, force: true }));
const good = join(work, 'good');
before(() => writeTinyModel(good));

/** A copy of the good model with one file changed. */
function copyWith(name: string, change: (text: string) => string, file: string): string {
  const folder = join(work, name);
  cpSync(good, folder, { recursive: true });
  writeFileSync(join(folder, file), change(readFileSync(join(folder, file), 'utf8')));
  return folder;
}

/** Options that open the reference device, and the device once it is open. */
function watched(options: OpenOptions = {}): { options: OpenOptions; device(): Device } {
  let opened: Device | null = null;
  const onDevice = (device: Device) => {
    opened = device;
  };
  return { options: { device: 'reference', ...options, onDevice }, device: () => opened! };
}

const isClosed = (device: Device): boolean => {
  try {
    device.backend.alloc(4);
    return false;
  } catch {
    return true;
  }
};

/** A tokenizer with an id that the model has no row for. */
const withMoreTokens = (text: string): string => {
  const json = JSON.parse(text) as { added_tokens: object[] };
  json.added_tokens.push({ id: 5000, content: '<|more|>', special: true });
  return JSON.stringify(json);
};

describe('opening a model', () => {
  it('gives folder, device, weights and tokenizer, and says what it opened', async () => {
    const reasons: string[] = [];
    const opened = await openModel(good, { device: 'reference', onDevice: (_, reason) => reasons.push(reason) });
    assert.equal(opened.folder, good);
    assert.equal(opened.model.device, opened.device);
    assert.equal(opened.adapter, null);
    assert.ok(opened.tokenizer.encode('a').length > 0);
    assert.deepEqual(reasons, ['reference, as asked']);
    const copy = join(work, 'side-files');
    await opened.copySideFiles(copy);
    assert.equal(
      readFileSync(join(copy, 'tokenizer.json'), 'utf8'),
      readFileSync(join(good, 'tokenizer.json'), 'utf8'),
    );
    opened.close();
    assert.ok(isClosed(opened.device));
  });

  it('refuses a tokenizer with more tokens than rows, and closes the device', async () => {
    const folder = copyWith('large-tokenizer', withMoreTokens, 'tokenizer.json');
    const { options, device } = watched();
    await assert.rejects(
      openModel(folder, options),
      (error: Error) =>
        error instanceof UsageError && /5001 tokens do not fit the model's vocabulary of 272; use/.test(error.message),
    );
    assert.ok(isClosed(device()));
    (await openWeights(folder, watched().options)).close(); // which asks for no tokenizer
  });

  it('says what is wrong with the model before what is wrong with the tokenizer', async () => {
    const folder = copyWith('both', () => 'no JSON', 'tokenizer.json');
    writeFileSync(join(folder, 'model.safetensors'), 'short');
    const { options, device } = watched();
    await assert.rejects(openModel(folder, options), /model\.safetensors/);
    assert.ok(isClosed(device()));
  });

  it('puts an adapter on the model, and closes the device where it does not fit', async () => {
    const { options } = watched({ activations: 'f32' });
    const base = await openWeights(good, options);
    const files = new NodeFileSystem();
    await saveAdapter(
      attachLora(base.model, { r: 2, targetModules: ['in_proj'] }, { seed: 1 }),
      files,
      join(work, 'lora'),
    );
    base.close();
    const { adapter, close } = await openWeights(good, watched({ adapter: join(work, 'lora') }).options);
    assert.equal(adapter?.coverage.modules.length, 2);
    close();
    const lost = watched({ adapter: join(work, 'no-adapter') });
    await assert.rejects(openWeights(good, lost.options), /no-adapter/);
    assert.ok(isClosed(lost.device()));
  });

  it('leaves a device that was open before open', async () => {
    const device = await openDevice({ device: 'reference' });
    const before = device.backend.memory().blocks;
    const first = await openWeights(good, { on: device });
    assert.equal(first.device, device);
    first.close();
    assert.equal(device.backend.memory().blocks, before);
    await assert.rejects(
      openWeights(
        copyWith('bad', () => 'x', 'model.safetensors'),
        { on: device },
      ),
    );
    assert.equal(isClosed(device), false);
    device.close();
  });

  it('finds a folder, and nothing else', async () => {
    assert.equal(await locateModel(good), good);
    await assert.rejects(locateModel(join(good, 'config.json')), UsageError);
  });
});
