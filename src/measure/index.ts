export * from './model-cost.ts';
export * from './speed.ts';
export * from './works.ts';
