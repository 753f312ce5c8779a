/**
 * npm's `@yowasp/clang`: clang and wasm-ld that are WASM programs themselves, with files in memory. As the code of
 * a worker thread it compiles what it is sent; threads of one process share the 75 MB of machine code.
 */
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';

let loading;

/** The package, ready to run without a word about its progress. */
async function load() {
  const tools = await import('@yowasp/clang');
  const silent = { stdout: () => {}, stderr: () => {}, fetchProgress: () => {} };
  await tools.runLLVM(['wasm-ld', '--version'], {}, silent);
  return tools;
}

/** Files as the package takes them: folders are nested objects. */
function treeOf(files) {
  const tree = {};
  for (const [path, content] of files) {
    const parts = path.split('/');
    const name = parts.pop();
    let folder = tree;
    for (const part of parts) folder = folder[part] ??= {};
    folder[name] = content;
  }
  return tree;
}

/**
 * Runs a tool over files in memory.
 * @param {'runClang' | 'runLLVM'} entry
 * @param {string[]} args
 * @param {Map<string, Uint8Array>} files content by path
 * @param {string} output a file that the tool writes
 * @returns {Promise<{ bytes?: Uint8Array, words: string }>} the output, missing if the tool failed, and what it said
 */
export async function runTool(entry, args, files, output) {
  loading ??= load();
  const tools = await loading;
  const decoder = new TextDecoder();
  let words = '';
  const hear = (bytes) => {
    if (bytes) words += decoder.decode(bytes, { stream: true });
  };
  try {
    const made = await tools[entry](args, treeOf(files), { stdout: hear, stderr: hear });
    return { bytes: made[output], words };
  } catch (error) {
    if (error instanceof tools.Exit) return { words: words || `exit code ${error.code}` };
    return { words: `${words}${error.message}` };
  }
}

/**
 * Compiles on `threads` threads. Calls `done(object, { bytes, words })` as each is ready, in any order.
 * @param {{ path: string, flags: string[] }[]} objects
 * @param {Map<string, Uint8Array>} sources
 */
export async function compileOnThreads(threads, objects, sources, done) {
  const rest = [...objects];
  const serve = () =>
    new Promise((resolve, reject) => {
      const worker = new Worker(new URL(import.meta.url), { workerData: { clangSources: sources } });
      let object;
      const next = () => {
        object = rest.shift();
        if (object) worker.postMessage({ path: object.path, flags: object.flags });
        else worker.terminate().then(resolve, reject);
      };
      worker.on('error', reject);
      worker.on('message', (result) => done(object, result).then(next, reject));
      next();
    });
  await Promise.all(Array.from({ length: Math.min(threads, objects.length) }, serve));
}

if (!isMainThread && workerData?.clangSources) {
  parentPort.on('message', async ({ path, flags }) => {
    const args = ['clang++', ...flags, '-c', path, '-o', 'out.o'];
    parentPort.postMessage(await runTool('runClang', args, workerData.clangSources, 'out.o'));
  });
}
