/** The command line within this process, what it prints captured; and model folders that are broken in one way each. */
import assert from 'node:assert/strict';
import { AsyncLocalStorage } from 'node:async_hooks';
import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after } from 'node:test';
import { main } from '../src/cli/main.ts';
import { type Header, makeEntries } from '../src/io/testing/safetensors-cases.ts';

export interface Outcome {
  code: number;
  stdout: string;
  stderr: string;
}

/** What is printed goes to the command that prints it; the test runner's own lines go through. */
const outcomes = new AsyncLocalStorage<Outcome>();
for (const name of ['stdout', 'stderr'] as const) {
  const stream = process[name];
  const write = stream.write.bind(stream) as (...args: unknown[]) => boolean;
  stream.write = ((...args: unknown[]) => {
    const outcome = outcomes.getStore();
    if (!outcome) return write(...args);
    outcome[name] += String(args[0]);
    return true;
  }) as typeof stream.write;
}

/** `krait ARGS...` on the reference device, where a command takes one and none is named. */
export async function krait(...args: string[]): Promise<Outcome> {
  const outcome: Outcome = { code: -1, stdout: '', stderr: '' };
  outcome.code = await outcomes.run(outcome, () => main(args));
  return outcome;
}

/** A folder for this test file alone. */
export function workFolder(name: string): string {
  const folder = mkdtempSync(join(tmpdir(), `krait-${name}-`));
  after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** Every file and folder below a folder. */
export const treeOf = (folder: string): string[] => (readdirSync(folder, { recursive: true }) as string[]).sort();

/**
 * Runs a command that must fail: one line on stderr that matches, nothing on stdout, and no file or folder in `folder`
 * that was not there before.
 */
export async function refuses(folder: string, code: number, pattern: RegExp, ...args: string[]): Promise<string> {
  const before = treeOf(folder);
  const { stdout, stderr, code: got } = await krait(...args);
  const told = `krait ${args.join(' ')}\n${stderr}`;
  assert.equal(got, code, told);
  assert.match(stderr, /^krait[^\n]*\n$/, `one line: ${told}`);
  assert.doesNotMatch(stderr, /defect in Krait/, told);
  assert.match(stderr, pattern, told);
  assert.equal(stdout, '');
  assert.deepEqual(treeOf(folder), before, `something was written: ${told}`);
  return stderr;
}

/** Changes copies of one good model. */
export class BrokenModels {
  private count = 0;
  private readonly header: Header;
  private readonly data: Uint8Array;

  /** @param good the folder of a model in one safetensors file, with its tokenizer */
  constructor(
    private readonly folder: string,
    private readonly good: string,
  ) {
    const file = this.weights();
    const length = Number(file.readBigUInt64LE(0));
    this.header = JSON.parse(file.subarray(8, 8 + length).toString()) as Header;
    this.data = file.subarray(8 + length);
  }

  /** The good model's weights as they are. */
  weights(): Buffer {
    return readFileSync(join(this.good, 'model.safetensors'));
  }

  /** A copy with files put in place of its own; null removes one. */
  with(files: Record<string, string | Uint8Array | null>): string {
    const folder = join(this.folder, `model-${this.count++}`);
    cpSync(this.good, folder, { recursive: true });
    for (const [name, content] of Object.entries(files)) {
      const path = join(folder, name);
      if (content !== null) writeFileSync(path, content);
      else if (existsSync(path)) rmSync(path);
    }
    return folder;
  }

  /** A copy whose config.json has other values; undefined removes one. */
  withConfig(changes: Record<string, unknown>): string {
    const config = JSON.parse(readFileSync(join(this.good, 'config.json'), 'utf8')) as Record<string, unknown>;
    return this.with({ 'config.json': JSON.stringify({ ...config, ...changes }) });
  }

  /** A copy whose weights have another header or other data; the length before the header is right. */
  withTensors(change: (tensors: Record<string, TensorEntry>, data: Uint8Array) => void): string {
    const header = structuredClone(this.header);
    const data = Uint8Array.from(this.data);
    change(header as Record<string, TensorEntry>, data);
    return this.with({ 'model.safetensors': makeEntries(header, data) });
  }
}

export interface TensorEntry {
  dtype: string;
  shape: number[];
  data_offsets: [begin: number, end: number];
}
