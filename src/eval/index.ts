export * from './answers/index.ts';
export * from './data/index.ts';
export * from './metrics/index.ts';
export * from './micro/index.ts';
export * from './requests.ts';
export * from './run/index.ts';
export * from './tasks/index.ts';
