/** Requests of evaluation to a language model, and their results: three kinds, as in lm-evaluation-harness. */

/** How probable is a continuation after a context? An empty context is the tokenizer's first token (BOS, else EOS). */
export interface LoglikelihoodRequest {
  readonly kind: 'loglikelihood';
  readonly context: string;
  readonly continuation: string;
}

/** How probable is a text as a whole, of any length? */
export interface RollingRequest {
  readonly kind: 'rolling';
  readonly text: string;
}

/**

 * Request for the text that greedy decoding writes after a context, up to the first of `until` or `maxTokens` tokens.

 */
export interface GenerateRequest {
  readonly kind: 'generate';
  readonly context: string;
  readonly until: readonly string[];
  readonly maxTokens: number;
}

export type EvalRequest = LoglikelihoodRequest | RollingRequest | GenerateRequest;

export interface LoglikelihoodAnswer {
  readonly kind: 'loglikelihood';
  /** Log-probability of the whole continuation, in nats. */
  readonly logprob: number;
  /** Whether greedy decoding would have written exactly this. */
  readonly isGreedy: boolean;
}

export interface RollingAnswer {
  readonly kind: 'rolling';
  /** Log-probability of the whole text, in nats. */
  readonly logprob: number;
}

export interface GenerateAnswer {
  readonly kind: 'generate';
  /** Without the stop text. */
  readonly text: string;
}

export type EvalAnswer = LoglikelihoodAnswer | RollingAnswer | GenerateAnswer;
