export * from './model-cost.ts';
export * from './report.ts';
export * from './spam.ts';
export * from './speed.ts';
