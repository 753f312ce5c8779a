/** The fuzzer, for some cases; and that it would notice. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { NODE_FLAGS } from '../src/core/testing/module-process.ts';
import { isAll } from '../src/core/testing/only-in-all.ts';
import { checkCase, makeCase, READERS } from '../src/io/testing/fuzz-cases.ts';
import { makeEntries, VALID, VALID_DATA } from '../src/io/testing/safetensors-cases.ts';

const SCRIPT = fileURLToPath(new URL('fuzz-readers.ts', import.meta.url));
const run = (...args: string[]) => {
  const { status, stdout, stderr } = spawnSync(process.execPath, [...NODE_FLAGS, SCRIPT, ...args], {
    encoding: 'utf8',
  });
  return { status, stderr, report: JSON.parse(stdout || '{}') };
};

test('hundreds of cases of both readers, some files accepted, most not', () => {
  const cases = isAll ? '1000' : '300';
  const { status, report, stderr } = run('--seed', '1', '--case', '0', '--cases', cases);
  assert.equal(status, 0, `${JSON.stringify(report)} ${stderr}`);
  assert.ok(
    report.accepted > 0 && report.rejected > report.accepted && report.failure === null,
    JSON.stringify(report),
  );
});

test('one case by its number', () => {
  const { status, report } = run('--seed', '1', '--reader', 'jsonl', '--case', '17');
  assert.deepEqual([status, report.cases], [0, 1]);
});

test('cases are the same for the same numbers, and valid files are accepted', async () => {
  for (const reader of READERS) assert.deepEqual(makeCase(reader, 3, 5), makeCase(reader, 3, 5));
  assert.equal(await checkCase('safetensors', makeEntries(VALID, VALID_DATA)), true);
  assert.equal(await checkCase('jsonl', new TextEncoder().encode('{"text":"a"}')), true);
  assert.equal(await checkCase('jsonl', new TextEncoder().encode('{"texts":"a"}')), false);
});
