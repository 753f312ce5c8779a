export * from './config.ts';
export * from './mamba.ts';
export * from './model.ts';
export * from './registry.ts';
export * from './sequence-flags.ts';
export * from './weight-table.ts';
export * from './weights.ts';
