/** What a language model gives, hashed: forward passes of every kind, gradients, scores, decoding, training. */
import { fileURLToPath } from 'node:url';
import {
  attachLora,
  complete,
  type Device,
  detachLora,
  type LanguageModel,
  loadModel,
  type ModelState,
  mergeLora,
  NodeFileSystem,
} from 'krait';
import { HostRandom } from 'krait/core';
import { lastPosition, type ModelOptions, prefill, scoreContinuations, snapshotState } from 'krait/models';
import { backward, FLAG_PAD, FLAG_RESET, IGNORE_INDEX, type Tensor } from 'krait/tensor';
import { type TrainInput, train } from 'krait/train';
import { adapterParameters, LanguageTask, type LanguageTaskInput } from 'krait/tune';
import { hashEach, hashNumbers, hashOf, hashTensors } from './hashes.ts';

export type Rows = Record<string, string>;
type Forward = NonNullable<Parameters<LanguageModel['forward']>[1]>;

const files = new NodeFileSystem();
export const FIXTURES = fileURLToPath(new URL('../fixtures/', import.meta.url));

/** Longer than the 64 positions between states that a scan's backward pass starts from. */
const [ROWS, LENGTH] = [2, 70];

export const idsOf = (model: LanguageModel, count: number, seed: number): number[] => {
  const random = new HostRandom(seed);
  return Array.from({ length: count }, () => random.integer(model.vocabSize));
};

const SHAPE = [ROWS, LENGTH];
const batchIds = (model: LanguageModel): number[] => idsOf(model, ROWS * LENGTH, 11);

/** Three documents in the first row; the second starts with padding, has some inside, and a document after it. */
const FLAGS = Int32Array.from({ length: ROWS * LENGTH }, (_, i) => {
  if (i < LENGTH) return i === 0 || i === 17 || i === 50 ? FLAG_RESET : 0;
  const t = i - LENGTH;
  if (t < 9 || t === 30 || t === 31) return FLAG_PAD;
  return t === 9 || t === 40 ? FLAG_RESET : 0;
});

/** The next id, where it is of the same document and both are there. */
function targetsOf(ids: readonly number[], flags: Int32Array): number[] {
  return ids.map((_, i) => {
    const isLast = i % LENGTH === LENGTH - 1;
    return isLast || flags[i] & FLAG_PAD || flags[i + 1] ? IGNORE_INDEX : ids[i + 1];
  });
}

/** A hash for each tensor of a state's layers, all layers together. */
async function hashState(state: ModelState, prefix: string): Promise<Rows> {
  const { layers, sequence } = await snapshotState(state);
  const parts = [...layers, sequence];
  const names = [...new Set(parts.flatMap((part) => Object.keys(part)))].sort();
  const valuesOf = (name: string) => parts.flatMap((part) => (part[name] ? [part[name].values] : []));
  return Object.fromEntries(names.map((name) => [`${prefix} ${name}`, hashOf(...valuesOf(name))]));
}

/** Hidden states, logits and the state after a forward pass without gradients. */
async function forwardRows(
  model: LanguageModel,
  prefix: string,
  ids: readonly number[],
  shape: readonly number[],
  options: Omit<Forward, 'flags'> & { flags?: Int32Array | null } = {},
): Promise<{ rows: Rows; state: ModelState }> {
  const { device } = model;
  const { flags = null, ...rest } = options;
  const out = device.noGrad(() =>
    device.scope(() => {
      const marks = flags && device.from(flags, shape, 'i32');
      const { hidden, state } = model.forward(device.from(ids, shape, 'i32'), {
        ...rest,
        flags: marks,
        wantState: true,
      });
      return { hidden, logits: model.logits(hidden), state: state!, layers: state!.layers };
    }),
  );
  const rows = {
    [`${prefix}: hidden`]: hashOf(await out.hidden.read()),
    [`${prefix}: logits`]: hashOf(await out.logits.read()),
    ...(await hashState(out.state, `${prefix}: state`)),
  };
  out.hidden.dispose();
  out.logits.dispose();
  return { rows, state: out.state };
}

/** Loss of a block and the gradients that it leaves, which are taken off again: a hash for all of them, or for each name. */
async function gradientRows(
  model: LanguageModel,
  prefix: string,
  flags: Int32Array | null,
  { isEach = false, ...options }: Forward & { isEach?: boolean } = {},
): Promise<Rows> {
  const { device } = model;
  const ids = batchIds(model);
  const targets = targetsOf(ids, flags ?? new Int32Array(ids.length));
  const loss = device.scope(() => {
    const marks = flags && device.from(flags, SHAPE, 'i32');
    const { hidden } = model.forward(device.from(ids, SHAPE, 'i32'), { ...options, flags: marks });
    const normalizer = targets.filter((id) => id !== IGNORE_INDEX).length;
    return model.loss(hidden, device.from(targets, SHAPE, 'i32'), { normalizer });
  });
  backward(loss);
  const gradients = [...model.parameters].map(([name, tensor]) => [name, tensor.grad!] as [string, Tensor]);
  const hashes = isEach
    ? await hashEach(gradients, `${prefix}:`)
    : { [`${prefix}: all`]: await hashTensors(gradients) };
  const rows = { [`${prefix}: loss`]: hashOf(await loss.read()), ...hashes };
  loss.dispose();
  for (const tensor of model.parameters.values()) tensor.zeroGrad();
  return rows;
}

/** The second half of a block after the state of its first, and sequences of different lengths. */
async function carriedRows(model: LanguageModel): Promise<Rows> {
  const ids = batchIds(model);
  const half = LENGTH / 2;
  const part = (from: number) => [0, 1].flatMap((row) => ids.slice(row * LENGTH + from, row * LENGTH + from + half));
  const first = await forwardRows(model, 'first half', part(0), [ROWS, half]);
  const second = await forwardRows(model, 'second half', part(half), [ROWS, half], { state: first.state });
  first.state.dispose();
  second.state.dispose();
  const rows = { ...first.rows, ...second.rows };
  if (!model.backbone.takesRagged) return rows;
  const ragged = [
    { rows: 2, length: 5 },
    { rows: 1, length: 9 },
    { rows: 3, length: 1 },
  ];
  const varied = await forwardRows(model, 'pieces', ids.slice(0, 22), [1, 22], { ragged });
  varied.state.dispose();
  return { ...rows, ...varied.rows };
}

/** Scores of continuations, read once where they begin alike, and each whole. */
async function scoreRows(model: LanguageModel): Promise<Rows> {
  const common = idsOf(model, 20, 21);
  const requests = [0, 1, 2, 3, 4].flatMap((i) => {
    const context = [...common, ...idsOf(model, 3 + 2 * i, 30 + i)];
    return [0, 1].map((k) => ({ context, continuation: idsOf(model, 1 + ((3 * i + 5 * k) % 7), 50 + 2 * i + k) }));
  });
  const rows: Rows = {};
  for (const [name, options] of [
    ['shared', {}],
    ['in chunks', { chunk: 7 }],
    ['in threes', { batchSize: 3, reusePrefixes: false }],
  ] as const) {
    const { scores } = await scoreContinuations(model, requests, options);
    rows[`scores ${name}`] = hashNumbers(scores.flatMap(({ logprobs, isGreedy }) => [...logprobs, Number(isGreedy)]));
  }
  return rows;
}

const TOKENS = 24;

/** Greedy tokens as the device chooses them, as the host draws them from the logits, and step by step with the state. */
async function decodingRows(model: LanguageModel): Promise<Rows> {
  const { device } = model;
  const prompts = [idsOf(model, 9, 41), idsOf(model, 5, 42)];
  const greedy = { maxTokens: TOKENS, eosTokens: [] };
  const chosen = await complete(model, null, prompts, greedy);
  const drawn = await complete(model, null, prompts, { ...greedy, logprobs: true });
  const sampled = await complete(model, null, prompts, { ...greedy, temperature: 0.8, topK: 9, topP: 0.9, seed: 4 });
  const rows: Rows = {
    'decoding: tokens': hashNumbers(chosen.flatMap(({ tokens }) => [...tokens])),
    'decoding: tokens and probabilities': hashNumbers(
      drawn.flatMap(({ tokens, logprobs }) => [...tokens, ...logprobs]),
    ),
    'decoding: sampled tokens': hashNumbers(sampled.flatMap(({ tokens }) => [...tokens])),
  };
  let { hidden, state } = await prefill(model, prompts, { chunk: 4 });
  rows['decoding: prefill'] = hashOf(await hidden.read());
  for (let i = 0; i < TOKENS; i++) {
    const before = state;
    const after = device.noGrad(() =>
      device.scope(() => {
        const ids = device.from(
          chosen.map(({ tokens }) => tokens[i]),
          [prompts.length, 1],
          'i32',
        );
        const next = model.forward(ids, { state: before, wantState: true });
        return { hidden: lastPosition(next.hidden), state: next.state!, layers: next.state!.layers };
      }),
    );
    hidden.dispose();
    before.dispose();
    ({ hidden, state } = after);
  }
  rows['decoding: last hidden'] = hashOf(await hidden.read());
  Object.assign(rows, await hashState(state, 'decoding: state'));
  hidden.dispose();
  state.dispose();
  return rows;
}

type Example = LanguageTaskInput['train'][number];

const examplesOf = (model: LanguageModel): Example[] =>
  Array.from({ length: 12 }, (_, i) => {
    const ids = idsOf(model, 4 + ((i * 5) % 15), 60 + i);
    return { ids, targets: [[1 + (i % 3), ids.length]], bytes: ids.length };
  });

/** Losses and norms of a run, and the held-out loss after it. */
async function runRows(prefix: string, task: LanguageTask, options: TrainInput['options']): Promise<Rows> {
  const numbers: number[] = [];
  const evaluations: number[] = [];
  const result = await train(task, {
    options: { schedule: 'cosine', warmup: 2, weightDecay: 0.1, seed: 5, evalEvery: options.steps, ...options },
    onStep: ({ loss, gradNorm, learningRate }) => void numbers.push(loss, gradNorm, learningRate),
    onEval: (_, { loss }) => void evaluations.push(loss),
  });
  return {
    [`${prefix}: losses and norms`]: hashNumbers([...numbers, result.skippedSteps]),
    [`${prefix}: held-out loss`]: hashNumbers(evaluations),
  };
}

/** Steps of AdamW on all weights, over packed documents. */
async function fullRows(
  device: Device,
  folder: string,
  prefix: string,
  precision: 'f32' | 'bf16' | 'f16',
  steps: number,
): Promise<Rows> {
  const model = await loadModel(device, files, folder, { trainable: true, activations: precision });
  const examples = examplesOf(model);
  const data = { train: examples, validation: examples.slice(0, 3), batchSize: 2, maxLength: 24, seed: 5 };
  const task = new LanguageTask({ model, ...data, gradAccumulation: 2 });
  const rows = await runRows(prefix, task, { steps, learningRate: 3e-3, clipNorm: 0.5, precision });
  rows[`${prefix}: weights`] = await hashTensors(model.parameters);
  model.dispose();
  return rows;
}

/** Steps of AdamW on an adapter with dropout, over a stream whose state is carried; and what merging makes of it. */
async function loraRows(device: Device, folder: string, steps: number): Promise<Rows> {
  const model = await loadModel(device, files, folder);
  const settings = { r: 3, loraAlpha: 6, loraDropout: 0.1, targetModules: 'all-linear', bias: 'lora_only' } as const;
  const adapter = attachLora(model, settings, { seed: 2 });
  const examples = examplesOf(model);
  const data = { train: examples, validation: examples.slice(0, 3), batchSize: 2, maxLength: 8, seed: 5 };
  const parameters = adapterParameters(adapter);
  const task = new LanguageTask({ model, parameters, mode: adapter, ...data, batching: 'stream' });
  const rows = await runRows('lora', task, { steps, learningRate: 1e-2, clipNorm: 1 });
  rows['lora: adapter'] = await hashTensors(adapter.trainable);
  // The order of the hash: what all layers share stands with the first.
  const carried = [...task.state().tensors!].map(([name, t]) => [name.replace(/^sequence\./, 'layers.0.'), t] as const);
  rows['lora: carried state'] = await hashTensors(carried);
  task.dispose();
  const ids = idsOf(model, 12, 77);
  const { rows: beside, state } = await forwardRows(model, 'lora', ids, [1, 12]);
  mergeLora(adapter);
  const merged = await forwardRows(model, 'lora merged', ids, [1, 12]);
  for (const { dispose } of [state, merged.state]) dispose();
  detachLora(adapter);
  model.dispose();
  return { ...rows, ...beside, 'lora merged: logits': merged.rows['lora merged: logits'] };
}

/** Logits of weights and activations in other types. */
async function typedRows(device: Device, folder: string): Promise<Rows> {
  const rows: Rows = {};
  for (const dtype of ['i8', 'bf16', 'f16'] as const satisfies ModelOptions['dtype'][]) {
    if (!device.backend.supports(dtype)) continue;
    const model = await loadModel(device, files, folder, { dtype });
    const given = await forwardRows(model, dtype, batchIds(model).slice(0, 2 * 23), [2, 23]);
    given.state.dispose();
    Object.assign(rows, given.rows);
    model.dispose();
  }
  return rows;
}

/** Everything of a small model. */
export async function languageRows(device: Device, folder: string): Promise<Rows> {
  const model = await loadModel(device, files, folder, { trainable: true });
  const ids = batchIds(model);
  const plain = await forwardRows(model, 'plain', ids, SHAPE);
  const flagged = await forwardRows(model, 'documents and padding', ids, SHAPE, { flags: FLAGS });
  for (const { state } of [plain, flagged]) state.dispose();
  const rows: Rows = {
    ...plain.rows,
    ...flagged.rows,
    ...(await carriedRows(model)),
    ...(await gradientRows(model, 'gradients', null)),
    ...(await gradientRows(model, 'gradients with documents and padding', FLAGS, { isEach: true })),
    ...(await gradientRows(model, 'gradients, checkpointed', FLAGS, { checkpointing: true })),
    ...(await scoreRows(model)),
    ...(await decodingRows(model)),
  };
  model.dispose();
  return {
    ...rows,
    ...(await typedRows(device, folder)),
    ...(await fullRows(device, folder, 'full', 'f32', 5)),
    ...(await fullRows(device, folder, 'full bf16', 'bf16', 2)),
    ...(await fullRows(device, folder, 'full f16', 'f16', 2)),
    ...(await loraRows(device, folder, 5)),
  };
}

/** Of a model of some size what does not take long. */
export async function largerRows(device: Device, folder: string): Promise<Rows> {
  const model = await loadModel(device, files, folder, { trainable: true });
  const plain = await forwardRows(model, 'plain', idsOf(model, 300, 1), [1, 300]);
  plain.state.dispose();
  const rows: Rows = {
    ...plain.rows,
    ...(await carriedRows(model)),
    ...(await gradientRows(model, 'gradients with documents and padding', FLAGS, { isEach: true })),
    ...(await scoreRows(model)),
    ...(await decodingRows(model)),
  };
  model.dispose();
  return { ...rows, ...(await typedRows(device, folder)), ...(await loraRows(device, folder, 2)) };
}
