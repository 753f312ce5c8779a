/**
 * Whether llama.cpp writes the tokens that Krait writes, from GGUF files that Krait exports:
 *
 *   npm install --prefix bench --ignore-scripts
 *   npx tsx bench/rivals/llama-tokens.ts [--model DIR | --random tiny|130m [--tied] [--falcon] [--tokenizer FILE]]
 *       [--types f32,f16,bf16,q8_0] [--prompts 4] [--tokens 50] [--threads 2] [--keep DIR]
 *
 * For each type: tokens of greedy continuations that agree before the first that differs; then both read Krait's
 * continuation and each position's 50 greatest logits are compared: the largest difference, as a share of the spread
 * (standard deviation) of Krait's logits, and how often the greatest is the same token. Krait computes f32 for f32 and
 * q8_0 (whose weights it cannot hold), and the type itself for f16 and bf16. Exit code 1 if a type is outside `LIMITS`.
 * If the model has a tokenizer, texts are also cut by both.
 */
import { existsSync } from 'node:fs';
import { copyFile, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { openBackend } from '../../src/backend/select.ts';
import { type DType, HostRandom } from '../../src/core/index.ts';
import { GGUF_TYPES, type GgufType, loadTokenizer } from '../../src/io/index.ts';
import { generate } from '../../src/models/generate/index.ts';
import {
  convertToGguf,
  createModel,
  type LanguageModel,
  loadModel,
  parseConfig,
  saveModel,
} from '../../src/models/index.ts';
import { NodeFileSystem } from '../../src/platform/node/index.ts';
import { Device } from '../../src/tensor/index.ts';
import { LlamaRival } from './node-llama-cpp.ts';

const files = new NodeFileSystem();
const TOP = 50;

/** What Krait computes in, the largest difference of logits in spreads, the least share of equal choices. */
const LIMITS: Readonly<Record<GgufType, { dtype: DType; difference: number; agreement: number }>> = {
  f32: { dtype: 'f32', difference: 1e-4, agreement: 1 },
  f16: { dtype: 'f16', difference: 0.02, agreement: 0.97 },
  bf16: { dtype: 'bf16', difference: 0.1, agreement: 0.97 },
  q8_0: { dtype: 'f32', difference: 0.3, agreement: 0.9 },
};

const TEXTS = [
  "Hello world, it's 12 345 o'clock; we'll \"see\" what they've DONE.",
  '  two blanks\n\n\tand a tab,   three blanks \n',
  'naïve café, 東京タワー, Привет, 🦙🦙 and ½ + ¾ = 1¼',
  'x = [i**2 for i in range(10)]  # code\nprint(x)',
  '<|endoftext|>in a text, and a-word\u00adwith 100,000.00 <|things|> ...!?',
];

interface RandomFlags {
  readonly tied: boolean;
  readonly falcon: boolean;
  readonly tokenizer?: string;
}

/** A model of random weights; its head is apart unless `tied`, so that it does not repeat one token for ever. */
async function randomModel(device: Device, size: string, flags: RandomFlags, folder: string): Promise<void> {
  const shape =
    size === '130m'
      ? { vocab_size: 50280, hidden_size: 768, num_hidden_layers: 24 }
      : { vocab_size: 4096, hidden_size: 64, num_hidden_layers: 4 };
  const config = {
    model_type: flags.falcon ? 'falcon_mamba' : 'mamba',
    ...shape,
    use_bias: false,
    use_conv_bias: true,
    tie_word_embeddings: flags.tied,
    mixer_rms_eps: 1e-5,
    initializer_range: 0.5,
  };
  const model = createModel(device, parseConfig(config, 'random'), 7);
  await saveModel(model, files, folder);
  model.dispose();
  if (flags.tokenizer) await copyFile(flags.tokenizer, join(folder, 'tokenizer.json'));
}

async function kraitGreedy(model: LanguageModel, prompt: readonly number[], maxTokens: number): Promise<number[]> {
  const tokens: number[] = [];
  for await (const { token } of generate(model, null, prompt, { maxTokens, eosTokens: [] })) tokens.push(token);
  return tokens;
}

/** Logits of every position, one row each. */
async function kraitLogits(model: LanguageModel, ids: readonly number[]): Promise<Float32Array[]> {
  const { device, vocabSize } = model;
  const logits = device.noGrad(() =>
    device.scope(() => model.logits(model.forward(device.from(Int32Array.from(ids), [1, ids.length], 'i32')).hidden)),
  );
  const values = (await logits.read()) as Float32Array;
  logits.dispose();
  return ids.map((_, i) => values.subarray(i * vocabSize, (i + 1) * vocabSize));
}

function spreadOf(values: Float32Array): number {
  const mean = values.reduce((sum, x) => sum + x, 0) / values.length;
  return Math.sqrt(values.reduce((sum, x) => sum + (x - mean) ** 2, 0) / values.length);
}

interface Comparison {
  /** Tokens before the first that differs, of all that were written. */
  same: number;
  written: number;
  /** Largest difference of a logit, in spreads. */
  difference: number;
  agreed: number;
  positions: number;
}

async function compare(
  model: LanguageModel,
  rival: LlamaRival,
  prompts: readonly number[][],
  count: number,
): Promise<Comparison> {
  const total: Comparison = { same: 0, written: 0, difference: 0, agreed: 0, positions: 0 };
  for (const prompt of prompts) {
    const ours = await kraitGreedy(model, prompt, count);
    const theirs = await rival.greedy(prompt, count);
    const firstOther = ours.findIndex((token, i) => token !== theirs[i]);
    total.same += firstOther < 0 ? ours.length : firstOther;
    total.written += ours.length;
    const ids = [...prompt, ...ours];
    const rows = await kraitLogits(model, ids);
    for (const [i, top] of (await rival.topLogits(ids, TOP)).entries()) {
      const row = rows[i];
      const spread = spreadOf(row);
      const [best] = top.keys();
      for (const [token, logit] of top) {
        total.difference = Math.max(total.difference, Math.abs(row[token] - logit) / spread);
      }
      if (row.indexOf(Math.max(...row)) === best) total.agreed++;
      total.positions++;
    }
  }
  return total;
}

/** How many texts both cut into the same ids, and which they do not. */
async function compareTexts(rival: LlamaRival, folder: string): Promise<string> {
  if (!existsSync(join(folder, 'tokenizer.json'))) return 'no tokenizer';
  const tokenizer = await loadTokenizer(files, folder);
  const isSame = (text: string) =>
    String(tokenizer.encode(text, { addSpecialTokens: false })) === String(rival.tokenize(text));
  const others = TEXTS.filter((text) => !isSame(text));
  const which = others.length ? `; not ${others.map((text) => JSON.stringify(text)).join(', ')}` : '';
  return `${TEXTS.length - others.length} of ${TEXTS.length} texts are cut alike${which}`;
}

function promptsFor(vocabSize: number, count: number): number[][] {
  const random = new HostRandom(5, 0);
  return Array.from({ length: count }, (_, i) =>
    Array.from({ length: 3 + 5 * i }, () => Math.floor(random.uniform() * vocabSize)),
  );
}

interface Job {
  readonly device: Device;
  readonly folder: string;
  readonly work: string;
  readonly prompts: number;
  readonly tokens: number;
  readonly threads: number;
}

/** One type; returns whether it is inside its limits. */
async function check(type: GgufType, { device, folder, work, prompts, tokens, threads }: Job): Promise<boolean> {
  const path = join(work, `${type}.gguf`);
  const warnings: string[] = [];
  await convertToGguf(files, folder, path, { type, onWarning: (line) => warnings.push(line) });
  const { dtype, difference, agreement } = LIMITS[type];
  const model = await loadModel(device, files, folder, { dtype });
  const rival = await LlamaRival.open(path, { threads });
  try {
    const found = await compare(model, rival, promptsFor(model.vocabSize, prompts), tokens);
    const share = found.agreed / found.positions;
    const isGood = found.difference <= difference && share >= agreement;
    console.log(
      [
        `${isGood ? 'ok  ' : 'FAIL'} ${type.padEnd(4)} against Krait in ${dtype.padEnd(4)}`,
        `greedy tokens ${found.same} of ${found.written} before the first that differs`,
        `largest difference ${found.difference.toExponential(1)} spreads`,
        `same choice ${found.agreed} of ${found.positions}`,
        await compareTexts(rival, folder),
        ...warnings,
      ].join('\n       '),
    );
    return isGood;
  } finally {
    await rival.close();
    model.dispose();
  }
}

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      model: { type: 'string' },
      random: { type: 'string', default: 'tiny' },
      tokenizer: { type: 'string' },
      tied: { type: 'boolean', default: false },
      falcon: { type: 'boolean', default: false },
      types: { type: 'string', default: GGUF_TYPES.join(',') },
      prompts: { type: 'string', default: '4' },
      tokens: { type: 'string', default: '50' },
      threads: { type: 'string', default: '2' },
      keep: { type: 'string' },
    },
  });
  const threads = Number(values.threads);
  const { backend, reason } = await openBackend({ device: 'auto', threads });
  console.log(`Krait: ${reason}`);
  const device = new Device(backend);
  const work = values.keep ?? (await mkdtemp(join(tmpdir(), 'krait-gguf-')));
  try {
    const folder = values.model ?? join(work, 'model');
    if (!values.model) await randomModel(device, values.random, values, folder);
    const job = { device, folder, work, prompts: Number(values.prompts), tokens: Number(values.tokens), threads };
    let isGood = true;
    for (const type of values.types.split(',')) isGood = (await check(type as GgufType, job)) && isGood;
    return isGood ? 0 : 1;
  } finally {
    if (!values.keep) await rm(work, { recursive: true, force: true });
    device.close();
  }
}

process.exitCode = await main().catch((error: Error) => {
  console.error(error.message);
  return 1;
});
