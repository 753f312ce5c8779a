/** A series with its parts and its scaling: what models learn from. */
import {
  fitScaling,
  type RegularSeries,
  type ScaledSeries,
  type Scaling,
  type Splits,
  scaleSeries,
} from './data/index.ts';

export interface Dataset {
  readonly raw: RegularSeries;
  readonly series: ScaledSeries;
  readonly splits: Splits;
  /** Fitted on the training part alone. */
  readonly scaling: Scaling;
}

export function createDataset(raw: RegularSeries, splits: Splits): Dataset {
  const scaling = fitScaling(raw, splits.train);
  return { raw, series: scaleSeries(raw, scaling), splits, scaling };
}
