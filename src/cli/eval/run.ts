/** Work of `krait eval run`: scores of a model on tasks, zero- and few-shot, as lm-evaluation-harness gives them. */
import { join } from 'node:path';
import { UsageError } from '../../core/index.ts';
import {
  answerRequests,
  answersIdentity,
  type CustomTask,
  evaluate,
  openAnswerCache,
  type PreparedTask,
  prepareTask,
  readCustomTask,
  type Selection,
  type ShotsRun,
  sampleLog,
  selectTasks,
  tokenizerLimit,
} from '../../eval/index.ts';
import { formatJsonl, joinPath } from '../../io/index.ts';
import type { OpenedModel } from '../../krait/open.ts';
import { readHubSettings } from '../../platform/node/index.ts';
import { nodeFiles } from '../files.ts';
import { Interrupted, withInterrupt } from '../interrupt.ts';
import type { Output, Progress } from '../output.ts';
import { checkOutputFolder } from '../output-folder.ts';
import { openModel } from '../session.ts';
import type { EvalFlags } from './command.ts';
import { evalDocument, evalTable, truncationLines } from './report.ts';

/** Answers that are kept while a run goes on. */
const ANSWERS_FILE = 'answers.jsonl';
const resultsFile = (shots: number) => `results_${shots}-shot.json`;
const samplesFile = (task: string, shots: number) => `samples_${task}_${shots}-shot.jsonl`;
/** Data files that are downloaded at once. */
const READ_TOGETHER = 8;

const isFile = (name: string): boolean => /\.ya?ml$/i.test(name);

interface Chosen extends Selection {
  /** Files of the splits of the user's own tasks. */
  readonly paths: ReadonlyMap<string, ReadonlyMap<string, string>>;
}

/** The requested tasks. A file name is a task of the user's own. */
async function chooseTasks(names: readonly string[]): Promise<Chosen> {
  const own = new Map<string, CustomTask>();
  for (const name of names.filter(isFile)) own.set(name, await readCustomTask(nodeFiles, name));
  const selection = selectTasks(names, new Map([...own].map(([name, { task }]) => [name, task])));
  const known = new Set(selectTasks(names.filter((name) => !isFile(name))).tasks.map(({ name }) => name));
  const twice = [...own.values()].find(({ task }) => known.has(task.name));
  if (twice) throw new UsageError(`two tasks are called ${twice.task.name}; give yours another name`);
  return { ...selection, paths: new Map([...own.values()].map(({ task, paths }) => [task.name, paths])) };
}

/** Reads the data of all tasks, from disk or from the hub. */
async function prepareAll(options: EvalFlags, chosen: Chosen, output: Output): Promise<PreparedTask[]> {
  const { dataDir, limit, seed, numFewshot: shots } = options;
  const hub = readHubSettings();
  const warned = new Set<string>();
  const warn = (line: string) => {
    if (!warned.has(line)) output.warn(line);
    warned.add(line);
  };
  const places = { files: nodeFiles, dataDir, hub, options: { warn } };
  const prepared: PreparedTask[] = [];
  for (let at = 0; at < chosen.tasks.length; at += READ_TOGETHER) {
    const together = chosen.tasks.slice(at, at + READ_TOGETHER);
    prepared.push(
      ...(await Promise.all(
        together.map((task) => prepareTask(task, places, { limit, seed, shots, paths: chosen.paths })),
      )),
    );
  }
  return prepared;
}

/** Asks the model; answers are kept in the output folder as they come. */
async function askModel(
  options: EvalFlags,
  { folder, model, tokenizer }: OpenedModel,
  tasks: readonly PreparedTask[],
  output: Output,
): Promise<{ runs: ShotsRun[]; maxLength: number }> {
  const { batchSize, output: out, adapter, dtype, numFewshot } = options;
  const maxLength = options.maxLength ?? model.contextLength ?? (await tokenizerLimit(nodeFiles, folder)) ?? 2048;
  const identity = await answersIdentity(nodeFiles, folder, adapter, dtype);
  const cache = await openAnswerCache(nodeFiles, joinPath(out, ANSWERS_FILE), identity);
  let bar: Progress | null = null;
  const work = (signal: AbortSignal) =>
    evaluate(tasks, numFewshot, {
      answer: (requests, onProgress) =>
        answerRequests(model, tokenizer, requests, { batchSize, maxLength, cache, signal, onProgress }),
      onProgress(done, total, note) {
        bar ??= output.progress('requests', total);
        bar.update(done, note);
      },
    });
  try {
    const runs = await withInterrupt(output, 'stopping; answers that are there are kept', work);
    return { runs, maxLength };
  } catch (error) {
    if (!(error instanceof DOMException && error.name === 'AbortError')) throw error;
    (bar as Progress | null)?.stop();
    output.say(`stopped; go on with --resume --output ${out}`);
    throw new Interrupted();
  } finally {
    (bar as Progress | null)?.stop();
  }
}

/** Writes a results file for each number of examples, and a samples file for each task if asked for. */
async function writeResults(options: EvalFlags, runs: readonly ShotsRun[], documents: readonly unknown[]) {
  const written: string[] = [];
  const write = async (name: string, content: string | Iterable<Uint8Array>) => {
    const path = join(options.output, name);
    await nodeFiles.writeAtomic(path, content);
    written.push(path);
  };
  for (const [i, { shots, scores }] of runs.entries()) {
    await write(resultsFile(shots), `${JSON.stringify(documents[i], null, 2)}\n`);
    if (!options.logSamples) continue;
    for (const score of scores) {
      const lines: unknown[] = [];
      for await (const line of sampleLog(score)) lines.push(line);
      await write(samplesFile(score.task.name, shots), formatJsonl(lines));
    }
  }
  return written;
}

export async function run(options: EvalFlags, output: Output): Promise<void> {
  const chosen = await chooseTasks(options.tasks);
  await checkOutputFolder(
    options.output,
    { force: options.force, resume: options.resume ?? false },
    [ANSWERS_FILE],
    '--output',
  );
  const tasks = await prepareAll(options, chosen, output);
  const opened = await openModel(options, output);
  if (options.force) await nodeFiles.remove(joinPath(options.output, ANSWERS_FILE));
  try {
    const { runs, maxLength } = await askModel(options, opened, tasks, output);
    const documents = runs.map((own) => evalDocument(own, chosen.groups, { ...options, maxLength }));
    const files = await writeResults(options, runs, documents);
    for (const line of truncationLines(runs, maxLength)) output.warn(line);
    output.result({ runs: documents, files }, () => `${evalTable(runs, chosen.groups)}\n\n${files[0]}`);
  } finally {
    opened.close();
  }
}
