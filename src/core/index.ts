export * from './dtype.ts';
export * from './errors.ts';
export * from './quantisation.ts';
export * from './random.ts';
export * from './shape.ts';
