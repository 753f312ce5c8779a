export * from './model-cost.ts';
export * from './speed.ts';
