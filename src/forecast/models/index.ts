export * from './dlinear.ts';
export * from './instance-norm.ts';
export * from './linear-rules.ts';
export * from './mambats.ts';
export * from './model.ts';
export * from './patchtst.ts';
export * from './registry.ts';
export * from './temporal-mamba.ts';
