/**
 * AdamW with decoupled weight decay over named parameters, clipped by the norm of all their gradients together.
 * Everything is queued on the device: the norm, the decision to clip or skip, the update. The host may read what was
 * decided later, from the control tensor.
 * Source: Loshchilov and Hutter 2019, "Decoupled weight decay regularization", algorithm 2; equations in the reference
 * kernel `backend/reference/adamw.ts`.
 *
 * Moments are f32. A parameter that is stored in a half type gets an f32 master copy here, which is what is updated;
 * the stored parameter is that, rounded.
 */
import type { DType } from '../../core/index.ts';
import { KraitError } from '../../core/index.ts';
import { cast, type Device, type Tensor } from '../../tensor/index.ts';

export interface TrainedParameter {
  readonly name: string;
  /** A dense leaf; marked as trainable. */
  readonly tensor: Tensor;
  /** Whether weight decay applies. */
  readonly isDecayed: boolean;
}

export interface AdamWOptions {
  betas?: readonly [number, number];
  eps?: number;
  weightDecay?: number;
}

export const ADAMW_DEFAULTS = { betas: [0.9, 0.999], eps: 1e-8, weightDecay: 0.01 } as const;

export interface UpdateOptions {
  learningRate: number;
  /** Gradients of a larger norm are scaled down to it; 0 leaves them. */
  clipNorm?: number;
  /** Factor on the gradients before anything else: one over the loss scale. */
  inverseScale?: number;
}

/** What became of one update, read from its control tensor. */
export interface UpdateReport {
  /** Norm of all gradients before clipping; not finite if they were not. */
  readonly gradNorm: number;
  /** False where the gradients were not finite and nothing changed. */
  readonly isApplied: boolean;
}

interface Slot extends TrainedParameter {
  readonly m: Tensor;
  readonly v: Tensor;
  readonly master: Tensor | null;
}

const isHalf = (dtype: DType): boolean => dtype === 'bf16' || dtype === 'f16';

export class AdamW {
  /** Updates that were applied: the `t` of the bias correction. */
  step = 0;
  private readonly slots: readonly Slot[];
  private readonly device: Device;
  private readonly options: Required<AdamWOptions>;

  /** @throws KraitError if there is nothing to train or a name stands twice */
  constructor(parameters: Iterable<TrainedParameter>, options: AdamWOptions = {}) {
    this.options = { ...ADAMW_DEFAULTS, ...options };
    const list = [...parameters];
    if (list.length === 0) throw new KraitError('[adamw] no parameters to train');
    const names = new Set(list.map(({ name }) => name));
    if (names.size < list.length) throw new KraitError('[adamw] a parameter name stands twice');
    this.device = list[0].tensor.device;
    this.slots = list.map((parameter) => this.slotOf(parameter));
  }

  private slotOf(parameter: TrainedParameter): Slot {
    const { device } = this;
    const { tensor } = parameter;
    const type = tensor.dtype === 'f64' ? 'f64' : 'f32';
    const zeros = () => device.keep(device.zeros(tensor.shape, type));
    const master = isHalf(tensor.dtype) ? device.keep(device.noGrad(() => cast(tensor, 'f32'))) : null;
    return { ...parameter, m: zeros(), v: zeros(), master };
  }

  /** Parameters whose gradient is there. */
  private get active(): readonly Slot[] {
    return this.slots.filter(({ tensor }) => tensor.grad);
  }

  /**
   * Queues one update from the gradients that are there; parameters without one stay as they are. Returns the control
   * tensor of the update, for `readReport`; the caller disposes of it.
   */
  update({ learningRate, clipNorm = 0, inverseScale = 1 }: UpdateOptions): Tensor {
    this.step++;
    const { device } = this;
    const { active } = this;
    return device.noGrad(() =>
      device.scope(() => {
        const acc = device.zeros([1]);
        const control = device.empty([4]);
        for (const { tensor } of active) {
          const x = tensor.grad!;
          device.launch('sum_squares', { x, acc }, { rows: x.rows, cols: x.cols });
        }
        device.launch('clip_control', { acc, control }, {}, { maxNorm: clipNorm, inverseScale });
        for (const slot of active) this.apply(slot, control, learningRate);
        return control;
      }),
    );
  }

  private apply({ tensor, master, m, v, isDecayed }: Slot, control: Tensor, learningRate: number): void {
    const { betas, eps, weightDecay } = this.options;
    const tensors = { param: master ?? tensor, grad: tensor.grad, m, v, control, half: master ? tensor : null };
    const decay = { weightDecay: isDecayed ? weightDecay : 0 };
    const scalars = { lr: learningRate, beta1: betas[0], beta2: betas[1], eps, step: this.step, ...decay };
    this.device.launch('adamw', tensors, { n: tensor.size }, scalars);
  }

  /** Takes back the count of an update that its report says was not applied, so that bias correction stays right. */
  uncount(): void {
    this.step--;
  }

  /** Drops all gradients. */
  zeroGrad(): void {
    for (const { tensor } of this.slots) tensor.zeroGrad();
  }

  /**
   * The tensors that a resumed run needs besides the parameters: `m.<name>`, `v.<name>`, and `master.<name>` of half
   * parameters. They are the live ones: write into them to restore, and set `step`.
   */
  state(): Map<string, Tensor> {
    const entries = new Map<string, Tensor>();
    for (const { name, m, v, master } of this.slots) {
      entries.set(`m.${name}`, m).set(`v.${name}`, v);
      if (master) entries.set(`master.${name}`, master);
    }
    return entries;
  }

  /** Gives the moments and masters back; parameters stay. */
  dispose(): void {
    for (const tensor of this.state().values()) tensor.dispose();
  }
}

/** Reads a control tensor; waits for its update. */
export async function readReport(control: Tensor): Promise<UpdateReport> {
  const [, gradNorm, applied] = await control.read();
  return { gradNorm, isApplied: applied === 1 };
}
