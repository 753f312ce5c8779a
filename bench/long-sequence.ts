/**
 * Memory of a training step over one long sequence on the shape of Mamba-130M, with activation checkpointing:
 *
 *   npx tsx bench/long-sequence.ts [--tokens N] [--steps N]
 *
 * Random weights and tokens; Adam's moments are part of it.
 */
import { parseArgs } from 'node:util';
import { HostRandom } from '../src/core/index.ts';
import { openDevice } from '../src/index.ts';
import { createModel, parseConfig } from '../src/models/index.ts';
import { train } from '../src/train/index.ts';
import { LanguageTask } from '../src/tune/index.ts';

const SHAPE = { model_type: 'mamba', vocab_size: 50280, hidden_size: 768, num_hidden_layers: 24, eos_token_id: 0 };

const { values } = parseArgs({ options: { tokens: { type: 'string' }, steps: { type: 'string' } } });
const [length, steps] = [Number(values.tokens ?? 16384), Number(values.steps ?? 1)];
const device = await openDevice();
const model = createModel(device, parseConfig(SHAPE, 'the 130M shape'), 1);
const random = new HostRandom(1);
const ids = Array.from({ length }, () => random.integer(SHAPE.vocab_size));
const example = { ids, targets: [[1, length]] as const, bytes: 0 };
const task = new LanguageTask({ model, train: [example], batchSize: 1, maxLength: length, batching: 'padding' });
let peakRss = 0;
const timer = setInterval(() => {
  peakRss = Math.max(peakRss, process.memoryUsage().rss);
}, 200);
const result = await train(task, { options: { steps, learningRate: 1e-4, checkpointing: true } });
clearInterval(timer);
const gibibytes = (bytes: number): string => `${(bytes / 2 ** 30).toFixed(2)} GiB`;
console.log(
  `${length} tokens on ${device.name}: device memory ${gibibytes(result.peakBytes)}, process ${gibibytes(peakRss)} at most; ${result.tokensPerSecond.toFixed(0)} tok/s`,
);
task.dispose();
model.dispose();
device.close();
