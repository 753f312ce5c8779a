/**
 * Goldens: what the program gave when it was frozen, in `test/fixtures/frozen`. A test compares with them; with KRAIT_FREEZE=1 in
 * the environment it writes them instead. They may be written anew only where a change of what the program gives is meant.
 */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';

const FOLDER = fileURLToPath(new URL('../fixtures/frozen/', import.meta.url));

/** Whether goldens are written instead of compared. */
export const isFreezing = process.env.KRAIT_FREEZE === '1';

const REMEDY = 'if the change is meant, KRAIT_FREEZE=1 before the same command writes the golden anew';

/** The lines of a golden file; null where there is none. */
function linesOf(name: string): string[] | null {
  const path = `${FOLDER}${name}`;
  return existsSync(path) ? readFileSync(path, 'utf8').trimEnd().split('\n') : null;
}

function write(name: string, text: string): void {
  const path = `${FOLDER}${name}`;
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, `${text}\n`);
}

/** Fails with the first line that differs, and the lines before it. */
function compareLines(what: string, got: readonly string[], expected: readonly string[]): void {
  const at = Array.from({ length: Math.max(got.length, expected.length) }, (_, i) => i).find(
    (i) => got[i] !== expected[i],
  );
  if (at === undefined) return;
  const before = expected.slice(Math.max(0, at - 3), at).map((line) => `    ${line}\n`);
  const count = expected.filter((line, i) => line !== got[i]).length;
  const more = got.length === expected.length ? `, of which ${count} differ` : '';
  const now = got[at] ?? '(the end)';
  const frozen = expected[at] ?? '(the end)';
  assert.fail(
    `${what}: line ${at + 1} is not as it was frozen\n${before.join('')}  - ${frozen}\n  + ${now}\n` +
      `(- frozen, ${expected.length} lines; + now, ${got.length} lines${more})\n${REMEDY}`,
  );
}

/** Compares a text with the golden file of this name, line by line. */
export function checkText(name: string, text: string): void {
  if (isFreezing) {
    write(name, text);
    return;
  }
  const expected = linesOf(name);
  assert.ok(expected, `there is no golden test/fixtures/frozen/${name}; ${REMEDY}`);
  compareLines(name, text.trimEnd().split('\n'), expected);
}

/** Removes a golden file or folder, where goldens are written anew: what is no more does not stay in it. */
export function startAnew(name: string): void {
  if (isFreezing) rmSync(`${FOLDER}${name}`, { recursive: true, force: true });
}

/** Files of a folder of goldens; none where there is no folder. */
export const goldenFiles = (folder: string): string[] =>
  existsSync(`${FOLDER}${folder}`) ? readdirSync(`${FOLDER}${folder}`).sort() : [];

type Table = Record<string, unknown>;

/** A golden file of JSON: an object; an empty one where there is no file. */
export function readTable(name: string): Table {
  const path = `${FOLDER}${name}`;
  return existsSync(path) ? (JSON.parse(readFileSync(path, 'utf8')) as Table) : {};
}

/** Compares a value with the entry of a golden file of JSON, which must be there; lines of JSON are compared. */
export function checkEntry(name: string, key: string, value: unknown): void {
  const table = readTable(name);
  if (isFreezing) {
    const entries = Object.entries({ ...table, [key]: value }).sort(([a], [b]) => (a < b ? -1 : 1));
    write(name, JSON.stringify(Object.fromEntries(entries), null, 1));
    return;
  }
  assert.ok(Object.hasOwn(table, key), `the golden test/fixtures/frozen/${name} has no ${key}; ${REMEDY}`);
  const lines = (of: unknown) => JSON.stringify(of, null, 1).split('\n');
  compareLines(`${name}: ${key}`, lines(value), lines(table[key]));
}
