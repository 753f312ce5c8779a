/** A model folder of a few kilobytes, made on the fly: bytes and five merges as tokens, two layers, random weights. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createReferenceBackend } from '../src/backend/reference/index.ts';
import { tinyTokenizer } from '../src/io/testing/tiny-tokenizer.ts';
import { createModel, parseConfig, saveModel } from '../src/models/index.ts';
import { NodeFileSystem } from '../src/platform/node/index.ts';
import { Device } from '../src/tensor/index.ts';

const CONFIG = {
  model_type: 'mamba',
  hidden_size: 32,
  num_hidden_layers: 2,
  vocab_size: 272,
  state_size: 4,
  time_step_rank: 2,
  use_bias: false,
  use_conv_bias: true,
  // Large enough for the frozen weights to pass on what a low-rank change needs.
  initializer_range: 0.5,
};

/** Writes the model and its tokenizer. */
export async function writeTinyModel(folder: string): Promise<void> {
  const device = new Device(createReferenceBackend());
  const model = createModel(device, parseConfig(CONFIG, 'config.json'), 1);
  await saveModel(model, new NodeFileSystem(), folder);
  writeFileSync(join(folder, 'tokenizer.json'), tinyTokenizer());
  device.close();
}
