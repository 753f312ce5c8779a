export * from './backend.ts';
export * from './kernels.ts';
export * from './block-pool.ts';
