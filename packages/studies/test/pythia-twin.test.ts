/** The carried Transformer: made as krait's base model was, so that the two can be compared. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { baseModel } from 'krait/cli';
import { type GptNeoXConfig, parameterCount, parseConfig } from 'krait/models';
import { parseRecipe } from 'krait/tune';

const recipeOf = async (folder: string) => {
  const path = join(folder, 'recipe.yaml');
  return parseRecipe(path, await readFile(path, 'utf8'));
};

it('the Transformer beside the base model has its size, text, tokens and training', async () => {
  const twinFolder = fileURLToPath(new URL('../models/pythia-twin', import.meta.url));
  const [base, twin] = [await recipeOf(baseModel()), await recipeOf(twinFolder)];
  const [mamba, neox] = [base, twin].map(({ model, vocabSize }) =>
    parseConfig({ ...model, vocab_size: vocabSize }, 'recipe'),
  );
  const ratio = parameterCount(neox) / parameterCount(mamba);
  assert.ok(Math.abs(ratio - 1) < 0.1, `${parameterCount(neox)} against ${parameterCount(mamba)} parameters`);
  assert.deepEqual({ ...twin, model: null }, { ...base, model: null });
  const { hiddenSize, numAttentionHeads, maxPositionEmbeddings } = neox as GptNeoXConfig;
  assert.equal(hiddenSize / numAttentionHeads, 32);
  assert.ok(maxPositionEmbeddings > base.training.max_seq_length!);
});
