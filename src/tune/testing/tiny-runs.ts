/** Small runs that have all the parts of real ones: dropout, data with a position, a carried tensor. */

import { createReferenceBackend } from '../../backend/reference/index.ts';
import { HostRandom } from '../../core/index.ts';
import { createModel, type LanguageModel, parseConfigText } from '../../models/index.ts';
import { Device, dropout, mul, scale, scaleGradient, square, sub, sum, type Tensor } from '../../tensor/index.ts';
import type { TrainingTask } from '../../train/index.ts';
import type { TokenExample } from '../batches/index.ts';

export const referenceDevice = (): Device => new Device(createReferenceBackend());

export interface TinyOptions {
  /** Value of the inputs at a step, where it is not random: to provoke what is not finite. */
  inputAt?: (step: number) => number | undefined;
  evaluations?: (step: number) => number;
}

/** Regression of 3 weights towards 0.5, with dropout on the inputs and a running product that is carried. */
export class TinyTask implements TrainingTask<number[]> {
  readonly weights: Tensor;
  readonly parameters;
  readonly stepsPerEpoch = 10;
  private position = 0;
  private carried: Tensor | null = null;

  constructor(
    readonly device: Device,
    private readonly options: TinyOptions = {},
  ) {
    this.weights = device.keep(device.from([0.1, -0.2, 0.3])).trainable();
    this.parameters = [{ name: 'weights', tensor: this.weights, isDecayed: true }];
  }

  nextStep() {
    const random = new HostRandom(7, this.position++);
    const fixed = this.options.inputAt?.(this.position);
    const piece = () => [0, 1, 2].map(() => fixed ?? random.normal());
    return { microBatches: [piece(), piece()], normalizer: 2, tokens: 6 };
  }

  loss(batch: number[], { normalizer, gradScale, random }: Parameters<TrainingTask['loss']>[1]): Tensor {
    const { device, weights } = this;
    const x = dropout(device.from(batch), 0.25, random);
    const input = this.carried ? mul(x, this.carried) : x;
    const before = this.carried;
    this.carried = device.keep(device.noGrad(() => scale(device.from([1.1, 0.9, 1]), this.position % 2 ? 1 : 0.5)));
    const loss = scale(sum(square(sub(mul(weights, input), scale(x, 0.5)))), 1 / normalizer);
    before?.dispose();
    return scaleGradient(loss, gradScale);
  }

  async evaluate() {
    const step = this.position;
    if (this.options.evaluations) return { loss: this.options.evaluations(step) };
    const [a, b, c] = await this.weights.read();
    return { loss: (a - 0.5) ** 2 + (b - 0.5) ** 2 + (c - 0.5) ** 2 };
  }

  state() {
    const tensors = new Map(this.carried ? [['carried', this.carried]] : []);
    return { json: { position: this.position }, ...(tensors.size > 0 && { tensors }) };
  }

  restore({ json, tensors }: ReturnType<TrainingTask['state']>): void {
    this.position = (json as { position: number }).position;
    this.carried?.dispose();
    this.carried = tensors?.get('carried') ?? null;
  }
}

const TINY = {
  mamba: { intermediate_size: 16, state_size: 2, time_step_rank: 1, conv_kernel: 4 },
  gpt_neox: { intermediate_size: 16, num_attention_heads: 2, rotary_pct: 0.5, tie_word_embeddings: true },
};
export type TinyFamily = keyof typeof TINY;

/** A model of one layer, 8 channels and 16 tokens: a Mamba unless another family is given. */
export function tinyModel(device: Device, seed = 1, family: TinyFamily = 'mamba', more: object = {}): LanguageModel {
  const common = { vocab_size: 16, hidden_size: 8, num_hidden_layers: 1, eos_token_id: 0, initializer_range: 0.5 };
  const config = { model_type: family, ...common, ...TINY[family], ...more };
  return createModel(device, parseConfigText(JSON.stringify(config), 'config.json'), seed, { trainable: true });
}

/** Counting upwards from random starts: easy to learn. */
export function countingExamples(count: number, longest: number, seed = 3): (TokenExample & { ids: number[] })[] {
  const random = new HostRandom(seed);
  return Array.from({ length: count }, () => {
    const start = random.integer(15);
    const length = 3 + random.integer(longest - 2);
    const ids = Array.from({ length }, (_, i) => 1 + ((start + i) % 15));
    return { ids, targets: [[1, length]] as const, bytes: length - 1 };
  });
}
