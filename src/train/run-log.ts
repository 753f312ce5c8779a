/**
 * What a run leaves to look at: `metrics.jsonl`, one line a step or evaluation, and TensorBoard events of the same
 * numbers. Both are appended to; a resumed run first cuts what lies beyond its checkpoint, so no step is there twice.
 */
import { EventWriter, type FileSystem, joinPath, type WritableFile } from '../io/index.ts';

export const METRICS_FILE = 'metrics.jsonl';
/** Fixed, so that a resumed run goes on in the same file. */
const EVENTS_NAME = 'krait';
const NEWLINE = 0x0a;

export type Scalars = Readonly<Record<string, number>>;

/** Bytes of whole lines up to `lastStep`. Steps in the file only grow. */
async function keptBytes(files: FileSystem, path: string, lastStep: number): Promise<number> {
  if (!(await files.exists(path))) return 0;
  const file = await files.open(path);
  try {
    const bytes = await file.read(0, file.size);
    let kept = 0;
    for (let end = bytes.indexOf(NEWLINE); end >= 0; end = bytes.indexOf(NEWLINE, kept)) {
      if (!(stepOfLine(new TextDecoder().decode(bytes.subarray(kept, end))) <= lastStep)) break;
      kept = end + 1;
    }
    return kept;
  } finally {
    await file.close();
  }
}

/** NaN for a line that is none of ours: it and what follows are cut. */
function stepOfLine(line: string): number {
  try {
    return Number((JSON.parse(line) as { step?: unknown }).step);
  } catch {
    return Number.NaN;
  }
}

export class RunLog {
  private constructor(
    private readonly metrics: WritableFile,
    private readonly events: EventWriter,
  ) {}

  /** Opens the log of a run in `folder`, keeping what it holds up to `lastStep`. */
  static async open(files: FileSystem, folder: string, lastStep: number): Promise<RunLog> {
    const path = joinPath(folder, METRICS_FILE);
    const kept = await keptBytes(files, path, lastStep);
    const metrics = await files.openWritable(path);
    if (metrics.size > kept) await metrics.truncate(kept);
    return new RunLog(metrics, await EventWriter.open(files, folder, EVENTS_NAME, { lastStep }));
  }

  /** Appends the numbers of one step; `prefix` groups their tags in TensorBoard (`train/loss`). */
  async write(prefix: string, step: number, values: Scalars): Promise<void> {
    const line = prefix === 'train' ? values : prefixed(`${prefix}_`, values);
    await this.metrics.write(new TextEncoder().encode(`${JSON.stringify({ step, ...line })}\n`));
    await this.events.scalars(step, prefixed(`${prefix}/`, values));
  }

  /** Returns when everything written is on the disk. */
  async sync(): Promise<void> {
    await this.metrics.sync();
    await this.events.sync();
  }

  async close(): Promise<void> {
    await this.metrics.close();
    await this.events.close();
  }
}

const prefixed = (prefix: string, values: Scalars): Record<string, number> =>
  Object.fromEntries(Object.entries(values).map(([name, value]) => [`${prefix}${name}`, value]));
