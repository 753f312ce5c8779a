export * from './curve.ts';
export * from './exponents.ts';
export * from './measure.ts';
export * from './perturbation.ts';
export * from './recurrence.ts';
export * from './rounding.ts';
export * from './settings.ts';
