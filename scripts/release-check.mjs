/**
 * Uses a packed release as a stranger does: installs it into an empty project without a compiler on PATH, generates text,
 * tunes a LoRA for ten steps and runs an example on the native device; then takes the platform's package away and does
 * the same on WebAssembly.
 *
 *   npm run release:check -- PLATFORM      # the packages that `npm run release:pack` wrote
 */
import { spawnSync } from 'node:child_process';
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { transformSync } from 'esbuild';
import { PLATFORMS, packageOf } from '../src/backend/native/platforms.ts';
import { Remedy, runScript } from './child.mjs';
import { runNpm } from './install.mjs';
import { platformsOf, RELEASE } from './release-build.mjs';
import { nodeOf } from './release-node.mjs';
import { PACKAGES, readManifest, tarballOf } from './release-pack.mjs';
import { serveRegistry } from './release-registry.mjs';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const KRAIT = 'node_modules/krait/bin/krait.mjs';
const MODEL = 'node_modules/krait/models/base';
const EXAMPLE = 'generate';
const GENERATE = ['generate', '--model', MODEL, '--prompt', 'The President of the United States', '--max-tokens', '16'];
const TUNE = ['tune', '--model', MODEL, '--data', 'train.jsonl', '--out', 'adapter', '--method', 'lora', '--force'];
const TEN_STEPS = ['--rank', '8', '--steps', '10', '--batch-size', '4', '--max-length', '32'];
/** Words of Node's arguments, and what shows on which device they ran. */
const JOBS = [
  { name: 'generate', words: [KRAIT, ...GENERATE], device: /^device: (\w+ \w+)/m },
  { name: 'LoRA of ten steps', words: [KRAIT, ...TUNE, ...TEN_STEPS], device: /^device: (\w+ \w+)/m },
  { name: 'generate with it', words: [KRAIT, ...GENERATE, '--adapter', 'adapter'], device: /^device: (\w+ \w+)/m },
  { name: `examples/${EXAMPLE}.ts`, words: [`${EXAMPLE}.mjs`, MODEL], device: /^mamba on (\w+)/m },
];

/** An empty project, and a folder for PATH that holds Node alone. */
function makeProject(folder) {
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(join(folder, 'path'), { recursive: true });
  writeFileSync(join(folder, 'package.json'), '{ "name": "empty", "private": true, "type": "module" }\n');
  const record = (n) => JSON.stringify({ prompt: `${n} is`, completion: n % 2 ? ' odd' : ' even' });
  writeFileSync(join(folder, 'train.jsonl'), `${Array.from({ length: 40 }, (_, n) => record(n + 10)).join('\n')}\n`);
  const example = readFileSync(join(ROOT, 'examples', `${EXAMPLE}.ts`), 'utf8');
  writeFileSync(join(folder, `${EXAMPLE}.mjs`), transformSync(example, { loader: 'ts', format: 'esm' }).code);
  if (process.platform === 'win32') return dirname(process.execPath);
  symlinkSync(process.execPath, join(folder, 'path', 'node'));
  return join(folder, 'path');
}

/** npm chooses the platform's package itself; the check fails if it takes another, or more. */
async function install(name, folder, env) {
  const { os, cpu, libc } = PLATFORMS[name];
  const registry = await serveRegistry(PACKAGES);
  const target = [`--os=${os}`, `--cpu=${cpu}`, ...(libc ? [`--libc=${libc}`] : [])];
  const quiet = ['--no-audit', '--no-fund', '--loglevel=error'];
  const args = ['install', tarballOf('krait', readManifest().version), `--@krait-ssm:registry=${registry.address}`];
  const { code, output } = await runNpm([...args, ...target, ...quiet], { cwd: folder, env, stdout: 'collect' });
  registry.close();
  if (code !== 0) throw new Remedy(`npm install failed for ${name}: ${output.trim()}`);
  const scope = join(folder, 'node_modules', '@krait-ssm');
  const installed = existsSync(scope) ? readdirSync(scope) : [];
  if (installed.join() !== name) throw new Remedy(`npm installed [${installed.join(', ')}] for ${name}`);
}

/** Runs Node to its end. Its output goes to a file, because Node in Wine cannot write to a pipe. */
function runJob(node, words, { cwd, env }) {
  const file = join(cwd, 'output.txt');
  const out = openSync(file, 'w');
  const [program, ...first] = node.command;
  const { status, error } = spawnSync(program, [...first, ...words], { cwd, env, stdio: ['ignore', out, out] });
  closeSync(out);
  return { code: status, output: error?.message ?? readFileSync(file, 'utf8') };
}

/** Runs the jobs; each has to run on `device`. Returns the device in words. */
function runJobs(node, device, options) {
  let words = '';
  for (const job of JOBS) {
    const { code, output } = runJob(node, job.words, options);
    const [, used] = job.device.exec(output) ?? [];
    if (code !== 0 || used?.split(' ')[0] !== device) {
      throw new Remedy(
        `${job.name} on ${device} ended with exit code ${code} on ${used ?? 'no device'}:\n${output.trim()}`,
      );
    }
    console.error(`  ${job.name}: ${used}`);
    if (used.length > words.length) words = used;
  }
  return words;
}

/** Where `krait devices` says that the native device comes from; it must be the platform's package. */
function sourceOf(name, node, options) {
  const { output } = runJob(node, [KRAIT, 'devices', '--device', 'native', '--json'], options);
  const line = output.split(/\r?\n/).find((text) => text.startsWith('{')) ?? '{}';
  const note = JSON.parse(line).devices?.[0]?.note ?? output.trim();
  if (!note.startsWith(`${packageOf(name)} `)) throw new Remedy(`krait devices: native is not of the package: ${note}`);
  console.error(`  devices: ${note}`);
}

/** The line of a command's output that tells its device and why it is that one. */
function deviceLine(node, options) {
  const { output } = runJob(node, [KRAIT, ...GENERATE], options);
  return output.split(/\r?\n/).find((line) => line.startsWith('device: ')) ?? output.trim();
}

/**
 * Checks one platform's packages with Node of that platform.
 * @returns {Promise<{ native: string, wasm: string, reason: string }>} the devices, and what Krait says without the package
 * @throws {Remedy} with the output of what failed
 */
export async function checkPlatform(name, node) {
  const folder = join(RELEASE, 'check', name);
  const PATH = makeProject(folder);
  const env = { ...process.env, ...node.env, PATH };
  for (const key of Object.keys(env)) if (/^(CXX|KRAIT_ISA|KRAIT_THREADS)$/.test(key)) delete env[key];
  await install(name, folder, env);
  const options = { cwd: folder, env };
  sourceOf(name, node, options);
  const native = runJobs(node, 'native', options);
  rmSync(join(folder, 'node_modules', packageOf(name)), { recursive: true });
  const wasm = runJobs(node, 'wasm', options);
  return { native, wasm, reason: deviceLine(node, options) };
}

await runScript(import.meta.url, async (words) => {
  if (words.length !== 1) throw new Remedy('name one platform: npm run release:check -- linux-x64', 2);
  const [name] = platformsOf(words);
  const node = await nodeOf(name);
  if (!node) throw new Remedy(`no Node for ${name} runs here: docs/releasing.md says how to get one`);
  const { native, wasm, reason } = await checkPlatform(name, node);
  console.log(`${name}: ${native}, without its package ${wasm}\n${reason}`);
});
