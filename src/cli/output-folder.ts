/** Checks, before the work, that a command may write to its output folder. */
import { UsageError } from '../core/index.ts';
import { nodeFiles } from './files.ts';

/** Files that a run leaves in its folder. A folder with neither has nothing to resume. */
const RUN_FILES = ['checkpoints', 'metrics.jsonl'];

/**
 * Checks that a command may write into a folder, which need not exist.
 * @throws UsageError for a file, and for a folder with something in it, unless it is to be written over, or a run in it
 * is to be resumed
 */
export async function checkOutputFolder(
  folder: string,
  { force, resume }: { force?: boolean; resume?: boolean },
  runFiles: readonly string[] = RUN_FILES,
  flag = '--out',
): Promise<void> {
  if (folder.trim() === '') throw new UsageError(`${flag}: the path is empty; give a folder`);
  const status = await nodeFiles.status(folder);
  if (status && !status.isFolder) throw new UsageError(`${flag}: ${folder} is a file; give a folder`);
  const names = status && !force ? await nodeFiles.list(folder) : [];
  if (names.length === 0) return;
  if (resume === undefined) {
    throw new UsageError(
      `${flag}: ${folder} exists and is not empty; give --force to write over it, or another folder`,
    );
  }
  if (!resume) {
    const ways = 'give --resume to go on, --force to write over it, or another folder';
    throw new UsageError(`${flag}: ${folder} exists and is not empty; ${ways}`);
  }
  if (names.some((name) => runFiles.includes(name))) return;
  throw new UsageError(`${flag}: ${folder} has no run to resume; give --force to write over it, or another folder`);
}
