/**
 * node-llama-cpp on GGUF files that Krait wrote: CPU only, on token ids, through its context sequences.
 *
 *   npm install --prefix bench --ignore-scripts     # its prebuilt CPU binary comes as an npm package
 *   npx tsx bench/rivals/node-llama-cpp.ts FILE.gguf [--prompt 512] [--tokens 64] [--rounds 5] [--threads 2]
 *
 * prints one JSON document: tokens per second of reading a prompt (a batch of 512) and of writing, median of rounds.
 */
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

/** The little of node-llama-cpp that is used; it is not installed where types are checked. */
interface Sequence {
  clearHistory(): Promise<void>;
  evaluate(tokens: readonly number[], options: object): AsyncGenerator<number, void>;
  evaluateWithoutGeneratingNewTokens(tokens: readonly number[]): Promise<void>;
  controlledEvaluate(input: readonly [number, object][]): Promise<({ next: Next } | undefined)[]>;
}
interface Next {
  /** Sorted, greatest first. */
  readonly logits?: ReadonlyMap<number, number>;
}
interface Model {
  tokenize(text: string, specialTokens: boolean): readonly number[];
  createContext(options: object): Promise<{ getSequence(): Sequence }>;
}
interface Library {
  getLlama(options: object): Promise<Llama>;
  getModuleVersion(): Promise<string>;
}
interface Llama {
  readonly systemInfo: string;
  readonly llamaCppRelease: { readonly release: string };
  loadModel(options: object): Promise<Model>;
  dispose(): Promise<void>;
}

/** Tokens that llama.cpp computes at once, its own default. */
const BATCH = 512;

async function load(): Promise<Library> {
  const name: string = 'node-llama-cpp';
  try {
    return (await import(name)) as Library;
  } catch (error) {
    throw new Error(`${name} cannot be loaded; run npm install --prefix bench --ignore-scripts`, { cause: error });
  }
}

export interface LlamaOptions {
  readonly threads?: number;
  /** Most tokens that a sequence will have. */
  readonly contextTokens?: number;
}

/** A GGUF file, open in node-llama-cpp. Every method starts from an empty sequence. */
export class LlamaRival {
  private constructor(
    /** Versions and the instruction sets in use. */
    readonly description: string,
    private readonly llama: Llama,
    private readonly model: Model,
    private readonly sequence: Sequence,
  ) {}

  /** @throws Error if it is not installed, or the file is refused */
  static async open(file: string, { threads = 2, contextTokens = 4096 }: LlamaOptions = {}): Promise<LlamaRival> {
    const library = await load();
    const llama = await library.getLlama({
      gpu: false,
      build: 'never',
      logLevel: 'error',
      maxThreads: threads,
      progressLogs: false,
    });
    const model = await llama.loadModel({ modelPath: resolve(file) });
    const context = await model.createContext({
      contextSize: contextTokens,
      batchSize: BATCH,
      threads: { ideal: threads, min: threads },
    });
    const version = `node-llama-cpp ${await library.getModuleVersion()} (llama.cpp ${llama.llamaCppRelease.release})`;
    return new LlamaRival(
      `${version}, ${threads} threads; ${llama.systemInfo.replace(/[ |]+$/, '')}`,
      llama,
      model,
      context.getSequence(),
    );
  }

  /** Ids of a text, special tokens in it included; nothing is put around it. */
  tokenize(text: string): number[] {
    return [...this.model.tokenize(text, true)];
  }

  /** The most probable continuation of a prompt; an end-of-text token does not end it. */
  async greedy(prompt: readonly number[], count: number): Promise<number[]> {
    await this.sequence.clearHistory();
    const tokens: number[] = [];
    for await (const token of this.sequence.evaluate(prompt, { temperature: 0, yieldEogToken: true })) {
      tokens.push(token);
      if (tokens.length === count) break;
    }
    return tokens;
  }

  /** For each position of `ids`: the `top` greatest logits by token, greatest first. */
  async topLogits(ids: readonly number[], top: number): Promise<ReadonlyMap<number, number>[]> {
    await this.sequence.clearHistory();
    const generateNext = { logits: { filter: { tokens: [], includeTop: top } } };
    const outputs = await this.sequence.controlledEvaluate(ids.map((id) => [id, { generateNext }]));
    return outputs.map((output) => output?.next.logits ?? new Map());
  }

  /** Seconds to read a prompt. No logits are computed. */
  async prefillSeconds(prompt: readonly number[]): Promise<number> {
    await this.sequence.clearHistory();
    const started = performance.now();
    await this.sequence.evaluateWithoutGeneratingNewTokens(prompt);
    return (performance.now() - started) / 1000;
  }

  /** Seconds to write `count` tokens, one by one and greedily, after a short prompt that is not counted. */
  async decodeSeconds(count: number): Promise<number> {
    await this.sequence.clearHistory();
    await this.sequence.evaluateWithoutGeneratingNewTokens([1, 2, 3, 4]);
    let started = performance.now();
    let done = -1; // the first token is not counted: it warms up
    for await (const _ of this.sequence.evaluate([5], { temperature: 0, yieldEogToken: true })) {
      done++;
      if (done === 0) started = performance.now();
      if (done === count) break;
    }
    return (performance.now() - started) / 1000;
  }

  async close(): Promise<void> {
    await this.llama.dispose();
  }
}

/** Rates of several rounds. */
export interface Rates {
  readonly median: number;
  readonly rounds: readonly number[];
}

export interface LlamaFigures {
  readonly rival: string;
  readonly promptTokens: number;
  readonly newTokens: number;
  /** Tokens per second. */
  readonly prefill: Rates;
  readonly decode: Rates;
}

export interface MeasureOptions {
  readonly promptTokens?: number;
  readonly newTokens?: number;
  readonly rounds?: number;
  readonly threads?: number;
}

const ratesOf = (rounds: readonly number[]): Rates => {
  const sorted = [...rounds].sort((a, b) => a - b);
  const middle = sorted.length / 2;
  return { median: (sorted[Math.floor(middle)] + sorted[Math.ceil(middle) - 1]) / 2, rounds };
};

/** Token ids that every vocabulary of at least 256 has. */
export const somePrompt = (length: number): number[] => Array.from({ length }, (_, i) => 2 + ((i * 7919) % 251));

/** Speed of node-llama-cpp on a GGUF file: one round to warm up, then prefill and decode in turn. */
export async function measureLlama(
  file: string,
  { promptTokens = 512, newTokens = 64, rounds = 5, threads = 2 }: MeasureOptions = {},
): Promise<LlamaFigures> {
  const rival = await LlamaRival.open(file, { threads, contextTokens: promptTokens + newTokens + BATCH });
  try {
    const prompt = somePrompt(promptTokens);
    const prefill: number[] = [];
    const decode: number[] = [];
    await rival.prefillSeconds(prompt);
    await rival.decodeSeconds(4);
    for (let round = 0; round < rounds; round++) {
      prefill.push(promptTokens / (await rival.prefillSeconds(prompt)));
      decode.push(newTokens / (await rival.decodeSeconds(newTokens)));
    }
    return { rival: rival.description, promptTokens, newTokens, prefill: ratesOf(prefill), decode: ratesOf(decode) };
  } finally {
    await rival.close();
  }
}

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      prompt: { type: 'string', default: '512' },
      tokens: { type: 'string', default: '64' },
      rounds: { type: 'string', default: '5' },
      threads: { type: 'string', default: '2' },
    },
  });
  if (positionals.length !== 1) throw new Error('give one GGUF file');
  const figures = await measureLlama(positionals[0], {
    promptTokens: Number(values.prompt),
    newTokens: Number(values.tokens),
    rounds: Number(values.rounds),
    threads: Number(values.threads),
  });
  console.log(JSON.stringify(figures, null, 2));
}

if (process.argv[1] && resolve(process.argv[1]) === fileURLToPath(import.meta.url)) {
  await main().catch((error: Error) => {
    console.error(error.message);
    process.exitCode = 1;
  });
}
