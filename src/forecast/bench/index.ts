export * from './bench.ts';
export * from './protocol.ts';
export * from './summary.ts';
