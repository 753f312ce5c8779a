export * from './generate.ts';
export * from './sampling.ts';
export type { FinishReason, GeneratedToken, GenerateOptions, TextCodec } from './sequence.ts';
export * from './stop-strings.ts';
