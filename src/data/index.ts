export * from './bpe-trainer.ts';
export * from './corpora.ts';
export * from './data-source.ts';
export * from './datasets.ts';
export * from './mail-prompt.ts';
export * from './spam.ts';
export { textHash } from './text-form.ts';
