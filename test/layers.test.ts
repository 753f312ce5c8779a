/** The layer rule and the size rule, on small made-up trees and on this repository. */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { checkLayers, LAYERS } from '../scripts/check-layers.ts';
import { checkSize, countLines } from '../scripts/check-size.ts';

const ROOT = fileURLToPath(new URL('..', import.meta.url));

function withTree<T>(files: Record<string, string>, work: (root: string) => T): T {
  const root = mkdtempSync(join(tmpdir(), 'krait-layers-'));
  try {
    for (const [path, text] of Object.entries(files)) {
      mkdirSync(dirname(join(root, path)), { recursive: true });
      writeFileSync(join(root, path), text);
    }
    return work(root);
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
}

/** `file:line: message` of every violation in a tree of these files. */
const violationsIn = (files: Record<string, string>): string[] =>
  withTree(files, (root) => checkLayers(root).violations.map((v) => `${v.file}:${v.line}: ${v.message}`));

/** Asserts that the tree has one violation for each pattern, in order of file and line, and no other. */
function assertViolations(files: Record<string, string>, expected: readonly RegExp[]): void {
  const found = violationsIn(files);
  assert.equal(found.length, expected.length, `expected ${expected.length} violations, found:\n${found.join('\n')}`);
  for (const [i, pattern] of expected.entries()) assert.match(found[i], pattern);
}

describe('layers', () => {
  it('accepts imports downward through index.ts, and any import in tests', () => {
    assertViolations(
      {
        'src/core/index.ts': "export * from './shape.ts';",
        'src/core/shape.ts': 'export const a = 1;',
        'src/tensor/index.ts': "import { a } from '../core/index.ts';\nexport const b = a;",
        'src/tensor/testing/check.ts': "import assert from 'node:assert';\nexport const check = assert.ok;",
        'src/tensor/index.test.ts': "import 'node:test';\nimport '../nn/index.ts';\nimport './testing/check.ts';",
        'src/nn/index.ts': "import { b } from '../tensor/index.ts';\nexport const c = b;",
        'src/nn/norm.test.ts': "import '../tensor/testing/check.ts';\nimport '../../test/trees.ts';",
        'src/index.ts': "export * from './nn/index.ts';",
        'test/trees.ts': "import { a } from '../src/core/shape.ts';\nexport const d = a;",
      },
      [],
    );
  });

  it('finds imports upward, of types, lazy and re-exported ones too', () => {
    assertViolations(
      {
        'src/core/a.ts': "/* import '../nn/index.ts' */\nimport type { T } from '../nn/index.ts';\nexport type U = T;",
        'src/core/b.ts': "export const late = () =>\n  import('../nn/index.ts');",
        'src/core/c.ts': "export {\n  x,\n} from '../nn/index.ts';",
        'src/core/d.ts': "export type V = import('../nn/index.ts').T;",
        'src/nn/index.ts': 'export const x = "import \'../cli/index.ts\'";\nexport type T = 1;',
      },
      [
        /^src\/core\/a\.ts:2: imports src\/nn\/index\.ts, but core may import nothing: /,
        /^src\/core\/b\.ts:2: /,
        /^src\/core\/c\.ts:3: /,
        /^src\/core\/d\.ts:1: /,
      ],
    );
  });

  it('keeps folders of one row apart', () => {
    assertViolations(
      {
        'src/nn/a.ts': "import '../io/index.ts';",
        'src/io/index.ts': 'export {};',
        'src/eval/a.ts': "import '../train/index.ts';\nimport '../data/index.ts';",
        'src/tune/index.ts': "import '../train/index.ts';\nimport '../data/index.ts';",
        'src/train/index.ts': 'export {};',
        'src/data/index.ts': "import '../io/index.ts';",
        'src/models/a.ts': "import '../data/index.ts';",
      },
      [
        /^src\/eval\/a\.ts:1: imports src\/train\/index\.ts, but eval may import only models, data, /,
        /^src\/models\/a\.ts:1: imports src\/data/,
        /^src\/nn\/a\.ts:1: imports src\/io\/index\.ts, but nn may import only tensor, core/,
      ],
    );
  });

  it('finds deep imports across folders, and knows the entries', () => {
    assertViolations(
      {
        'src/tensor/a.ts': "import '../core/shape.ts';\nimport '../core/index.ts';",
        'src/tensor/a.test.ts': "import '../core/shape.ts';",
        'src/cli/a.ts': "import '../platform/node/index.ts';\nimport '../platform/node/files.ts';",
        'examples/a.ts': "import '../src/core/shape.ts';",
        'bench/a.ts': "import '../src/core/shape.ts';",
        'src/core/index.ts': 'export {};',
        'src/core/shape.ts': 'export {};',
        'src/platform/node/index.ts': 'export {};',
        'src/platform/node/files.ts': 'export {};',
      },
      [
        /^examples\/a\.ts:1: imports src\/core\/shape\.ts, the inside of another folder/,
        /^src\/cli\/a\.ts:2: .*export it from src\/platform\/index\.ts/,
        /^src\/tensor\/a\.test\.ts:1: /,
        /^src\/tensor\/a\.ts:1: /,
      ],
    );
  });

  it('keeps the devices of backend apart', () => {
    assertViolations(
      {
        'src/backend/select.ts': "export const load = () => import('./wasm/index.ts');",
        'src/backend/contract.ts': 'export {};',
        'src/backend/wasm/index.ts': "import '../contract.ts';\nimport '../reference/scan.ts';",
        'src/backend/wasm/a.test.ts': "import '../reference/scan.ts';",
        'src/backend/reference/scan.ts': 'export {};',
      },
      [/^src\/backend\/wasm\/index\.ts:2: imports src\/backend\/reference\/scan\.ts, a sibling: /],
    );
  });

  it('finds cycles, each once, of types too, and exempts lazy imports', () => {
    assertViolations(
      {
        'src/core/a.ts': "export const one = 1;\nimport { b } from './b.ts';\nexport const a = b;",
        'src/core/b.ts': "import { c } from './c.ts';\nimport './d.ts';\nexport const b = c;",
        'src/core/c.ts': "import { one } from './a.ts';\nexport const c = one;",
        'src/core/d.ts': "import type { b } from './b.ts';\nexport type B = typeof b;",
        'src/core/e.ts': "import { f } from './f.ts';\nexport const e = f;",
        'src/core/f.ts': "export const f = 1;\nimport type { e } from './e.ts';\nexport type E = typeof e;",
        'src/core/g.ts': "export type G = typeof import('./h.ts').h;",
        'src/core/h.ts': "export const h = 1;\nexport type { G } from './g.ts';",
        'src/core/late.ts': "import './later.ts';\nexport const late = 1;",
        'src/core/later.ts': "export const later = () => import('./late.ts');",
        'src/core/self.ts': "import * as all from './self.ts';\nexport const s = () => all;",
      },
      [
        /^src\/core\/a\.ts:2: import cycle src\/core\/a\.ts -> src\/core\/b\.ts -> src\/core\/c\.ts -> src\/core\/a\.ts: move the interface /,
        /^src\/core\/e\.ts:1: import cycle src\/core\/e\.ts -> src\/core\/f\.ts -> src\/core\/e\.ts: /,
        /^src\/core\/g\.ts:1: import cycle src\/core\/g\.ts -> src\/core\/h\.ts -> src\/core\/g\.ts: /,
        /^src\/core\/self\.ts:1: import cycle src\/core\/self\.ts -> src\/core\/self\.ts: /,
      ],
    );
  });

  it('finds node: modules outside their places, bare names too', () => {
    assertViolations(
      {
        'src/io/a.ts': "import 'node:fs';\nimport { join } from 'path';\nexport const p = join;",
        'src/io/b.ts': "const fs = require('node:fs');\nexport { fs };",
        'src/platform/node/a.ts': "import 'node:fs';",
        'src/backend/native/a.ts': "import 'node:module';",
        'src/backend/wasm/a.ts': "export const w = () => import('node:worker_threads');",
        'src/backend/wasm/b.ts': "import { Worker } from 'node:worker_threads';\nexport const w = Worker;",
        'src/cli/a.ts': "import 'node:process';",
        'scripts/a.ts': "import 'node:fs';",
      },
      [
        /^src\/backend\/wasm\/b\.ts:1: .*await import\('node:worker_threads'\)/,
        /^src\/io\/a\.ts:1: imports 'node:fs', which only platform\/node/,
        /^src\/io\/a\.ts:2: imports 'path'/,
        /^src\/io\/b\.ts:1: /,
      ],
    );
  });

  it('finds browser globals, but not local names, members or keys', () => {
    assertViolations(
      {
        'src/eval/a.ts': 'export const mean = (window: number[]) => window.length;',
        'src/eval/b.ts':
          'export const o = { document: 1 };\nexport const p = o.document;\ninterface I { window: 1 }\nexport type J = I;',
        'src/eval/c.ts': "export const t = '<script>document.title</script>';",
        'src/eval/d.ts': 'export const cores = () => navigator.hardwareConcurrency;',
        'src/eval/e.ts': 'export const one = 1;\nexport const title = () => document.title;',
        'src/eval/f.ts': 'export const gpu = () => navigator.gpu;\nexport const o = { window };',
        'src/eval/g.ts': 'export type D = GPUDevice;',
        'src/platform/browser/a.ts': 'export const t = () => document.title;',
      },
      [
        /^src\/eval\/e\.ts:2: uses the browser global document, /,
        /^src\/eval\/f\.ts:1: uses the browser global navigator\.gpu, /,
        /^src\/eval\/f\.ts:2: uses the browser global window, /,
        /^src\/eval\/g\.ts:1: uses the browser global GPUDevice, /,
      ],
    );
  });

  it('finds forbidden and unknown folders, and what must not be imported', () => {
    assertViolations(
      {
        'src/core/utils/a.ts': 'export {};',
        'src/core/testing/misc/a.ts': 'export {};',
        'native/common/a.cc': '',
        'src/stuff/a.ts': 'export {};',
        'src/nn/a.test.ts': 'export {};',
        'src/nn/b.ts':
          "import './a.test.ts';\nimport '../../test/c.ts';\nimport 'krait';\nimport '#krait/core/index.ts';",
        'src/nn/c.ts': "import '../../scripts/d.ts';",
        'test/c.ts': "import 'krait/tensor';",
        'scripts/d.ts': 'export {};',
      },
      [
        /^native\/common:1: a folder named common/,
        /^src\/core\/utils:1: a folder named utils/,
        /^src\/nn\/b\.ts:1: imports src\/nn\/a\.test\.ts, a test/,
        /^src\/nn\/b\.ts:2: imports test\/c\.ts, a test/,
        /^src\/nn\/b\.ts:3: imports 'krait', this package itself/,
        /^src\/nn\/b\.ts:4: imports '#krait\/core\/index\.ts', which the published package lacks/,
        /^src\/nn\/c\.ts:1: imports scripts\/d\.ts, outside src/,
        /^src\/stuff:1: src\/stuff is not in the layer table/,
      ],
    );
  });

  it('keeps packages to the public entries, to their own files and their commands, and src below them', () => {
    assertViolations(
      {
        'package.json': '{ "exports": { ".": {}, "./io": {} } }',
        'packages/studies/package.json': '{ "name": "krait-studies" }',
        'packages/studies/src/index.ts': "import 'krait';\nimport 'krait/io';\nimport './plan.ts';\nimport 'zod';",
        'packages/studies/src/plan.ts': "import 'krait/tensor';\nexport const plan = () => import('krait/inside');",
        'packages/studies/src/commands/run.ts': "import 'node:path';\nimport '../plan.ts';",
        'packages/studies/src/deep.ts': [
          "import '../../../src/core/index.ts';",
          "import type { A } from '../../other/src/index.ts';",
          "import '#krait/core/index.ts';",
          "import 'node:fs';",
          "import './deep.test.ts';",
          'export type B = A;',
        ].join('\n'),
        'packages/studies/src/deep.test.ts': "import 'node:test';\nimport '../../../src/core/index.ts';",
        'packages/studies/test/whole.test.ts': "import '../../../test/trees.ts';\nimport '../src/deep.ts';",
        'packages/studies/src/common/a.ts': 'export {};',
        'packages/studies/dist/a.ts': "import '../../../src/core/index.ts';",
        'packages/other/src/index.ts': 'export type A = 1;',
        'src/core/index.ts': "import 'krait-studies/study';\nimport 'other';\nexport {};",
        'test/trees.ts': 'export {};',
      },
      [
        /^packages\/studies\/src\/common:1: a folder named common/,
        /^packages\/studies\/src\/deep\.ts:1: imports src\/core\/index\.ts, outside its package: import what it needs from krait/,
        /^packages\/studies\/src\/deep\.ts:2: imports packages\/other\/src\/index\.ts, outside its package: /,
        /^packages\/studies\/src\/deep\.ts:3: imports src\/core\/index\.ts, outside its package: /,
        /^packages\/studies\/src\/deep\.ts:4: imports 'node:fs', which only packages\/studies\/src\/commands may/,
        /^packages\/studies\/src\/deep\.ts:5: imports packages\/studies\/src\/deep\.test\.ts, a test/,
        /^packages\/studies\/src\/plan\.ts:1: imports 'krait\/tensor', which package\.json does not export/,
        /^packages\/studies\/src\/plan\.ts:2: imports 'krait\/inside', which package\.json does not export/,
        /^src\/core\/index\.ts:1: imports 'krait-studies\/study', a package above krait/,
        /^src\/core\/index\.ts:2: imports 'other', a package above krait/,
      ],
    );
  });

  it('has a table without cycles', () => {
    const height = (folder: string, above: readonly string[]): number => {
      assert.ok(!above.includes(folder), `the table goes in a circle: ${[...above, folder].join(' -> ')}`);
      return 1 + Math.max(0, ...LAYERS[folder].map((name) => height(name, [...above, folder])));
    };
    for (const folder of Object.keys(LAYERS)) assert.ok(height(folder, []) >= 1);
  });

  it('holds in this repository', () => {
    const { violations, files, imports } = checkLayers(ROOT);
    assert.deepEqual(violations, []);
    assert.ok(files > 10 && imports > files, `read ${files} files and ${imports} imports`);
  });
});

describe('size', () => {
  const lines = (n: number) => 'x;\n'.repeat(n);

  it('counts lines with and without a last newline', () => {
    assert.deepEqual(['', 'a', 'a\n', 'a\nb', 'a\n\n'].map(countLines), [0, 1, 1, 2, 2]);
  });

  it('warns, fails and honours the stricter limits and the exceptions', () => {
    const files = {
      'src/core/ok.ts': lines(400),
      'src/core/warned.ts': lines(401),
      'src/core/failed.ts': lines(601),
      'src/core/allowed.ts': lines(700),
      'src/core/ok.test.ts': lines(10),
      'src/models/mamba.ts': lines(251),
      'src/models/mamba.test.ts': lines(300),
      'src/models/mamba2.ts': lines(250),
      'native/kernels/scan.cc': lines(602),
      'examples/a.ts': lines(61),
      'packages/studies/src/index.ts': lines(90),
      'packages/studies/src/index.test.ts': lines(12),
      'packages/studies/test/whole.test.ts': lines(8),
      'packages/studies/dist/index.ts': lines(700),
    };
    const allowed = {
      'src/core/allowed.ts': { lines: 700, reason: 'a table' },
      'src/core/gone.ts': { lines: 900, reason: 'a table' },
    };
    const report = withTree(files, (root) => checkSize(root, allowed));
    const names = (list: readonly string[]) => list.map((line) => line.split(':')[0]).sort();
    assert.deepEqual(names(report.warnings), ['src/core/warned.ts']);
    assert.deepEqual(names(report.failures), [
      'examples/a.ts',
      'native/kernels/scan.cc',
      'src/core/failed.ts',
      'src/core/gone.ts',
      'src/models/mamba.ts',
    ]);
    assert.deepEqual(report.lines, { src: 400 + 401 + 601 + 700 + 251 + 250, packages: 90, tests: 330, native: 602 });
  });
});
