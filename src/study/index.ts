export * from './downstream/index.ts';
export * from './model-cost.ts';
export * from './report/index.ts';
export * from './spam.ts';
export * from './speed.ts';
export * from './stability/index.ts';
