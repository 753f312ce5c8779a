/** What was measured on, and what: the lines without which a figure means nothing. */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { cpus, totalmem } from 'node:os';
import { fileURLToPath } from 'node:url';
import { openBackend } from '../../src/backend/select.ts';

export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  /** Variant of the native kernels that runs here. */
  readonly isa: string;
  readonly memoryBytes: number;
  readonly system: string;
  readonly node: string;
}

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

/** Opens the native device, and closes it. */
export async function describeMachine(): Promise<Machine> {
  const { backend } = await openBackend();
  const isa = `${backend.name} ${backend.variant}`;
  backend.close();
  const [{ model }] = cpus();
  const system = `${process.platform} ${process.arch}`;
  return {
    cpu: cpuName(model),
    cores: cpus().length,
    isa,
    memoryBytes: totalmem(),
    system,
    node: process.versions.node,
  };
}

/** The name that the processor gives itself; with family and model where that says too little. */
function cpuName(model: string): string {
  try {
    const text = readFileSync('/proc/cpuinfo', 'utf8');
    const of = (key: string) => new RegExp(`^${key}\\s*: (.*)$`, 'm').exec(text)?.[1];
    return `${model.trim()} (family ${of('cpu family')}, model ${of('model')})`;
  } catch {
    return model.trim();
  }
}

/** Version of the package and the commit that is checked out; `+` where files differ from it. */
export function kraitVersion(): string {
  const { version } = JSON.parse(readFileSync(`${ROOT}/package.json`, 'utf8')) as { version: string };
  try {
    const git = (...args: string[]) => execFileSync('git', args, { cwd: ROOT, encoding: 'utf8', stdio: 'pipe' }).trim();
    const isChanged = git('status', '--porcelain', '--untracked-files=no', '--', 'src', 'native', 'scripts') !== '';
    return `${version} (${git('rev-parse', '--short=10', 'HEAD')}${isChanged ? '+' : ''})`;
  } catch {
    return version;
  }
}
