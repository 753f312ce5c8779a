/** What `krait study downstream` needs before a cell is measured: models, tasks and instructions, or what of them is missing. */
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { NpmDataSource, readHubSettings } from 'krait';
import { baseModel, modelFolder, nodeFiles, type Output } from 'krait/cli';
import { EnvironmentError, KraitError, UsageError } from 'krait/core';
import { prepareTask, selectTasks, type Task } from 'krait/eval';
import { baseName } from 'krait/io';
import {
  type DownstreamInput,
  type DownstreamModel,
  type DownstreamSettings,
  fileInstructions,
  type InstructionSet,
  metaInstructions,
  microInstructions,
  type PresetName,
} from '../downstream/index.ts';
import { loadMicroMaterial, MICRO_TASKS, writeMicroTasks } from '../micro/index.ts';

/** The part of the options that says what is studied. */
export interface SetupOptions {
  preset: PresetName;
  model: string[];
  reference?: string;
  tasks?: string[];
  data?: string;
  dataDir?: string;
  out: string;
}

/** The Transformer that this package carries: of the size of `krait`'s base model, trained on the same text. */
const twin = (): string => fileURLToPath(new URL('../../models/pythia-twin', import.meta.url));

interface PresetModels {
  readonly models: readonly string[];
  readonly reference: string;
}

const MODELS: Readonly<Record<PresetName, PresetModels>> = {
  micro: { models: [`mamba=${baseModel()}`], reference: `transformer=${twin()}` },
  paper: { models: ['mamba=state-spaces/mamba-130m-hf'], reference: 'pythia=EleutherAI/pythia-160m' },
};

/** Tasks of the paper's in-context learning experiments. `--tasks` can add MMLU and others. */
const PAPER_TASKS = ['hellaswag', 'piqa', 'arc_easy', 'arc_challenge', 'winogrande'];

/** Questions of each micro task. */
const MICRO_QUESTIONS = 40;
/** Episodes to learn from, and to meta-train on. */
const MICRO_EPISODES = 2400;
const META_EPISODES = 12_000;

/** `label=path`, or a path whose last part is the label. */
function labelled(text: string): { label: string; path: string } {
  const [, label, path] = /^([^/\\=]+)=(.+)$/.exec(text) ?? [];
  return label === undefined ? { label: baseName(text), path: text } : { label: label.trim(), path };
}

type Setup = Pick<DownstreamInput, 'models' | 'reference' | 'tasks' | 'source' | 'instructions' | 'metaInstructions'>;

/** Runs a step; what it misses is noted beside what others miss, so that all is said at once. */
async function gather<T>(missing: string[], work: () => Promise<T>): Promise<T | null> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof KraitError) || error instanceof UsageError) throw error;
    missing.push(error.message);
    return null;
  }
}

async function gatherModels(options: SetupOptions, missing: string[], output: Output) {
  const preset = MODELS[options.preset];
  const own = options.model.length > 0;
  const named = (own ? options.model : preset.models).map(labelled);
  const reference = options.reference ?? (own ? null : preset.reference);
  const all = reference === null ? named : [...named, labelled(reference)];
  const twice = all.find(({ label }, i) => all.findIndex((other) => other.label === label) !== i);
  if (twice) throw new UsageError(`two models are called ${twice.label}; name them: --model name=${twice.path}`);
  const models: DownstreamModel[] = [];
  for (const { label, path } of all) {
    const folder = await gather(missing, () => modelFolder({ model: path }, output));
    if (folder !== null) models.push({ label, folder });
  }
  return { models, reference: reference === null ? null : labelled(reference).label };
}

/** Tasks and instructions of the micro preset, made from npm packages; or the user's instead of either. */
async function gatherMicro(options: SetupOptions, settings: DownstreamSettings, missing: string[]) {
  const material = await gather(missing, () => loadMicroMaterial(new NpmDataSource()));
  if (!material) return null;
  const dataDir = join(options.out, 'tasks');
  await writeMicroTasks(material, nodeFiles, dataDir, MICRO_QUESTIONS);
  const { data, tasks: names } = options;
  const instructions = data
    ? await fileInstructions(nodeFiles, data)
    : await microInstructions(material, MICRO_EPISODES);
  const meta = settings.methods.includes('meta') ? await metaInstructions(material, META_EPISODES) : undefined;
  const unknown = names?.find((name) => !MICRO_TASKS.some((task) => task.name === name));
  if (unknown)
    throw new UsageError(
      `--tasks: ${unknown} is no micro task; there are ${MICRO_TASKS.map((t) => t.name).join(', ')}`,
    );
  const tasks = MICRO_TASKS.filter(({ name }) => !names || names.includes(name));
  return { tasks, instructions, metaInstructions: meta, dataDir };
}

async function checkTasks(
  tasks: readonly Task[],
  { dataDir }: SetupOptions,
  shots: readonly number[],
  missing: string[],
) {
  const places = { files: nodeFiles, dataDir, hub: readHubSettings() };
  for (const task of tasks) await gather(missing, () => prepareTask(task, places, { shots }));
}

/** Tasks of the harness, and a file of instructions. */
async function gatherTasks(options: SetupOptions, settings: DownstreamSettings, missing: string[]) {
  if (settings.methods.includes('meta')) {
    throw new UsageError(
      '--methods: meta needs the episodes of the micro preset; leave it out, or give --preset micro',
    );
  }
  const { tasks } = selectTasks(options.tasks ?? PAPER_TASKS);
  const odd = tasks.find(({ metrics }) => !metrics.includes('acc'));
  if (odd) throw new UsageError(`--tasks: ${odd.name} has no accuracy (acc), which gains are measured by`);
  await checkTasks(tasks, options, settings.shots, missing);
  const { data } = options;
  const read = async (): Promise<InstructionSet> => {
    if (data !== undefined) return fileInstructions(nodeFiles, data);
    throw new EnvironmentError('no instructions to tune on', [
      'give --data FILE.jsonl in the form of Alpaca (tatsu-lab/alpaca) or OpenHermes (teknium/openhermes)',
    ]);
  };
  const instructions = settings.methods.length > 0 ? await gather(missing, read) : await emptyInstructions();
  return { tasks, instructions, metaInstructions: undefined, dataDir: options.dataDir };
}

/** Where nothing is tuned. */
const emptyInstructions = async (): Promise<InstructionSet> => ({
  source: 'nothing',
  hash: '',
  train: () => [],
  validation: () => [],
});

/**
 * @throws KraitError that names everything that is missing and where to get it, in one line; UsageError
 */
export async function setUp(options: SetupOptions, settings: DownstreamSettings, output: Output): Promise<Setup> {
  const missing: string[] = [];
  const { models, reference } = await gatherModels(options, missing, output);
  const isMicro = options.preset === 'micro';
  const found = isMicro ? await gatherMicro(options, settings, missing) : await gatherTasks(options, settings, missing);
  if (missing.length > 0 || !found?.instructions) {
    const count = missing.length === 1 ? 'one thing' : `${missing.length} things`;
    throw new KraitError(`the ${options.preset} preset lacks ${count}: ${missing.join('; ')}`);
  }
  const { tasks, instructions, metaInstructions: episodes, dataDir } = found;
  const places = { files: nodeFiles, dataDir, hub: readHubSettings() };
  return { models, reference, tasks, source: { places }, instructions, metaInstructions: episodes };
}
