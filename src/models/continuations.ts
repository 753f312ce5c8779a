/** How probable a model finds continuations of contexts: the words that stand for classes, the answers of a test. */
import { embedding } from '../tensor/index.ts';
import { checkIds } from './ids.ts';
import type { CausalLM, ModelState } from './model.ts';
import { prefill } from './prefill.ts';
import { scorePositions, scoreRows } from './score.ts';
import { selectRows } from './state.ts';

/** A prefix that many contexts share is worth a pass of its own from this length on. */
const LEAST_SHARED = 8;

export interface ContinuationRequest {
  /** What comes before; at least one token. */
  readonly context: readonly number[];
  /** What is scored; at least one token. */
  readonly continuation: readonly number[];
}

export interface ContinuationScore {
  /** Sum over the continuation's tokens, in nats. */
  readonly logprob: number;
  readonly logprobs: readonly number[];
  /** Whether greedy decoding would have written exactly this. */
  readonly isGreedy: boolean;
}

export interface ContinuationOptions {
  /** Sequences in a batch. */
  batchSize?: number;
  /** Called after each batch. */
  onProgress?: (share: number) => void;
}

/** A context, and the requests that have it. */
interface Group {
  readonly context: readonly number[];
  readonly members: number[];
}

function groupByContext(requests: readonly ContinuationRequest[]): Group[] {
  const groups = new Map<string, Group>();
  requests.forEach(({ context }, i) => {
    const key = context.join(' ');
    const group = groups.get(key);
    if (group) group.members.push(i);
    else groups.set(key, { context, members: [i] });
  });
  return [...groups.values()];
}

/** Length of what all contexts begin with, leaving each at least one token. */
function sharedLength(groups: readonly Group[]): number {
  const [first] = groups;
  let shared = Math.min(...groups.map(({ context }) => context.length)) - 1;
  for (const { context } of groups) {
    let t = 0;
    while (t < shared && context[t] === first.context[t]) t++;
    shared = t;
  }
  return groups.length > 1 && shared >= LEAST_SHARED ? shared : 0;
}

/** Scores the requests of some groups. `rests` are what their contexts have after `prefix`. */
async function scoreGroups(
  model: CausalLM,
  requests: readonly ContinuationRequest[],
  groups: readonly Group[],
  { prefix, skip, batchSize }: { prefix: ModelState | null; skip: number; batchSize: number },
): Promise<[request: number, score: ContinuationScore][]> {
  const { device } = model;
  const start =
    prefix &&
    selectRows(
      prefix,
      groups.map(() => 0),
    );
  const rests = groups.map(({ context }) => context.slice(skip));
  const { hidden, state } = await prefill(model, rests, { state: start });
  start?.dispose();
  const scored: [number, ContinuationScore][] = [];
  try {
    const members = groups.flatMap(({ members: list }, row) => list.map((request) => ({ request, row })));
    members.sort((a, b) => requests[a.request].continuation.length - requests[b.request].continuation.length);
    for (let at = 0; at < members.length; at += batchSize) {
      const batch = members.slice(at, at + batchSize);
      const rows = batch.map(({ row }) => row);
      const words = batch.map(({ request }) => requests[request].continuation);
      const last = device.noGrad(() => device.scope(() => embedding(hidden, device.from(rows, [rows.length], 'i32'))));
      const first = await scorePositions(
        model,
        last,
        Int32Array.from(words, (word) => word[0]),
      );
      last.dispose();
      const from = words.some((word) => word.length > 1) ? selectRows(state, rows) : null;
      const later = await scoreRows(model, words, { state: from });
      from?.dispose();
      batch.forEach(({ request }, i) => {
        const logprobs = [first.logprobs[i], ...later[i].logprobs];
        const isGreedy = first.isBest[i] && later[i].isBest.every(Boolean);
        scored.push([request, { logprob: logprobs.reduce((sum, x) => sum + x, 0), logprobs, isGreedy }]);
      });
    }
    return scored;
  } finally {
    hidden.dispose();
    state.dispose();
  }
}

/**
 * Log-probability of each continuation after its context. A context that several requests have is read once, as is
 * what all contexts begin with (the examples of a few-shot prompt); the rest runs in padded batches.
 * @returns one score a request, in their order
 * @throws UsageError for an empty context or continuation, or an id that is not of the vocabulary
 */
export async function scoreContinuations(
  model: CausalLM,
  requests: readonly ContinuationRequest[],
  { batchSize = 32, onProgress }: ContinuationOptions = {},
): Promise<ContinuationScore[]> {
  requests.forEach(({ context, continuation }, i) => {
    checkIds(`request ${i}: context`, context, model.vocabSize);
    checkIds(`request ${i}: continuation`, continuation, model.vocabSize);
  });
  if (requests.length === 0) return [];
  const groups = groupByContext(requests).sort((a, b) => a.context.length - b.context.length);
  const skip = sharedLength(groups);
  const shared = skip > 0 ? await prefill(model, [groups[0].context.slice(0, skip)]) : null;
  shared?.hidden.dispose();
  const scores = new Array<ContinuationScore>(requests.length);
  try {
    for (let at = 0; at < groups.length; at += batchSize) {
      const batch = groups.slice(at, at + batchSize);
      const scored = await scoreGroups(model, requests, batch, { prefix: shared?.state ?? null, skip, batchSize });
      for (const [request, score] of scored) scores[request] = score;
      onProgress?.(Math.min(1, (at + batchSize) / groups.length));
    }
    return scores;
  } finally {
    shared?.state.dispose();
  }
}
