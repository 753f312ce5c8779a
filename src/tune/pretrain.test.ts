import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { DataSource } from '../data/index.ts';
import { loadModel } from '../models/index.ts';
import { NodeFileSystem } from '../platform/node/index.ts';
import { pretrain } from './pretrain.ts';
import { parseRecipe } from './recipe.ts';
import { referenceDevice } from './testing/tiny-runs.ts';

const RECIPE = `
model: {model_type: gpt_neox, hidden_size: 16, num_hidden_layers: 1, num_attention_heads: 2, intermediate_size: 32,
  max_position_embeddings: 24, rotary_pct: 0.5}
tokenizer: {vocab_size: 300}
data: [moby-dick]
training: {max_steps: 3, per_device_train_batch_size: 2, max_seq_length: 16, learning_rate: 1.0e-2, batching: stream}
`;

/** Forty short chapters. */
const chapters: DataSource = {
  list: async () => Array.from({ length: 40 }, (_, i) => `chapter_${i}.txt`),
  read: async (_, path) => {
    const line = `It was the best of times, it was the worst of times, said the captain of ${path}. `;
    return new TextEncoder().encode(line.repeat(3));
  },
};

test('a Transformer is pretrained from a recipe; its card says how far it remembers', async () => {
  const out = await mkdtemp(join(tmpdir(), 'krait-pretrain-'));
  const files = new NodeFileSystem();
  const device = referenceDevice();
  const recipe = parseRecipe('recipe.yaml', RECIPE);
  const result = await pretrain({ device, files, source: chapters, recipe, out });
  assert.equal(result.status, 'completed');
  assert.ok(Object.values(result.bitsPerByte!).every((bits) => bits > 0 && bits < 9));
  const card = await readFile(join(out, 'README.md'), 'utf8');
  assert.match(card, /\na stream with up to 24 positions remembered; AdamW/);
  assert.match(card, /\n24 positions remembered\.\n$/);
  const model = await loadModel(device, files, out);
  assert.equal(model.contextLength, 24);
  model.dispose();
  await rm(out, { recursive: true });
});
