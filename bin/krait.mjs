#!/usr/bin/env node
/**
 * The command `krait`. In a published package dist/ is there and runs. In a clone dist/ is brought up to date with
 * src/ first (about a second if something changed), and everything is installed and built in a fresh one.
 */
import { existsSync } from 'node:fs';
import module from 'node:module';

const at = (path) => new URL(`../${path}`, import.meta.url);

async function loadMain() {
  if (Number(process.versions.node.split('.')[0]) < 20) {
    throw new Error(`Node.js ${process.versions.node} is too old: install Node.js >= 20 from nodejs.org`);
  }
  const isClone = existsSync(at('src/cli/main.ts')) && existsSync(at('scripts/prepare.mjs'));
  if (isClone) await (await import(at('scripts/prepare.mjs').href)).prepareForCli();
  const entry = at('dist/command/main.js');
  if (!existsSync(entry)) {
    throw new Error(
      'dist/command/main.js is missing from this installation: run `npm install krait` again, or `npm run build` in a clone',
    );
  }
  if (process.env.KRAIT_DEBUG) process.setSourceMapsEnabled(true); // stacks name the files of src
  module.enableCompileCache?.(); // Node.js 22 on: the next start compiles nothing
  return (await import(entry.href)).main;
}

try {
  const main = await loadMain();
  const code = await main(process.argv.slice(2));
  if (typeof code === 'number') process.exitCode = code;
} catch (error) {
  console.error(process.env.KRAIT_DEBUG ? error : `krait: ${error?.message ?? error}`);
  process.exitCode = error?.exitCode ?? (error?.name === 'UsageError' ? 2 : 1);
}
