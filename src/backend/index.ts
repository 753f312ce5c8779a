export * from './backend.ts';
export * from './block-pool.ts';
export * from './kernels.ts';
export * from './select.ts';
