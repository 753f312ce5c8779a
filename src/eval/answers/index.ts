export * from './answers.ts';
export { type AnswerCache, openAnswerCache } from './cache.ts';
