/**
 * Decoding: each step reads one token of each sequence. Shapes do not change, so the commands of a step are recorded once and
 * then queued with one call. Two states take turns, each written from the other. A model whose state grows has other shapes
 * in each step, and is not recorded. In greedy decoding the device chooses the token, and the next step can be queued before
 * the host has read it.
 */
import { KraitError } from '../../core/index.ts';
import { areExchangeable, argmax, type Recording, reshape, sum, type Tensor } from '../../tensor/index.ts';
import type { LanguageModel } from '../heads/language-model.ts';
import { type ModelState, partsOf } from '../state/kinds.ts';
import { selectRows } from '../state/rows.ts';

type Logits = Float32Array | Float64Array;

/** A step that is ready to be launched: its input tokens and its results. */
interface Step {
  readonly ids: Tensor;
  readonly logits: Tensor;
  /** Most probable tokens [b, 1], which take turns with `ids`, and sums of the logits [b]; a sum is NaN if a logit is. */
  readonly best: Tensor | null;
  readonly sums: Tensor | null;
  readonly before: ModelState;
  readonly after: ModelState;
  readonly recording: Recording<unknown>;
  /** Recording from `after` to `before`, if the two can take turns. */
  back: { launch(): void } | null;
  /** True if `after` is the current state. */
  isAfter: boolean;
}

/** Logits [b, vocabulary] on the host, a row for each sequence. */
async function readRows(logits: Tensor, vocabSize: number): Promise<Logits[]> {
  const values = (await logits.read()) as Logits;
  return Array.from({ length: logits.rows }, (_, i) => values.subarray(i * vocabSize, (i + 1) * vocabSize));
}

/** Logits of each sequence on the host from hidden states [b, hiddenSize], which it disposes of. */
export async function readLogits(model: LanguageModel, hidden: Tensor): Promise<Logits[]> {
  const { device } = model;
  const logits = device.noGrad(() => device.scope(() => model.logits(hidden)));
  hidden.dispose();
  try {
    return await readRows(logits, model.vocabSize);
  } finally {
    logits.dispose();
  }
}

const pairsOf = (before: ModelState, after: ModelState): [Tensor, Tensor][] =>
  partsOf(before).flatMap((part, i) =>
    Object.keys(part).map((name): [Tensor, Tensor] => [part[name], partsOf(after)[i][name]]),
  );

/** @throws KraitError if a logit was NaN */
async function readChoice(best: Tensor, sums: Tensor): Promise<number[]> {
  const [tokens, totals] = await Promise.all([best.read(), sums.read()]);
  if (!totals.some(Number.isNaN)) return Array.from(tokens);
  throw new KraitError('a logit is NaN; the weights or a value on the way overflowed');
}

export class Decoder {
  private step: Step | null = null;

  /**
   * @param state state after the sequences so far, one row each; the decoder owns it
   * @param chooses true if the decoder chooses tokens (`choose`); otherwise the caller does, from logits (`next`)
   */
  constructor(
    private readonly model: LanguageModel,
    private state: ModelState,
    private readonly chooses = false,
  ) {}

  /** Reads one more token of each sequence. Returns their logits, which the caller may change. */
  async next(tokens: readonly number[]): Promise<Logits[]> {
    if (this.model.stateGrows) return this.run(tokens);
    const step = this.begin(tokens);
    this.launch(step);
    const rows = readRows(step.logits, this.model.vocabSize);
    this.finish(step);
    return rows;
  }

  /** Whether a decoder of this model can choose tokens. */
  static canChoose = (model: LanguageModel): boolean => !model.stateGrows;

  /** True if `choose` can continue from the tokens that it chose last. */
  get goesOn(): boolean {
    return this.step !== null;
  }

  /**
   * Reads one more token of each sequence: `tokens`, or for null the tokens that it chose last. Resolves to the most probable
   * next tokens, the first of equals. Steps may be queued before earlier ones have resolved.
   * @throws KraitError if a logit is NaN, or no tokens were chosen before
   */
  choose(tokens: readonly number[] | null): Promise<number[]> {
    const step = tokens ? this.begin(tokens) : this.step;
    if (!step?.best || !step.sums)
      throw new KraitError('this decoder has chosen no tokens; make it one that chooses, and give some');
    this.launch(step);
    const choice = readChoice(step.isAfter ? step.best : step.ids, step.sums);
    choice.catch(() => {}); // nobody may ask any more
    this.finish(step);
    return choice;
  }

  /** The step, with its tokens written. */
  private begin(tokens: readonly number[]): Step {
    this.step ??= this.model.device.noGrad(() => this.recordStep(tokens.length));
    const { step } = this;
    (step.isAfter && step.best ? step.best : step.ids).write(Int32Array.from(tokens));
    return step;
  }

  private launch(step: Step): void {
    if (step.isAfter) step.back!.launch();
    else step.recording.launch();
    step.isAfter = !step.isAfter;
    this.state = step.isAfter ? step.after : step.before;
  }

  /** Ends a step that cannot be taken again. */
  private finish(step: Step): void {
    if (step.isAfter && !step.back && !this.canTakeTurns(step)) this.endStep();
  }

  /** A step without a recording. */
  private run(tokens: readonly number[]): Promise<Logits[]> {
    const { model, state: before } = this;
    const { device } = model;
    const { hidden, state } = device.noGrad(() =>
      device.scope(() => {
        const ids = device.from(tokens, [tokens.length, 1], 'i32');
        const after = model.forward(ids, { state: before, wantState: true });
        return { hidden: reshape(after.hidden, [tokens.length, model.hiddenSize]), state: after.state! };
      }),
    );
    before.dispose();
    this.state = state;
    return readLogits(model, hidden);
  }

  private recordStep(sequences: number): Step {
    const { model, state: before } = this;
    const { device } = model;
    const ids = device.from(new Int32Array(sequences), [sequences, 1], 'i32');
    try {
      const recording = device.record(() => {
        const { hidden, state } = model.forward(ids, { state: before, wantState: true });
        const logits = model.logits(reshape(hidden, [sequences, model.hiddenSize]));
        const best = this.chooses ? reshape(argmax(logits), [sequences, 1]) : null;
        const sums = this.chooses ? sum(logits, 1) : null;
        return { logits, best, sums, after: state! };
      });
      const { logits, best, sums, after } = recording.result;
      return { ids, logits, best, sums, before, after, recording, back: null, isAfter: false };
    } catch (error) {
      ids.dispose();
      throw error;
    }
  }

  /** True if the next step can be the recorded one, with the two states exchanged. */
  private canTakeTurns(step: Step): boolean {
    const pairs = pairsOf(step.before, step.after);
    if (step.best) pairs.push([step.ids, step.best]);
    if (!pairs.every(([a, b]) => areExchangeable(a, b))) return false;
    step.back = step.recording.exchanged(pairs);
    return true;
  }

  /** Continues with some of the sequences, in the order of `rows`. */
  select(rows: readonly number[]): void {
    const fewer = selectRows(this.state, rows);
    this.endStep();
    this.state.dispose();
    this.state = fewer;
  }

  /** Leaves the state alone. */
  private endStep(): void {
    const { step } = this;
    if (!step) return;
    this.step = null;
    const other = step.isAfter ? step.before : step.after;
    other.dispose();
    for (const tensor of [step.ids, step.logits, step.best, step.sums]) tensor?.dispose();
    step.recording.close();
  }

  dispose(): void {
    this.endStep();
    this.state.dispose();
  }
}
