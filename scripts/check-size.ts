/**
 * The size rule as code. Run: `npm run check`, or `node --import tsx scripts/check-size.ts [root]`.
 * A file of more than 400 lines is a warning, of more than 600 a failure; stricter limits stand in `LIMITS`.
 * `ALLOWED` names the exceptions, each with its reason. The length of functions is Biome's to check.
 */
import { existsSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { listFiles, listPackages } from './source-files.ts';

const WARN_LINES = 400;
const FAIL_LINES = 600;

/** Failure limits of files whose path matches; the first row that matches counts. */
const LIMITS: readonly { readonly pattern: RegExp; readonly lines: number; readonly why: string }[] = [
  { pattern: /^src\/models\/(?!.*\.test\.ts$)/, lines: 250, why: 'a model is read next to its paper' },
  { pattern: /^examples\//, lines: 60, why: 'an example is read at one glance' },
];

/** Files that may be longer: path to the most lines, and the reason. */
export const ALLOWED: Readonly<Record<string, { readonly lines: number; readonly reason: string }>> = {};

const FOLDERS: readonly { readonly folder: string; readonly endings: readonly string[] }[] = [
  { folder: 'src', endings: ['.ts'] },
  { folder: 'test', endings: ['.ts'] },
  { folder: 'scripts', endings: ['.ts', '.mjs'] },
  { folder: 'bench', endings: ['.ts', '.mjs'] },
  { folder: 'examples', endings: ['.ts'] },
  { folder: 'bin', endings: ['.mjs'] },
  { folder: 'native', endings: ['.cc', '.cpp', '.h', '.hpp'] },
  { folder: 'oracles', endings: ['.py'] },
];

export interface SizeReport {
  /** One line each: the file, its length, the limit, what to do. */
  readonly failures: readonly string[];
  readonly warnings: readonly string[];
  /** Lines of `src` and of the packages without tests, of tests anywhere, and of `native`. */
  readonly lines: {
    readonly src: number;
    readonly packages: number;
    readonly tests: number;
    readonly native: number;
  };
  readonly files: number;
}

/** Number of lines of a text; a last line without a newline counts. */
export const countLines = (text: string): number =>
  text === '' ? 0 : text.split('\n').length - (text.endsWith('\n') ? 1 : 0);

/** Checks the tree at `root` against the limits and the exceptions of `allowed`. */
export function checkSize(root: string, allowed = ALLOWED): SizeReport {
  const failures: string[] = [];
  const warnings: string[] = [];
  const lines = { src: 0, packages: 0, tests: 0, native: 0 };
  const packages = listPackages(root).flatMap((path) =>
    ['src', 'test'].map((folder) => ({ folder: `${path}/${folder}`, endings: ['.ts'] })),
  );
  const paths = [...FOLDERS, ...packages].flatMap(({ folder, endings }) => listFiles(root, folder, endings));
  for (const path of paths) {
    const count = countLines(readFileSync(join(root, path), 'utf8'));
    if (path.endsWith('.test.ts') || /^(packages\/[^/]+\/)?test\//.test(path)) lines.tests += count;
    else if (path.startsWith('src/')) lines.src += count;
    else if (path.startsWith('packages/')) lines.packages += count;
    else if (path.startsWith('native/')) lines.native += count;
    const row = LIMITS.find(({ pattern }) => pattern.test(path));
    const limit = allowed[path]?.lines ?? row?.lines ?? FAIL_LINES;
    const why = !allowed[path] && row ? ` (${row.why})` : '';
    const say = `${path}: ${count} lines, at most ${limit}${why}`;
    if (count > limit)
      failures.push(`${say}: split it by idea, or give it a row with a reason in scripts/check-size.ts`);
    else if (count > WARN_LINES && !allowed[path]) warnings.push(`${say}: is it still one idea?`);
  }
  for (const path of Object.keys(allowed)) {
    if (!paths.includes(path))
      failures.push(`${path}: allowed to be long but not there: remove it from scripts/check-size.ts`);
  }
  return { failures, warnings, lines, files: paths.length };
}

function main(root: string): number {
  if (!existsSync(join(root, 'src'))) {
    console.log(`${root}: no src folder here; give the root of the repository`);
    return 2;
  }
  const { failures, warnings, lines, files } = checkSize(root);
  for (const line of warnings) console.log(`warning: ${line}`);
  for (const line of failures) console.log(line);
  const number = (n: number) => n.toLocaleString('en-US');
  console.log(
    `src ${number(lines.src)} lines, packages ${number(lines.packages)}, tests ${number(lines.tests)}, native ${number(lines.native)}; ` +
      `${files} files, ${failures.length} too long, ${warnings.length} warned of`,
  );
  return failures.length ? 1 : 0;
}

if (process.argv[1] && resolve(process.argv[1]) === fileURLToPath(import.meta.url)) {
  process.exitCode = main(resolve(process.argv[2] ?? fileURLToPath(new URL('..', import.meta.url))));
}
