/**
 * The linear forecast of ridge regression, alone or with a model beside it that learns what it lacks:
 *   y[b, k] = W x[b, k] (+ model(x)[b, k])
 * W [horizon, lookback] is shared by the variables, solved before training (`fitRidge`) and not trained; the model's head
 * starts at 0, so that training starts from the linear forecast. Windows come normalised, which W does not change with.
 */
import { UsageError } from '../../core/index.ts';
import { Linear } from '../../nn/index.ts';
import { add, type Device, type Tensor } from '../../tensor/index.ts';
import {
  disposeAll,
  type ForecastModel,
  type ForecastSize,
  type ForwardSettings,
  ParameterMaker,
} from './forecast-model.ts';
import { type ForecasterKind, PROTOCOL } from './kind.ts';

/** Name of W among the parameters. */
export const RIDGE_WEIGHT = 'ridge.weight';

export class RidgeShortcut implements ForecastModel {
  readonly isNormalised = true;
  readonly isOrdered: boolean;
  readonly head = null;
  readonly parameters: ReadonlyMap<string, Tensor>;
  private readonly linear: Linear;
  private readonly own: ReadonlyMap<string, Tensor>;

  /** @throws UsageError for a model whose windows are not normalised, or that has no head */
  constructor(
    readonly device: Device,
    { lookback, horizon }: ForecastSize,
    private readonly model: ForecastModel | null,
  ) {
    if (model) startAtZero(model);
    const maker = new ParameterMaker(device, 0);
    const weight = maker.of(RIDGE_WEIGHT, [horizon, lookback], () => 0).trainable(false);
    this.linear = new Linear('ridge', weight);
    this.own = maker.parameters;
    this.isOrdered = model?.isOrdered ?? false;
    this.parameters = new Map([...(model?.parameters ?? []), ...maker.parameters]);
  }

  forward(x: Tensor, settings: ForwardSettings = {}): Tensor {
    const y = this.linear.forward(x);
    return this.model ? add(y, this.model.forward(x, settings)) : y;
  }

  dispose(): void {
    disposeAll(this.own);
    this.model?.dispose();
  }
}

function startAtZero({ head, isNormalised }: ForecastModel): void {
  if (!isNormalised || !head) {
    throw new UsageError(
      'the ridge shortcut is for mambats, mamba and patch-transformer, whose windows are normalised',
    );
  }
  for (const tensor of [head.weight, head.bias!]) tensor.write(new Float32Array(tensor.size));
}

/** The linear forecast alone: solved, not trained. */
export const RIDGE: ForecasterKind<'ridge'> = {
  name: 'ridge',
  defaults: {},
  create: () => null,
  published: () => ({ ...PROTOCOL, lookback: 720, batchSize: 32, learningRate: 0, settings: {} }),
};
