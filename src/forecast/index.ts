export * from './bench/index.ts';
export * from './data/index.ts';
export * from './models/index.ts';
export * from './order/index.ts';
export * from './training/index.ts';
