/**
 * The C++ compilers that make WASM, behind one interface:
 *   id          what and which version: part of every object's hash
 *   fuses       whether it makes fused multiply-add of relaxed SIMD
 *   compileAll(objects, sources, done)  calls `await done(object, { bytes, words })` for each as it is ready
 *   link(flags, inputs)                 { bytes, words }; `bytes` is missing if it failed, `words` say why
 * `objects` have `path` (a key of `sources`) and `flags`; `sources` is a Map of path to content.
 */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { compileOnThreads, runTool } from './packaged-clang.mjs';

const OLDEST_CLANG = 18; // older ones make slower SIMD, and do not know all of the flags
const JOBS = 2;

/**
 * The compiler of the system if it has all that is needed, else the one from npm.
 * @param {string} root the repository
 * @throws {Error} one line, if there is none, or the one that KRAIT_CLANG names does not serve
 */
export async function findCompiler(root) {
  const wanted = process.env.KRAIT_CLANG;
  if (wanted !== 'yowasp') {
    const { compiler, problem } = await systemCompiler(root, wanted || 'clang++');
    if (compiler) return compiler;
    if (wanted) throw new Error(`KRAIT_CLANG=${wanted}: ${problem}`);
  }
  return packagedCompiler(root);
}

// ---- a clang of the system -------------------------------------------------------------------------------------

function run(command, args, cwd) {
  return new Promise((resolve) => {
    execFile(command, args, { cwd, maxBuffer: 1 << 26, windowsHide: true }, (error, stdout, stderr) => {
      resolve({ ok: !error, words: `${stdout}${stderr}` || (error ? error.message : '') });
    });
  });
}

async function systemCompiler(root, command) {
  const answer = await run(command, ['--version']);
  const [, text] = /clang version (\S+)/.exec(answer.words) ?? [];
  if (!answer.ok || !text) return { problem: 'this is not a clang that runs' };
  const major = Number.parseInt(text, 10);
  if (major < OLDEST_CLANG) return { problem: `clang ${text} is too old; ${OLDEST_CLANG} or newer is needed` };
  const targets = await run(command, ['--print-targets']);
  if (!/\bwasm32\b/.test(targets.words)) return { problem: `clang ${text} does not know the target wasm32` };
  const besides = join(dirname(command), 'wasm-ld');
  const linkers = [...(command.includes('/') ? [besides] : []), 'wasm-ld', `wasm-ld-${major}`];
  for (const linker of linkers) {
    const { ok } = await run(linker, ['--version']);
    if (ok) return { compiler: new SystemCompiler(root, command, linker, major, text) };
  }
  return { problem: `${linkers.join(', ')}: not found` };
}

class SystemCompiler {
  constructor(root, command, linker, major, version) {
    Object.assign(this, { root, command, linker, id: `clang ${version}`, fuses: major >= 21 });
  }

  async compileAll(objects, _sources, done) {
    const folder = await mkdtemp(join(tmpdir(), 'krait-wasm-'));
    const rest = [...objects];
    const worker = async (number) => {
      const out = join(folder, `${number}.o`);
      for (let object = rest.shift(); object; object = rest.shift()) {
        const answer = await run(this.command, [...object.flags, '-c', object.path, '-o', out], this.root);
        await done(object, { bytes: answer.ok ? await readFile(out) : undefined, words: answer.words });
      }
    };
    await Promise.all(Array.from({ length: JOBS }, (_, number) => worker(number)));
    await rm(folder, { recursive: true, force: true });
  }

  async link(flags, inputs) {
    const folder = await mkdtemp(join(tmpdir(), 'krait-wasm-'));
    try {
      for (const [name, bytes] of inputs) await writeFile(join(folder, name), bytes);
      const answer = await run(this.linker, [...flags, ...inputs.keys(), '-o', 'out.wasm'], folder);
      const bytes = answer.ok ? await readFile(join(folder, 'out.wasm')) : undefined;
      return { bytes, words: answer.words };
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  }
}

// ---- clang from npm, itself a WASM program ---------------------------------------------------------------------

async function packagedCompiler(root) {
  const path = join(root, 'node_modules', '@yowasp', 'clang', 'package.json');
  if (!existsSync(path)) {
    throw new Error('@yowasp/clang is not installed: run `npm ci`, or install clang 18 or newer with wasm-ld');
  }
  const { version } = JSON.parse(await readFile(path, 'utf8'));
  return new PackagedCompiler(version);
}

class PackagedCompiler {
  fuses = true;

  constructor(version) {
    this.id = `@yowasp/clang ${version}`;
  }

  compileAll(objects, sources, done) {
    return compileOnThreads(JOBS, objects, sources, done);
  }

  link(flags, inputs) {
    return runTool('runLLVM', ['wasm-ld', ...flags, ...inputs.keys(), '-o', 'out.wasm'], inputs, 'out.wasm');
  }
}
