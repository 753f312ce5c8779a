export * from './report.ts';
export * from './spam.ts';
