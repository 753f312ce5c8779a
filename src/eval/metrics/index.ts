export * from './aggregate.ts';
export * from './names.ts';
export * from './sample.ts';
