/**
 * `krait ARGS...` in a process of its own that is interrupted at a chosen moment, for tests:
 *
 *   node --import tsx interrupted-run.ts MOMENT ARGS...
 *
 * `step` is a Ctrl-C after the first step (or requests that are answered) that is shown. `answers` is a SIGKILL in the
 * middle of keeping the second lot of an evaluation's answers. The others are a SIGKILL during the save of the second
 * checkpoint: `weights` in the middle of a file, `rename` before the folder gets its name, `last` before the pointer moves.
 */

import { nodeFiles } from '../src/cli/files.ts';
import { main } from '../src/cli/main.ts';

const [moment, ...args] = process.argv.slice(2);
const die = () => process.kill(process.pid, 'SIGKILL');
const isAsideOfSecond = (path: string) => path.includes('.tmp-step-00000004');

/** Its first piece reaches the disk, the rest does not. */
async function* halfOf(content: Parameters<typeof nodeFiles.writeAtomic>[1]) {
  if (typeof content === 'string' || content instanceof Uint8Array) throw new Error('a tensor file comes in pieces');
  for await (const piece of content) {
    yield piece;
    die();
  }
}

if (moment === 'step') {
  const write = process.stderr.write.bind(process.stderr) as (...args: unknown[]) => boolean;
  let isFirst = true;
  process.stderr.write = ((...args: unknown[]) => {
    if (isFirst && /^((tuning|training): |requests: [1-9])/.test(String(args[0]))) {
      isFirst = false;
      process.kill(process.pid, 'SIGINT');
    }
    return write(...args);
  }) as typeof process.stderr.write;
}
const writeAtomic = nodeFiles.writeAtomic.bind(nodeFiles);
nodeFiles.writeAtomic = async (path, content) => {
  if (moment === 'weights' && isAsideOfSecond(path) && path.endsWith('weights.safetensors')) {
    return writeAtomic(path, halfOf(content));
  }
  if (moment === 'last' && path.endsWith('last') && String(content).includes('4')) die();
  return writeAtomic(path, content);
};
const rename = nodeFiles.rename.bind(nodeFiles);
nodeFiles.rename = async (from, to) => {
  if (moment === 'rename' && isAsideOfSecond(from)) die();
  return rename(from, to);
};
let lots = 0;
const openWritable = nodeFiles.openWritable.bind(nodeFiles);
nodeFiles.openWritable = async (path) => {
  const file = await openWritable(path);
  const isHit = moment === 'answers' && path.endsWith('answers.jsonl') && lots++ === 2; // opened before anything is kept
  if (!isHit) return file;
  const write = file.write.bind(file);
  file.write = async (bytes, offset) => {
    await write(bytes.subarray(0, Math.ceil(bytes.length / 2)), offset);
    die();
  };
  return file;
};
process.exitCode = await main(args);
