/** A LoRA run in a process of its own, to be killed: `node --import tsx resumable-run.ts FOLDER`. Prints each step. */
import { NodeFileSystem } from '../../platform/node/index.ts';
import { train } from '../../train/index.ts';
import { LanguageTask } from '../language.ts';
import { adapterParameters, attachLora, saveAdapter } from '../lora/index.ts';
import { countingExamples, referenceDevice, tinyModel } from './tiny-runs.ts';

const [folder] = process.argv.slice(2);
const files = new NodeFileSystem();
const model = tinyModel(referenceDevice());
const adapter = attachLora(model, { r: 2, targetModules: 'all-linear', loraDropout: 0.2 });
const task = new LanguageTask({
  model,
  parameters: adapterParameters(adapter),
  mode: adapter,
  train: countingExamples(30, 12),
  validation: countingExamples(4, 12, 9),
  batching: 'stream',
  batchSize: 2,
  maxLength: 8,
});
await train(task, {
  options: { steps: 24, learningRate: 0.01, schedule: 'cosine', warmup: 0.1, seed: 3, saveEvery: 2, evalEvery: 5 },
  place: { files, folder, resume: true },
  onStep: ({ step }) => process.stdout.write(`${step}\n`),
});
await saveAdapter(adapter, files, `${folder}/adapter`);
