/** How a test says that it is slow. A file that is slow as a whole is named `*.slow.test.ts` instead. */

/** Whether all is run. `npm test` alone leaves out what is slow; a file that is run by itself is run whole. */
export const isAll = process.env.KRAIT_TESTS !== 'quick';

/**
 * Options of a test or suite that `npm run test:all` runs and `npm test` skips, saying why:
 * `it('reads the whole corpus', onlyInAll('5,572 messages'), …)`.
 */
export const onlyInAll = (why: string): { skip: string | false } => ({
  skip: !isAll && `only in npm run test:all: ${why}`,
});
