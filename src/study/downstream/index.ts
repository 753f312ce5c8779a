export * from './cells.ts';
export { fileInstructions, type InstructionSet, metaInstructions, microInstructions } from './instructions.ts';
export { METHODS, type Method } from './methods.ts';
export { downstreamPage } from './page.ts';
export * from './settings.ts';
export * from './study.ts';
export { downstreamCsv, downstreamDocument, downstreamSummary } from './tables.ts';
