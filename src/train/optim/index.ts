export * from './adamw.ts';
export * from './lion.ts';
export * from './loss-scale.ts';
export * from './names.ts';
export * from './optimizer.ts';
export * from './registry.ts';
export * from './schedules.ts';
