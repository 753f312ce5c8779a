/** Weights that the native device reads from the file itself are those that stream through JavaScript. */
import assert from 'node:assert/strict';
import { copyFile, mkdtemp, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { createNativeBackend, nativeAvailability } from '../../backend/native/index.ts';
import { createReferenceBackend } from '../../backend/reference/index.ts';
import { type DType, FileFormatError } from '../../core/index.ts';
import type { RandomAccessFile } from '../../io/index.ts';
import { NodeFileSystem } from '../../platform/node/index.ts';
import { Device } from '../../tensor/index.ts';
import { type LanguageModel, loadModel, saveModel } from '../index.ts';
import { fixture } from '../testing/fixtures.ts';

const TYPES = ['f32', 'bf16', 'f16'] as const;
const { available, reason } = nativeAvailability();

/** Files whose descriptor is what `change` makes of it. */
class OtherDescriptors extends NodeFileSystem {
  constructor(private readonly change: (file: RandomAccessFile) => Promise<number | undefined> | number | undefined) {
    super();
  }

  override async open(path: string): Promise<RandomAccessFile> {
    const file = await super.open(path);
    const descriptor = await this.change(file);
    return {
      path,
      size: file.size,
      descriptor,
      read: (offset, length) => file.read(offset, length),
      readInto: (offset, target) => file.readInto(offset, target),
      close: () => file.close(),
    };
  }
}

const files = new NodeFileSystem();
const streaming = new OtherDescriptors(() => undefined);

async function valuesOf(model: LanguageModel): Promise<Record<string, ArrayLike<number>>> {
  const values: Record<string, ArrayLike<number>> = {};
  for (const [name, tensor] of model.parameters) values[name] = await tensor.read();
  model.dispose();
  return values;
}

describe('weights read by the native device', { skip: !available && reason }, () => {
  let device: Device;
  let folder: string;
  const folderOf = (type: DType) => join(folder, type);
  before(async () => {
    device = new Device(createNativeBackend({ threads: 2 }));
    folder = await mkdtemp(join(tmpdir(), 'krait-reader-'));
    const reference = new Device(createReferenceBackend());
    const model = await loadModel(reference, files, fixture('mamba-b'));
    for (const dtype of TYPES) await saveModel(model, files, folderOf(dtype), { dtype });
    reference.close();
  });
  after(async () => {
    device.close();
    await rm(folder, { recursive: true });
  });

  for (const stored of TYPES) {
    for (const dtype of TYPES) {
      it(`are those of the stream: ${stored} in the file, ${dtype} on the device`, async () => {
        const direct = await valuesOf(await loadModel(device, files, folderOf(stored), { dtype }));
        const streamed = await valuesOf(await loadModel(device, streaming, folderOf(stored), { dtype }));
        assert.deepEqual(direct, streamed);
      });
    }
  }

  /** The folder of f32 weights again, its first values of the last tensor in the file replaced. */
  async function withValues(name: string, values: readonly number[]): Promise<string> {
    const copy = join(folder, name);
    await files.makeFolder(copy);
    await copyFile(join(folderOf('f32'), 'config.json'), join(copy, 'config.json'));
    const path = join(folderOf('f32'), 'model.safetensors');
    const file = await files.open(path);
    const bytes = await file.read(0, file.size);
    await file.close();
    new DataView(bytes.buffer).setFloat32(bytes.length - 4, values[0], true);
    new DataView(bytes.buffer).setFloat32(bytes.length - 8, values[1], true);
    await writeFile(join(copy, 'model.safetensors'), bytes);
    return copy;
  }

  it('warns of values that are not finite, and of no others', async () => {
    const warningsOf = async (from: string, system: NodeFileSystem) => {
      const warnings: string[] = [];
      (await loadModel(device, system, from, { onWarning: (line) => warnings.push(line) })).dispose();
      return warnings;
    };
    const odd = await withValues('odd', [Number.NaN, Number.NEGATIVE_INFINITY]);
    const warnings = await warningsOf(odd, files);
    assert.match(warnings.join(), /: 2 of \d+ values are NaN or infinite/);
    assert.deepEqual(warnings, await warningsOf(odd, streaming));
    // Finite, but their squares are not in f32.
    assert.deepEqual(await warningsOf(await withValues('large', [3e38, -1e30]), files), []);
  });

  it('fall back to the stream where the device cannot read, which names the file if it cannot either', async () => {
    const { blocks } = device.memory();
    const expected = await valuesOf(await loadModel(device, files, folderOf('f32')));
    const wrong = new OtherDescriptors(() => 1_000_000);
    assert.deepEqual(await valuesOf(await loadModel(device, wrong, folderOf('f32'))), expected);

    const short = await withValues('short', [0, 0]);
    const path = join(short, 'model.safetensors');
    const shrinking = new OtherDescriptors(async (file) => {
      const { descriptor } = file;
      const read = file.read.bind(file);
      file.read = async (offset, length) => {
        const bytes = await read(offset, length);
        if (offset > 0) await truncate(path, file.size - 16); // the header is read: the tensors are next
        return bytes;
      };
      return descriptor;
    });
    await assert.rejects(loadModel(device, shrinking, short), (error: Error) => {
      assert.ok(error instanceof FileFormatError, error.name);
      assert.match(error.message, /short\/model\.safetensors: bytes \d+ to \d+ are outside/);
      return true;
    });
    assert.equal(device.memory().blocks, blocks, 'memory stays behind');
  });
});
