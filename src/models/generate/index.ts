export * from './generate.ts';
export * from './sampling.ts';
export * from './stop-strings.ts';
