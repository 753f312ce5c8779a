export * from './allocation.ts';
export * from './backend.ts';
export * from './block-pool.ts';
export * from './command.ts';
export * from './kernels.ts';
export * from './profile.ts';
export * from './profile-cost.ts';
export * from './profile-report.ts';
export { measureRoofline, type Roofline } from './profile-roofline.ts';
