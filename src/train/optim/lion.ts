/**
 * Lion: each parameter moves by the learning rate, up or down, by the sign of an average of its gradients.
 *   c = beta1 m + (1 - beta1) g        param -= lr weightDecay param;     param -= lr sign(c)
 *   m = beta2 m + (1 - beta2) g
 * Source: Chen et al. 2023, "Symbolic discovery of optimization algorithms", algorithm 2.
 *
 * Lion is the second optimiser rather than Muon for three reasons. It treats all parameters alike: it trains whatever AdamW
 * trains (adapters, embeddings, scans, norms) and need not know which parameters are hidden matrices. It keeps one moment
 * where AdamW keeps two. It has no matrix product, whose bits differ between instruction sets. The paper advises rates 3
 * to 10 times lower than those of AdamW, and a weight decay as many times higher (section 5).
 *
 * The update is composed from elementwise kernels, 13 or 14 launches a parameter, and takes memory for five copies of the
 * largest parameter while it runs. The moment of a row that gets no more gradients decays to 0. As in the paper, it decides
 * the sign until then.
 */
import { type DType, KraitError } from '../../core/index.ts';
import { abs, cast, div, embedding, mul, reshape, scale, shift, sub, type Tensor } from '../../tensor/index.ts';
import { MomentOptimizer, type Slot, type TrainedParameter } from './optimizer.ts';

export interface LionOptions {
  betas?: readonly [number, number];
  weightDecay?: number;
}

export const LION_DEFAULTS = { betas: [0.9, 0.99], weightDecay: 0.1 } as const;

/** The smallest normal number of f32. |c| + it is |c| unless c is below 2^-102, so that c / (|c| + it) is the sign of c. */
const SMALLEST = 2 ** -126;
/** f32 counts rows exactly up to here. */
const MOST_ROWS = 2 ** 24;

/** Numbers of one update, the same for all parameters. The device computes them. All but `ids` are [1]. */
interface Plan {
  /** i32 [rows]: the number of each row; -1, which reads zeros, where the update is skipped. */
  readonly ids: Tensor;
  /** Factor on the gradients: of clipping and of the loss scale. */
  readonly factor: Tensor;
  /** Factors on decayed parameters and on moments; 1 where the update is skipped. */
  readonly keptParameter: Tensor;
  readonly keptMoment: Tensor;
  /** The learning rate; 0 where the update is skipped. */
  readonly rate: Tensor;
}

export class Lion extends MomentOptimizer<'m'> {
  private readonly options: Required<LionOptions>;
  /** f32 [rows]: 1, 2, 3 and so on, as many as the parameter with the most rows has. */
  private readonly rowNumbers: Tensor;

  /** @throws KraitError if there is nothing to train, a name stands twice, or a parameter has more than 2^24 rows */
  constructor(parameters: Iterable<TrainedParameter>, options: LionOptions = {}) {
    super('lion', ['m'], parameters);
    this.options = { ...LION_DEFAULTS, ...options };
    const rows = Math.max(...this.parameters.map(({ tensor }) => tensor.rows));
    if (rows > MOST_ROWS) {
      super.dispose();
      throw new KraitError(`[lion] a parameter has ${rows} rows, more than ${MOST_ROWS}; use adamw`);
    }
    this.rowNumbers = this.device.keep(this.device.from(Float32Array.from({ length: rows }, (_, i) => i + 1)));
  }

  protected apply(slots: readonly Slot<'m'>[], control: Tensor, learningRate: number): void {
    for (const dtype of new Set(slots.map(({ moments }) => moments.m.dtype))) {
      const plan = this.planOf(control, learningRate, dtype);
      const alike = slots.filter(({ moments }) => moments.m.dtype === dtype);
      for (const slot of alike) this.device.scope(() => this.move(slot, plan));
    }
  }

  private planOf(control: Tensor, learningRate: number, dtype: DType): Plan {
    const { betas, weightDecay } = this.options;
    const at = (i: number) => control.alias([1], control.offset + i);
    const isApplied = cast(at(2), dtype); // 1 or 0
    return {
      ids: cast(shift(mul(this.rowNumbers, at(2)), -1), 'i32'),
      factor: cast(at(0), dtype),
      keptParameter: shift(scale(isApplied, -learningRate * weightDecay), 1),
      keptMoment: shift(scale(isApplied, betas[1] - 1), 1),
      rate: scale(isApplied, learningRate),
    };
  }

  /**
   * Queues the update of one parameter. Where it is skipped the gradient, which may be NaN, is not read: it is 0, the
   * moment and the parameter are multiplied by 1, and the rate is 0.
   */
  private move({ tensor, master, moments, isDecayed }: Slot<'m'>, plan: Plan): void {
    const { device } = this;
    const { m } = moments;
    const [beta1, beta2] = this.options.betas;
    const param = master ?? tensor;
    const grad = tensor.grad!;
    const shape = [grad.rows, grad.cols];
    const copy = (x: Tensor, y: Tensor) => device.launch('copy', { x, y }, { rows: y.rows, cols: y.cols });
    const accumulate = (x: Tensor, y: Tensor, alpha: number) =>
      device.launch('accumulate', { x, y }, { rows: y.rows, cols: y.cols }, { alpha });
    const g = device.scope(() => {
      const rows = embedding(reshape(grad, shape), plan.ids.alias([grad.rows]), { dtype: m.dtype });
      return mul(reshape(rows, tensor.shape), plan.factor);
    });
    const direction = device.scope(() => {
      const c = scale(m, beta1);
      accumulate(g, c, 1 - beta1);
      return div(c, shift(abs(c), SMALLEST));
    });
    device.scope(() => {
      const kept = isDecayed ? mul(param, plan.keptParameter) : param;
      copy(sub(kept, mul(direction, plan.rate)), param);
      if (master) copy(master, tensor);
    });
    copy(mul(m, plan.keptMoment), m);
    accumulate(g, m, 1 - beta2);
  }

  override dispose(): void {
    super.dispose();
    this.rowNumbers.dispose();
  }
}
