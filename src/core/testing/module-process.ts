/**
 * How processes and threads that a test starts load modules of the repository: compiled where the test itself is compiled,
 * with tsx where it runs from its source. Name the module as `new URL('./x.ts', import.meta.url)`, which is the one or the other.
 */
const isCompiled = new URL('./only-in-all.ts', import.meta.url).pathname.endsWith('.js');

/** Flags of Node before the script. */
export const NODE_FLAGS: readonly string[] = isCompiled ? [] : ['--import', import.meta.resolve('tsx')];

/** A statement for the start of a thread's script, which does not take over what its parent loads modules with. */
export const LOAD_SOURCES = isCompiled ? '' : `(await import('${import.meta.resolve('tsx/esm/api')}')).register();`;
