export * from './dates.ts';
export * from './raw-rows.ts';
export * from './regular.ts';
export * from './scaler.ts';
export * from './split.ts';
export * from './table.ts';
export * from './windows.ts';
