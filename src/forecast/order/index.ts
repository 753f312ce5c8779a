export * from './path.ts';
export * from './solvers.ts';
export * from './transitions.ts';
