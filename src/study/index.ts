export * from './downstream/index.ts';
export * from './spam.ts';
export * from './stability/index.ts';
