/**
 * A forecaster that also knows the calendar of the steps ahead: to what its model gives, the effects of each step's hour,
 * weekday and month are added, one table for each part with a column for each variable. Tables start at 0.
 *   y[b, k, h] = model(x)[b, k, h] + GAIN sum over parts of table[code of step h, k]
 * Effects are in the model's own units: those of normalised windows where it has them.
 */
import { UsageError } from '../../core/index.ts';
import { add, type Device, embedding, permute, reshape, scale, type Tensor } from '../../tensor/index.ts';
import { type CalendarPart, calendarCodes, calendarSize } from '../data/index.ts';
import {
  disposeAll,
  type ForecastModel,
  type ForecastSize,
  type ForwardSettings,
  ParameterMaker,
} from './forecast-model.ts';

/** Factor from table entries to effects. An entry must move further in a step than one of thousands of weights. */
const GAIN = 100;

export class CalendarEffects implements ForecastModel {
  readonly parameters: ReadonlyMap<string, Tensor>;
  private readonly tables: readonly { part: CalendarPart; table: Tensor }[];
  private readonly own: ReadonlyMap<string, Tensor>;

  constructor(
    private readonly model: ForecastModel,
    private readonly size: ForecastSize,
    parts: readonly CalendarPart[],
  ) {
    const maker = new ParameterMaker(model.device, 0);
    this.tables = parts.map((part) => ({
      part,
      table: maker.of(`calendar.${part}`, [calendarSize(part), size.k], () => 0),
    }));
    this.own = maker.parameters;
    this.parameters = new Map([...model.parameters, ...maker.parameters]);
  }

  get device(): Device {
    return this.model.device;
  }

  get isNormalised(): boolean {
    return this.model.isNormalised;
  }

  get head(): ForecastModel['head'] {
    return this.model.head;
  }

  get isOrdered(): boolean {
    return this.model.isOrdered;
  }

  /** @throws UsageError where the dates of the steps ahead are not given */
  forward(x: Tensor, settings: ForwardSettings = {}): Tensor {
    const { ahead, orders } = settings;
    if (!ahead) throw new UsageError('the model has effects of the calendar: give the dates of the steps ahead');
    const { device } = this;
    const { k, horizon } = this.size;
    const b = x.shape[0];
    let y = this.model.forward(x, settings);
    for (const { part, table } of this.tables) {
      const codes = device.from(calendarCodes(part, ahead, horizon), [b * horizon], 'i32');
      const own = scale(embedding(table, codes), GAIN);
      const effects = permute(reshape(own, [b, horizon, k]), [0, 2, 1]); // [b, k, horizon]
      y = add(y, orders ? reorderRows(effects, orders) : effects);
    }
    return y;
  }

  dispose(): void {
    disposeAll(this.own);
    this.model.dispose();
  }
}

/** x [b, k, n] with the rows of each sample in its order: place p holds row `orders[i][p]`. */
function reorderRows(x: Tensor, orders: readonly ArrayLike<number>[]): Tensor {
  const [b, k, n] = x.shape;
  const rows = Int32Array.from({ length: b * k }, (_, r) => Math.floor(r / k) * k + orders[Math.floor(r / k)][r % k]);
  return reshape(embedding(reshape(x, [b * k, n]), x.device.from(rows, [b * k], 'i32')), [b, k, n]);
}
