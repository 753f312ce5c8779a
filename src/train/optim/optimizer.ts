/**
 * What an optimiser is to the trainer, and the part that is the same for all: named parameters, moments, f32 masters of
 * half parameters, clipping by the norm of all gradients together, state for checkpoints.
 *
 * Everything is queued on the device: the norm, the decision to clip or skip, the update. The host may read what was
 * decided later, from the control tensor.
 */
import { type DType, KraitError } from '../../core/index.ts';
import { cast, type Device, type Tensor } from '../../tensor/index.ts';

export interface TrainedParameter {
  readonly name: string;
  /** A dense leaf; marked as trainable. */
  readonly tensor: Tensor;
  /** Whether weight decay applies. */
  readonly isDecayed: boolean;
}

export interface UpdateOptions {
  learningRate: number;
  /** Gradients of a larger norm are scaled down to it; 0 leaves them. */
  clipNorm?: number;
  /** Factor on the gradients before anything else: one over the loss scale. */
  inverseScale?: number;
}

/** Result of one update, read from its control tensor. */
export interface UpdateReport {
  /** Norm of all gradients before clipping; not finite if they were not. */
  readonly gradNorm: number;
  /** False where the gradients were not finite and nothing changed. */
  readonly isApplied: boolean;
}

export interface Optimizer {
  readonly parameters: readonly TrainedParameter[];
  /** Updates that were applied. A checkpoint remembers it; set it to restore. */
  step: number;
  /**
   * Queues one update from the gradients that are there; parameters without one stay as they are. Returns the control
   * tensor f32 [4] of the update (see the kernel `clip_control`), for `readReport`; the caller disposes of it. Where it
   * says that the gradients are not finite, the update changes nothing.
   */
  update(options: UpdateOptions): Tensor;
  /** Takes back the count of an update that its report says was not applied, so that bias correction stays right. */
  uncount(): void;
  /** Drops all gradients. */
  zeroGrad(): void;
  /**
   * The tensors that a resumed run needs besides the parameters: the moments `<moment>.<name>`, and `master.<name>` of
   * half parameters. They are the live ones: write into them to restore, and set `step`.
   */
  state(): Map<string, Tensor>;
  /** Gives the moments and masters back; parameters stay. */
  dispose(): void;
}

/** Reads a control tensor; waits for its update. */
export async function readReport(control: Tensor): Promise<UpdateReport> {
  const [, gradNorm, applied] = await control.read();
  return { gradNorm, isApplied: applied === 1 };
}

/** A parameter with its optimiser state. */
export interface Slot<M extends string> extends TrainedParameter {
  /** Moments in the shape of the parameter; f32, or f64 if the parameter is f64. */
  readonly moments: Readonly<Record<M, Tensor>>;
  /** f32 copy of a half-precision parameter. Updates change the copy; the parameter is the rounded copy. */
  readonly master: Tensor | null;
}

const isHalf = (dtype: DType): boolean => dtype === 'bf16' || dtype === 'f16';

/** An optimiser that updates each parameter from its gradient and its moments. A subclass says how. */
export abstract class MomentOptimizer<M extends string> implements Optimizer {
  step = 0;
  protected readonly device: Device;
  private readonly slots: readonly Slot<M>[];

  /**
   * @param name what errors call the optimiser
   * @param moments names of the moments, as checkpoints have them; all start at 0
   * @throws KraitError if there is nothing to train or a name stands twice
   */
  constructor(name: string, moments: readonly M[], parameters: Iterable<TrainedParameter>) {
    const list = [...parameters];
    if (list.length === 0) throw new KraitError(`[${name}] no parameters to train`);
    const names = new Set(list.map((parameter) => parameter.name));
    if (names.size < list.length) throw new KraitError(`[${name}] a parameter name stands twice`);
    this.device = list[0].tensor.device;
    this.slots = list.map((parameter) => this.slotOf(parameter, moments));
  }

  private slotOf(parameter: TrainedParameter, names: readonly M[]): Slot<M> {
    const { device } = this;
    const { tensor } = parameter;
    const type = tensor.dtype === 'f64' ? 'f64' : 'f32';
    const zeros = () => device.keep(device.zeros(tensor.shape, type));
    const moments = Object.fromEntries(names.map((name) => [name, zeros()])) as Record<M, Tensor>;
    const master = isHalf(tensor.dtype) ? device.keep(device.noGrad(() => cast(tensor, 'f32'))) : null;
    return { ...parameter, moments, master };
  }

  get parameters(): readonly TrainedParameter[] {
    return this.slots;
  }

  update({ learningRate, clipNorm = 0, inverseScale = 1 }: UpdateOptions): Tensor {
    this.step++;
    const { device } = this;
    const active = this.slots.filter(({ tensor }) => tensor.grad);
    return device.noGrad(() =>
      device.scope(() => {
        const acc = device.zeros([1]);
        const control = device.empty([4]);
        for (const { tensor } of active) {
          const x = tensor.grad!;
          device.launch('sum_squares', { x, acc }, { rows: x.rows, cols: x.cols });
        }
        device.launch('clip_control', { acc, control }, {}, { maxNorm: clipNorm, inverseScale });
        this.apply(active, control, learningRate);
        return control;
      }),
    );
  }

  /** Queues the update of parameters that have a gradient. Runs in a scope, gradients off. */
  protected abstract apply(slots: readonly Slot<M>[], control: Tensor, learningRate: number): void;

  uncount(): void {
    this.step--;
  }

  zeroGrad(): void {
    for (const { tensor } of this.slots) tensor.zeroGrad();
  }

  state(): Map<string, Tensor> {
    const entries = new Map<string, Tensor>();
    for (const { name, moments, master } of this.slots) {
      for (const [moment, tensor] of Object.entries<Tensor>(moments)) entries.set(`${moment}.${name}`, tensor);
      if (master) entries.set(`master.${name}`, master);
    }
    return entries;
  }

  dispose(): void {
    for (const tensor of this.state().values()) tensor.dispose();
  }
}
