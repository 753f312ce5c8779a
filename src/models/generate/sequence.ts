/** One sequence that is being written: its tokens, the text that they make, and why it ends. */
import { HostRandom } from '../../core/index.ts';
import type { Tokenizer } from '../../io/index.ts';
import type { ModelState } from '../state/kinds.ts';
import { logProbability, type SamplingOptions, sampleToken } from './sampling.ts';
import { StopStrings } from './stop-strings.ts';

export interface GenerateOptions extends SamplingOptions {
  /** Most tokens for each prompt; 128 unless given. */
  maxTokens?: number;
  /** Texts that end a sequence; they are not given out. */
  stop?: readonly string[];
  /** Ids that end a sequence; those of the configuration and the tokenizer unless given, `[]` for none. */
  eosTokens?: readonly number[];
  /** Same seed, same tokens. */
  seed?: number;
  /** Sequence i draws from stream `stream + i` of the seed; 0 unless given. */
  stream?: number;
  /** Whether to compute log-probabilities. */
  logprobs?: boolean;
  /** State before the prompts, one sequence a prompt; not consumed. */
  state?: ModelState | null;
  /** Positions of a prompt that are read at once. */
  chunk?: number;
  signal?: AbortSignal;
}

/** `eos`: an end-of-text id; `stop`: a stop string; `length`: as many tokens as were asked for. */
export type FinishReason = 'eos' | 'stop' | 'length';

export interface GeneratedToken {
  /** Number of the prompt that it continues. */
  readonly sequence: number;
  readonly token: number;
  /** Text that became certain with it: empty while a character or a possible stop string is incomplete. */
  readonly text: string;
  /** Its log-probability in nats before temperature and penalties, if wanted. */
  readonly logprob?: number;
  /** Why the sequence ends here, or null if it goes on. */
  readonly finish: FinishReason | null;
}

/** The part of a tokenizer that generation uses. */
export type TextCodec = Pick<Tokenizer, 'encode' | 'decodeStream' | 'eosId' | 'vocabSize' | 'path'>;

/** One sequence that is being written. */
export class Sequence {
  private readonly random: HostRandom;
  private readonly seen: Set<number> | null;
  private readonly decoder;
  private readonly stops: StopStrings;
  private count = 0;

  constructor(
    readonly number: number,
    prompt: readonly number[],
    tokenizer: TextCodec | null,
    private readonly options: GenerateOptions,
    private readonly eos: ReadonlySet<number>,
  ) {
    this.random = new HostRandom(options.seed ?? 0, (options.stream ?? 0) + number);
    this.seen = (options.repetitionPenalty ?? 1) === 1 ? null : new Set(prompt);
    this.decoder = tokenizer?.decodeStream() ?? null;
    this.stops = new StopStrings(options.stop ?? []);
  }

  /** The next token of this sequence from its logits (which it may change). */
  next(logits: Float32Array | Float64Array, maxTokens: number): GeneratedToken {
    const original = this.options.logprobs ? logits.slice() : null;
    const token = sampleToken(logits, this.options, this.seen ?? [], this.random);
    this.seen?.add(token);
    const taken = this.take(token, maxTokens);
    return original ? { ...taken, logprob: logProbability(original, token) } : taken;
  }

  /** The next token of this sequence, whoever chose it. */
  take(token: number, maxTokens: number): GeneratedToken {
    this.count++;
    const isEos = this.eos.has(token);
    const piece = isEos ? '' : (this.decoder?.push(token) ?? '');
    let { text, isStopped } = this.stops.push(piece);
    let finish: FinishReason | null = isEos ? 'eos' : this.count >= maxTokens ? 'length' : null;
    if (isStopped) finish = 'stop';
    else if (finish) {
      const end = this.stops.push(this.decoder?.flush() ?? '');
      text += end.text + (end.isStopped ? '' : this.stops.flush());
      if (end.isStopped) finish = 'stop';
    }
    return { sequence: this.number, token, text, finish };
  }
}
