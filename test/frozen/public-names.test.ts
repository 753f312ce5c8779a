/** The names that each entry of the package exports: values as they are there when it runs, types as its source says. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { checkEntry, readTable, startAnew } from './golden.ts';

const GOLDEN = 'public-names.json';
const ROOT = new URL('../../', import.meta.url);
const { exports } = JSON.parse(readFileSync(new URL('package.json', ROOT), 'utf8')) as {
  exports: Record<string, { default: string }>;
};

/** Names by kind. A class is a value alone. */
interface Names {
  values: Set<string>;
  types: Set<string>;
}

const DECLARED = /^export (?:abstract |async )?(class|function\*?|const|let|enum|interface|type) (\w+)/gm;
const LISTED = /^export (type )?\{([^}]*)\}/gm;
const WHOLE = /^export \* from '([^']+)';/gm;

/**
 * The names that a module exports, read from its source as Biome formats it: declarations at the start of a line, lists, and what
 * `export *` passes on. That this reading misses nothing is seen by its values, which must be those of the running module.
 */
function namesIn(file: URL): Names {
  const source = readFileSync(file, 'utf8');
  const names: Names = { values: new Set(), types: new Set() };
  for (const [, kind, name] of source.matchAll(DECLARED)) {
    (kind === 'interface' || kind === 'type' ? names.types : names.values).add(name);
  }
  for (const [, isType, list] of source.matchAll(LISTED)) {
    for (const item of list.split(',').map((part) => part.trim())) {
      if (item === '') continue;
      const name = item.split(' ').at(-1)!;
      (isType || item.startsWith('type ') ? names.types : names.values).add(name);
    }
  }
  for (const [, from] of source.matchAll(WHOLE)) {
    const passed = namesIn(new URL(from, file));
    for (const name of passed.values) names.values.add(name);
    for (const name of passed.types) names.types.add(name);
  }
  return names;
}

/** The source of an entry: `./dist/x/index.js` is made from `src/x/index.ts`. */
const sourceOf = (built: string): URL => new URL(built.replace('./dist/', 'src/').replace(/\.js$/, '.ts'), ROOT);

startAnew(GOLDEN);

describe('public names', () => {
  for (const [entry, { default: built }] of Object.entries(exports)) {
    const name = entry.replace('.', 'krait');
    it(`of ${name} are those that were frozen`, async () => {
      const source = sourceOf(built);
      const values = Object.keys((await import(name)) as object).sort();
      const read = namesIn(source);
      assert.deepEqual([...read.values].sort(), values, 'the values that the source was read to export');
      checkEntry(GOLDEN, name, { values, types: [...read.types].sort() });
    });
  }

  it('are of the entries that were frozen', () => {
    const now = Object.keys(exports).map((entry) => entry.replace('.', 'krait'));
    assert.deepEqual(Object.keys(readTable(GOLDEN)).sort(), now.sort(), 'entries of package.json');
  });
});
