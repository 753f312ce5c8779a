/**
 * The launches that the engine queues, in order, with their sizes, types and scalars: of a prefill, of generation (the recorded
 * step of decoding among them), of a training step and of a LoRA step, for a model of each kind. A file for each, whose
 * lines are `kernel sizes | tensors | scalars`. A tensor is `name:type/distance of its rows+offset`, in elements.
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { attachLora, complete, Device, type LanguageModel, loadModel, NodeFileSystem, openBackend } from 'krait';
import { prefill } from 'krait/models';
import { train } from 'krait/train';
import { adapterParameters, LanguageTask, type TokenExample } from 'krait/tune';
import { argumentName, type Backend, type Command, KERNELS, type KernelSpec } from '../../src/backend/index.ts';
import { checkText, startAnew } from './golden.ts';

const FOLDER = 'launches';
const FIXTURES = fileURLToPath(new URL('../fixtures/', import.meta.url));

const valuesOf = (names: readonly string[], values: readonly number[]): string =>
  names.map((name, i) => `${name}=${values[i]}`).join(' ');

/** One line for a launch. */
function lineOf({ kernel, tensors, dims, scalars }: Command): string {
  const spec: KernelSpec = KERNELS[kernel];
  const names = tensors.flatMap((tensor, i) => {
    if (!tensor) return [];
    const from = tensor.offset ? `+${tensor.offset}` : '';
    return [`${argumentName(spec.tensors[i])}:${tensor.dtype}/${tensor.ld}${from}`];
  });
  const parts = [`${kernel} ${valuesOf(spec.dims, dims)}`.trim(), names.join(' '), valuesOf(spec.scalars, scalars)];
  return parts.filter(Boolean).join(' | ');
}

/** Lines that are alike and follow one another become one, with their number. */
function shorten(lines: readonly string[]): string[] {
  const short: string[] = [];
  for (let i = 0, count = 1; i < lines.length; i += count, count = 1) {
    while (lines[i + count] === lines[i]) count++;
    short.push(count > 1 ? `${count} x ${lines[i]}` : lines[i]);
  }
  return short;
}

/** Runs work and returns what it launched on the device, line by line. */
async function launchesOf(device: Device, work: () => Promise<unknown>): Promise<string> {
  const { backend } = device;
  const lines: string[] = [];
  const { launch, list } = backend;
  let lists = 0;
  backend.launch = (command) => {
    lines.push(lineOf(command));
    launch.call(backend, command);
  };
  backend.list = (commands) => {
    const name = `list ${++lists}`;
    lines.push(`${name} of ${commands.length} commands:`, ...commands.map((command) => `  ${lineOf(command)}`));
    const made = list.call(backend, commands);
    const queue = () => {
      lines.push(`launch ${name}`);
      launchList(made);
    };
    return { length: made.length, launch: queue, close: () => made.close() };
  };
  // The reference device launches the commands of a list one by one: they are in the text already.
  const launchList = (made: ReturnType<Backend['list']>) => {
    const own = backend.launch;
    backend.launch = launch;
    try {
      made.launch();
    } finally {
      backend.launch = own;
    }
  };
  try {
    await work();
  } finally {
    backend.launch = launch;
    backend.list = list;
  }
  return shorten(lines).join('\n');
}

/** Numbers from 1 below the vocabulary, the same every time. */
const idsOf = (model: LanguageModel, count: number, seed: number): number[] =>
  Array.from({ length: count }, (_, i) => 1 + ((seed * 31 + i * i * 7 + i * 13) % (model.vocabSize - 1)));

const exampleOf = (ids: number[]): TokenExample => ({ ids, targets: [[1, ids.length]], bytes: ids.length });

/** Three documents in two rows, so that one row has a reset. */
const examplesOf = (model: LanguageModel): TokenExample[] =>
  [9, 5, 11].map((length, i) => exampleOf(idsOf(model, length, i)));

const BATCH = { batchSize: 2, maxLength: 16, isShuffled: false } as const;
const STEP = { steps: 1, learningRate: 1e-3, weightDecay: 0.1, clipNorm: 1, seed: 3 } as const;

/** What is done with a model, by the name of its golden. */
const WORK: Record<string, (model: LanguageModel) => Promise<unknown>> = {
  prefill: async (model) => {
    const { hidden, state } = await prefill(model, [idsOf(model, 12, 1), idsOf(model, 7, 2)], { chunk: 8 });
    hidden.dispose();
    state.dispose();
  },
  generate: (model) => complete(model, null, [idsOf(model, 6, 3), idsOf(model, 4, 4)], { maxTokens: 4, eosTokens: [] }),
  'train-step': (model) => train(new LanguageTask({ model, train: examplesOf(model), ...BATCH }), { options: STEP }),
  'lora-step': (model) => {
    const adapter = attachLora(model, { r: 2, loraAlpha: 4, loraDropout: 0.1, targetModules: 'all-linear' });
    const parameters = adapterParameters(adapter);
    const task = new LanguageTask({ model, parameters, mode: adapter, train: examplesOf(model), ...BATCH });
    return train(task, { options: STEP });
  },
};

startAnew(FOLDER);

for (const fixture of ['mamba-a', 'falcon_mamba-a', 'gpt_neox-a']) {
  describe(`launches of ${fixture}`, () => {
    for (const [name, work] of Object.entries(WORK)) {
      it(`in a ${name} are those that were frozen`, async () => {
        const device = new Device((await openBackend({ device: 'reference' })).backend);
        const model = await loadModel(device, new NodeFileSystem(), `${FIXTURES}${fixture}`);
        const launches = await launchesOf(device, () => work(model));
        assert.ok(launches.length > 0, 'nothing was launched');
        checkText(`${FOLDER}/${fixture}-${name}.txt`, launches);
        device.close();
      });
    }
  });
}
