export * from './adapter.ts';
export * from './layers.ts';
