/** LoRA from records in memory and from a file, then merged. Run: npx tsx examples/fine-tune.ts MODEL_DIR_OR_ID [OUT_DIR] */
import { mkdir, mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Krait, type TuneRecord } from 'krait';

const [model, given] = process.argv.slice(2);
if (!model) throw new Error('give the folder of a model, or its id on the hub, as the first argument');
const out = given ?? (await mkdtemp(join(tmpdir(), 'krait-fine-tune-')));
const krait = await Krait.load(model);

// The task: say whether a number is even or odd. The loss counts completions only.
const record = (n: number): TuneRecord => ({ prompt: `${n} is`, completion: n % 2 ? ' odd' : ' even' });
const records = Array.from({ length: 90 }, (_, i) => record(10 + i));
const isHeldOut = (_: TuneRecord, i: number) => i % 9 === 4;
const [train, validation] = [records.filter((r, i) => !isHeldOut(r, i)), records.filter(isHeldOut)];
const ask = async () => (await krait.complete('37 is', { maxTokens: 4, temperature: 0 }))[0].text;
console.log(`before: 37 is${await ask()}`);

// From memory, with callbacks; Ctrl-C ends it after the step it is in, and the model stays usable.
const stop = new AbortController();
process.once('SIGINT', () => stop.abort());
const shared = { batchSize: 16, maxLength: 32, batching: 'padding', seed: 1, signal: stop.signal } as const;
const first = await krait.tune({
  ...shared,
  data: train,
  validation,
  rank: 8,
  targetModules: 'all-linear',
  steps: 40,
  learningRate: 0.005,
  schedule: 'linear',
  evalEvery: 20,
  onStart: ({ trainableParameters, totalParameters }) => console.log(`${trainableParameters} of ${totalParameters}`),
  onStep: ({ step, steps, loss }) =>
    step % 10 === 0 && console.log(`step ${step} of ${steps}: loss ${loss.toFixed(4)}`),
  onEval: (step, { loss }) => console.log(`step ${step}: held-out loss ${loss.toFixed(4)}`),
});
console.log(`${first.status}: ${first.step} steps, best held-out loss ${first.best?.loss.toFixed(4)}`);

// From a JSONL file. The adapter is on the model and learns on; with `out` there would be checkpoints and logs.
const file = join(out, 'train.jsonl');
await mkdir(out, { recursive: true });
await writeFile(file, train.map((r) => `${JSON.stringify(r)}\n`).join(''));
const second = await krait.tune({ ...shared, data: file, epochs: 2, learningRate: 0.003 });
console.log(`${second.status}: ${second.step} more steps, loss ${second.loss.toFixed(4)}`);
console.log(`after: 37 is${await ask()}`);

await krait.saveAdapter(join(out, 'adapter')); // PEFT's files
krait.merge({ permanent: true });
await krait.save(join(out, 'model')); // config.json, model.safetensors and the tokenizer
krait.close();
console.log(`saved: ${out}`);
