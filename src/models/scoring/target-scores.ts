/** How probable tokens are after positions whose hidden states are known. */
import { argmax, crossEntropy, embedding, IGNORE_INDEX, type Tensor } from '../../tensor/index.ts';
import type { LanguageModel } from '../heads/language-model.ts';

/** Bytes of logits that are alive at once. */
const LOGIT_BYTES = 32 * 2 ** 20;
/** Targets that share one row of logits; more of them take more rows. */
const MOST_TARGETS = 8;

/** A row of hidden states, and tokens that may come next. */
export interface ScoredRow {
  readonly row: number;
  readonly targets: readonly number[];
}

/** Score of each target: its log-probability in nats; `isBest` if no token is more probable. */
export type TargetScores = readonly { readonly logprob: number; readonly isBest: boolean }[];

/** Scores targets after rows of `hidden` [n, d]. Logits exist for a block of rows at a time, once for a row's targets. */
export async function scoreTargets(
  model: LanguageModel,
  hidden: Tensor,
  rows: readonly ScoredRow[],
): Promise<TargetScores[]> {
  const { device } = model;
  const parts = rows.flatMap(({ row, targets }, i) =>
    Array.from({ length: Math.ceil(targets.length / MOST_TARGETS) }, (_, k) => ({
      owner: i,
      row,
      targets: targets.slice(k * MOST_TARGETS, (k + 1) * MOST_TARGETS),
    })),
  );
  const scores = rows.map((): { logprob: number; isBest: boolean }[] => []);
  const block = Math.max(1, Math.floor(LOGIT_BYTES / (4 * model.vocabSize)));
  for (let at = 0; at < parts.length; at += block) {
    const some = parts.slice(at, at + block);
    const columns = Math.max(...some.map(({ targets }) => targets.length));
    const { losses, best } = device.noGrad(() =>
      device.scope(() => {
        const picked = some.map(({ row }) => row);
        const logits = model.logits(embedding(hidden, device.from(picked, [some.length], 'i32')));
        const column = (k: number) => {
          const targets = some.map((part) => part.targets[k] ?? IGNORE_INDEX);
          return crossEntropy(logits, device.from(targets, [some.length], 'i32'));
        };
        return { losses: Array.from({ length: columns }, (_, k) => column(k)), best: argmax(logits) };
      }),
    );
    const [won, ...lost] = await Promise.all([best.read(), ...losses.map((loss) => loss.read())]);
    for (const tensor of [best, ...losses]) tensor.dispose();
    some.forEach(({ owner, targets }, i) => {
      for (const [k, target] of targets.entries()) {
        scores[owner].push({ logprob: -lost[k][i], isBest: won[i] === target });
      }
    });
  }
  return scores;
}
