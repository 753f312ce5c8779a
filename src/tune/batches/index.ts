export * from './example.ts';
export * from './packed-batches.ts';
export * from './stream-batches.ts';
