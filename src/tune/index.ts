export * from './batches/index.ts';
export * from './language.ts';
export * from './language-loss.ts';
export * from './lora/index.ts';
export * from './records.ts';
export * from './trainer/index.ts';
