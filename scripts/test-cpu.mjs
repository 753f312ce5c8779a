/**
 * Writes down how much CPU time a test file took, when its process ends: a line of JSON in the file that KRAIT_TEST_CPU names.
 * `run-tests.mjs` has every test process load this first. Processes that the test started, and waited for, count where
 * Linux tells their time.
 */
import { appendFileSync, readFileSync } from 'node:fs';
import { isMainThread } from 'node:worker_threads';

const TICKS_PER_SECOND = 100; // of /proc, on every platform that has it

/** Seconds that ended child processes took. */
function childSeconds() {
  try {
    // The name in brackets may hold spaces; user and system time of children are fields 16 and 17.
    const fields = readFileSync('/proc/self/stat', 'utf8').split(') ').at(-1).split(' ');
    return (Number(fields[13]) + Number(fields[14])) / TICKS_PER_SECOND;
  } catch {
    return 0;
  }
}

if (isMainThread && process.env.KRAIT_TEST_CPU && process.argv[1]?.endsWith('.test.js')) {
  process.on('exit', () => {
    const { userCPUTime, systemCPUTime } = process.resourceUsage();
    const seconds = (userCPUTime + systemCPUTime) / 1e6 + childSeconds();
    appendFileSync(process.env.KRAIT_TEST_CPU, `${JSON.stringify({ file: process.argv[1], seconds })}\n`);
  });
}
