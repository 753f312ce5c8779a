/** `krait convert` from its command line. */
import assert from 'node:assert/strict';
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { readGguf, valuesOf } from '../src/io/testing/gguf-reader.ts';
import { krait, workFolder } from './cli-cases.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const fixture = (name: string) => join(root, 'test', 'fixtures', name);
const work = workFolder('convert');
process.env.NO_COLOR = '1';

const convert = (out: string, ...flags: string[]) =>
  krait('convert', '--model', fixture('mamba-a'), '--to', 'gguf', '--out', out, ...flags);

describe('krait convert', () => {
  it('writes a GGUF file, and not over another unless asked', async () => {
    const out = join(work, 'a', 'model.gguf');
    const first = await convert(out, '--type', 'bf16', '--json');
    assert.equal(first.code, 0, first.stderr);
    const { bytes, ...rest } = JSON.parse(first.stdout);
    assert.deepEqual(rest, { out, format: 'gguf', type: 'bf16', tensors: 22, hasTokenizer: false });
    const written = readFileSync(out);
    assert.equal(written.length, bytes);
    assert.equal(readGguf(written).metadata.get('general.name'), 'mamba-a');
    assert.match(first.stderr, /warning .*tokenizer\.json: there is none/);

    const again = await convert(out);
    assert.equal(again.code, 2);
    assert.match(again.stderr, /^krait: --out: .*model\.gguf exists; give --force to write over it, or another file$/m);
    assert.ok(readFileSync(out).equals(written));

    const forced = await convert(out, '--force');
    assert.equal(forced.code, 0, forced.stderr);
    assert.match(forced.stdout, /^wrote .*model\.gguf: 22 tensors in f16, without a tokenizer, \d/);
    assert.equal(readGguf(readFileSync(out)).metadata.get('general.file_type'), 1);
  });

  it('merges an adapter as `krait merge` does', async () => {
    const [out, merged, mergedOut] = ['adapted.gguf', 'merged', 'merged.gguf'].map((name) => join(work, name));
    const adapter = ['--adapter', fixture('peft-linear')];
    const direct = await convert(out, '--type', 'f32', ...adapter);
    assert.equal(direct.code, 0, direct.stderr);
    assert.equal((await krait('merge', '--model', fixture('mamba-a'), ...adapter, '--out', merged)).code, 0);
    const again = await krait('convert', '--model', merged, '--to', 'gguf', '--type', 'f32', '--out', mergedOut);
    assert.equal(again.code, 0, again.stderr);
    const [got, expected, base] = [out, mergedOut, join(work, 'a', 'model.gguf')].map((p) => readGguf(readFileSync(p)));
    for (const [name, tensor] of expected.tensors) {
      assert.deepEqual(valuesOf(got.tensors.get(name)!), valuesOf(tensor), name);
    }
    const name = 'blk.0.ssm_in.weight';
    assert.notDeepEqual(valuesOf(got.tensors.get(name)!), valuesOf(base.tensors.get(name)!));
  });

  it('refuses wrong usage and models that cannot be written', async () => {
    const folder = join(work, 'folder');
    mkdirSync(folder);
    const cases: [string[], number, RegExp][] = [
      [['--model', fixture('mamba-a'), '--to', 'gguf', '--out', folder], 2, /is a folder; give a file/],
      [['--model', fixture('mamba-a'), '--to', 'onnx', '--out', 'x'], 2, /'onnx' is invalid.*gguf/],
      [['--model', fixture('mamba-a'), '--to', 'gguf', '--out', 'x', '--type', 'q4_0'], 2, /'q4_0' is invalid/],
      [
        ['--model', fixture('mamba-b'), '--to', 'gguf', '--out', join(work, 'b')],
        2,
        /in_proj\.bias: llama\.cpp has no/,
      ],
      [['--model', join(work, 'no'), '--to', 'gguf', '--out', join(work, 'c')], 2, /no such folder/],
    ];
    for (const [args, status, expected] of cases) {
      const run = await krait('convert', ...args);
      assert.match(run.stderr, expected);
      assert.equal(run.code, status, run.stderr);
    }
  });
});
