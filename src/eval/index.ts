export * from './answers/index.ts';
export * from './requests.ts';
