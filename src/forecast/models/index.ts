export { averagingMatrix, DLinear } from './dlinear.ts';
export * from './forecast-model.ts';
export {
  FORECAST_LOSSES,
  type ForecasterKind,
  type ForecastLoss,
  type ForecastRecipe,
  type TrainingProtocol,
} from './kind.ts';
export { LAYOUTS, type Layout, MambaTS, type MambaTSSettings } from './mambats.ts';
export * from './naive.ts';
export * from './order.ts';
export { PatchTransformer, type PatchTransformerSettings } from './patch-transformer.ts';
export * from './registry.ts';
export * from './ridge.ts';
export { RIDGE_WEIGHT } from './ridge-shortcut.ts';
export * from './variable-costs.ts';
