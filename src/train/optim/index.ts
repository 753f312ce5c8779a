export * from './adamw.ts';
export * from './loss-scale.ts';
export * from './schedules.ts';
