export * from './datasets.ts';
export * from './files.ts';
export * from './hub-environment.ts';
