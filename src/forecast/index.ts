/**
 * Forecasting: series from CSV, MambaTS and the models that it is compared with, training and scores by the papers'
 * protocol, forecasts with quantiles. Nothing here needs Node; files come through `FileSystem`.
 */
export * from './analyse.ts';
export * from './benchmark.ts';
export * from './conformal.ts';
export * from './data/index.ts';
export * from './dataset.ts';
export * from './fit.ts';
export * from './forecast-task.ts';
export * from './forecaster.ts';
export * from './models/index.ts';
export * from './names.ts';
export * from './recipes.ts';
export * from './saved-forecaster.ts';
