export * from './adamw.ts';
export * from './lion.ts';
export * from './loss-scale.ts';
export * from './optimizer.ts';
export * from './registry.ts';
export * from './schedules.ts';
