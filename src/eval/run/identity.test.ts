/** The identity of answers: answers that earlier versions kept are found by it, so its form stays. */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, it } from 'node:test';
import { textHash } from '../../core/index.ts';
import { NodeFileSystem } from '../../platform/node/index.ts';
import { answersIdentity } from './identity.ts';

const work = mkdtempSync(join(tmpdir(), 'krait-identity-'));
after(() => rmSync(work, { recursive: true, force: true }));
const files = new NodeFileSystem();

function folder(name: string, contents: readonly string[]): string {
  mkdirSync(join(work, name));
  for (const file of contents) writeFileSync(join(work, name, file), file);
  return join(work, name);
}

/** Files whose content is their name, in the order in which they count. */
const expected = async (dtype: string, names: readonly string[]) =>
  textHash([dtype, ...(await Promise.all(names.map(textHash)))].join('\n'));

it('is the hash of precision, weights, configuration, tokenizer and adapter, in this order', async () => {
  const weights = ['config.json', 'model-1.safetensors', 'model-2.safetensors'];
  const tokenizer = ['tokenizer.json', 'tokenizer_config.json', 'special_tokens_map.json'];
  const others = ['generation_config.json', 'model.safetensors.index.json', 'README.md', 'vocab.json'];
  const model = folder('model', [...others, ...tokenizer, ...weights]);
  assert.equal(
    await answersIdentity(files, model, undefined, 'f32'),
    await expected('f32', [...weights, ...tokenizer]),
  );
  const factors = ['adapter_config.json', 'adapter_model.safetensors'];
  const adapter = folder('adapter', [...factors, 'tokenizer.json']);
  assert.equal(
    await answersIdentity(files, model, adapter, 'bf16'),
    await expected('bf16', [...weights, ...tokenizer, ...factors]),
  );
});
