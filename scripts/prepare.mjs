/**
 * Installs and builds what is missing or stale in a clone: packages, native addon, WASM, dist. Shared by `run.mjs` and
 * `bin/krait.mjs`. Built-in modules only at the top, because it runs before anything is installed.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { buildJs, buildTypes, isJsFresh, removeOldChunks } from './build-js.mjs';
import { Remedy, runNode } from './child.mjs';
import { install, isInstalled } from './install.mjs';

const ROOT = fileURLToPath(new URL('..', import.meta.url));

/** Loaded where there is something to build, which a command that finds all fresh is spared. */
const locked = async (work) => (await import('./build-lock.mjs')).withBuildLock(ROOT, work, say);

/** Progress goes to standard error, so that standard output is the job's. */
export const say = (line) => console.error(`krait: ${line}`);

/**
 * Installs and builds whatever is missing or stale, under the build lock.
 * @param {object} [options]
 * @param {boolean} [options.isStrict] both native and WASM device must be there; otherwise the first of them serves
 * @param {boolean} [options.withTypes] the .d.ts files too
 * @param {boolean} [options.withTests] the compiled tests too
 */
export async function prepare({ isStrict = true, withTypes = false, withTests = false } = {}) {
  await locked(async () => {
    if (!isInstalled(ROOT)) await install(ROOT, say);
    const jobs = [buildScript('native', isStrict), buildModules(withTests)];
    if (isStrict) jobs.push(buildScript('wasm', isStrict));
    const failed = (await Promise.allSettled(jobs)).find((result) => result.status === 'rejected');
    if (failed) throw failed.reason;
    if (!isStrict && !existsSync(join(ROOT, 'build', 'native', 'krait.node'))) await buildScript('wasm', isStrict);
    if (!withTypes) return;
    removeOldChunks(ROOT);
    if (await buildTypes(ROOT)) say('wrote the type declarations of dist');
  });
}

/** The packages alone. */
export async function prepareInstall() {
  if (isInstalled(ROOT)) return;
  await locked(async () => isInstalled(ROOT) || install(ROOT, say));
}

/** One after the other: each ends the process of esbuild, in which the other would wait for ever. */
async function buildModules(withTests) {
  await buildDist();
  if (withTests) await buildCompiledTests();
}

async function buildDist() {
  if (isJsFresh(ROOT)) return;
  const { files, seconds } = await buildJs(ROOT);
  say(`built dist: ${files} files in ${seconds.toFixed(2)} s`);
}

async function buildCompiledTests() {
  const { buildTests } = await import('./build-tests.mjs'); // here, because the command line in a clone loads this file too
  const built = await buildTests(ROOT);
  if (built) say(`compiled the tests: ${built.files} files in ${built.seconds.toFixed(2)} s`);
}

/** Native and WASM builds do their own staleness check, and say one line where a compiler is missing. */
async function buildScript(name, isStrict) {
  const script = `scripts/build-${name}.mjs`;
  if (!existsSync(join(ROOT, script)))
    throw new Remedy(`${script} is missing: restore it with \`git checkout ${script}\``);
  const { code, signal } = await runNode([script], { cwd: ROOT, stdout: 'stderr' });
  if (code === 0) return;
  if (signal) throw new Remedy(`${script} was stopped by ${signal}: run this again`, code);
  const line = `${script} failed with exit code ${code} (see above)`;
  if (isStrict) throw new Remedy(`${line}: mend it, or run \`npm start\`, which goes on without`);
  say(`${line}: going on without the ${name} device`);
}

/**
 * What bin/krait.mjs needs in a clone: everything in a fresh one, dist alone where only sources changed.
 * @throws {Remedy}
 */
export async function prepareForCli() {
  if (!isInstalled(ROOT) || !existsSync(join(ROOT, 'dist', 'command', 'main.js'))) await prepare({ isStrict: false });
  else if (!isJsFresh(ROOT)) await locked(buildDist);
}
