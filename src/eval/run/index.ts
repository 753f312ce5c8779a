export * from './evaluate.ts';
export * from './identity.ts';
export * from './prepare.ts';
export * from './results.ts';
export * from './samples.ts';
