export * from './dlinear.ts';
export * from './forecast-model.ts';
export * from './mambats.ts';
export * from './naive.ts';
export * from './order.ts';
export * from './patch-transformer.ts';
export * from './registry.ts';
export * from './variable-costs.ts';
