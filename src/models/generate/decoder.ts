/**
 * Decoding, a token of each sequence at a time. The commands of a step are recorded once and queued with one call from
 * then on, because shapes do not change: two states take turns, each written from the other. A model whose state grows
 * is run anew each time, for it would be recorded in vain.
 */
import { areExchangeable, type Recording, reshape, type Tensor } from '../../tensor/index.ts';
import type { CausalLM, ModelState } from '../model.ts';
import { selectRows } from '../state.ts';

type Logits = Float32Array | Float64Array;

/** A step that is ready to be launched: where its tokens go, and what it leaves. */
interface Step {
  readonly ids: Tensor;
  readonly logits: Tensor;
  readonly before: ModelState;
  readonly after: ModelState;
  readonly recording: Recording<unknown>;
  /** From `after` to `before`, once it is known that they can take turns. */
  back: { launch(): void } | null;
  /** Whether `after` is the state now. */
  isAfter: boolean;
}

/** Logits [b, vocabulary] on the host, a row for each sequence. */
async function readRows(logits: Tensor, vocabSize: number): Promise<Logits[]> {
  const values = (await logits.read()) as Logits;
  return Array.from({ length: logits.rows }, (_, i) => values.subarray(i * vocabSize, (i + 1) * vocabSize));
}

/** Logits of each sequence on the host from hidden states [b, hiddenSize], which it disposes of. */
export async function readLogits(model: CausalLM, hidden: Tensor): Promise<Logits[]> {
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
  before.layers.flatMap((layer, i) =>
    Object.keys(layer).map((name): [Tensor, Tensor] => [layer[name], after.layers[i][name]]),
  );

export class Decoder {
  private step: Step | null = null;

  /** @param state after the sequences so far, one row each; the decoder's own from now on */
  constructor(
    private readonly model: CausalLM,
    private state: ModelState,
  ) {}

  /** Reads one more token of each sequence. Returns their logits, which the caller may change. */
  async next(tokens: readonly number[]): Promise<Logits[]> {
    const { vocabSize, device } = this.model;
    if (this.model.memoryLength !== null) return this.run(tokens);
    this.step ??= device.noGrad(() => this.recordStep(tokens.length));
    const { step } = this;
    step.ids.write(Int32Array.from(tokens));
    if (step.isAfter) step.back!.launch();
    else step.recording.launch();
    step.isAfter = !step.isAfter;
    this.state = step.isAfter ? step.after : step.before;
    const rows = readRows(step.logits, vocabSize);
    if (step.isAfter && !step.back && !this.canTakeTurns(step)) this.endStep();
    return rows;
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
        return { logits, layers: state!.layers, after: state! };
      });
      const { logits, after } = recording.result;
      return { ids, logits, before, after, recording, back: null, isAfter: false };
    } catch (error) {
      ids.dispose();
      throw error;
    }
  }

  /** Whether the next step can be the same one, from the state after it to the state before. */
  private canTakeTurns(step: Step): boolean {
    const pairs = pairsOf(step.before, step.after);
    if (!pairs.every(([a, b]) => areExchangeable(a, b))) return false;
    step.back = step.recording.exchanged(pairs);
    return true;
  }

  /** Goes on with some of the sequences, in the order of `rows`. */
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
    for (const tensor of [step.ids, step.logits]) tensor.dispose();
    step.recording.close();
  }

  dispose(): void {
    this.endStep();
    this.state.dispose();
  }
}
