/**
 * The downstream-learner study of several models, cell by cell: scores as they are, trials of learning rates,
 * meta-training where it is asked for, instruction tuning in every way and precision, scores after it.
 */
import { ConfigError } from 'krait/core';
import type { Task } from 'krait/eval';
import {
  type CacheFileSystem,
  joinPath,
  loadTokenizer,
  type ModelIdentity,
  modelIdentity,
  TOKENIZER_FILES,
  type Tokenizer,
} from 'krait/io';
import { type LanguageModel, loadModel, readModelConfig, saveModel } from 'krait/models';
import type { Device } from 'krait/tensor';
import type { Precision } from 'krait/train';
import { detachLora } from 'krait/tune';
import {
  type CellResult,
  type CellSpec,
  cellFile,
  cellName,
  type MetaSpec,
  type StudyCell,
  StudyFolder,
  type TrialSpec,
  type TunedSpec,
  type UntunedSpec,
} from './cells.ts';
import type { InstructionSet } from './instructions.ts';
import { isLora, type Method } from './methods.ts';
import {
  allCells,
  metaCells,
  metaTrialCells,
  type PlannedModel,
  seedsOf,
  trialCells,
  tunedCells,
  untunedCells,
} from './plan.ts';
import { askedHash, asksOf, chanceOf, prepareTasks, scoreModel, type TaskSource } from './scoring.ts';
import type { DownstreamSettings } from './settings.ts';
import { Diverged, type TuningPlan, tuneModel } from './tuning.ts';

/** One model of the study. */
export interface DownstreamModel {
  /** What it is called; no two have the same. */
  readonly label: string;
  readonly folder: string;
}

export interface StudiedModel extends DownstreamModel, PlannedModel {
  readonly parameters: number;
}

export interface StudiedTask {
  readonly name: string;
  readonly summary: string;
  /** Accuracy of a guess; null where it is not known. */
  readonly chance: number | null;
  /** The first task that asks the same questions: itself, mostly. */
  readonly asks: string;
}

export interface DownstreamStudy {
  readonly settings: DownstreamSettings;
  readonly models: readonly StudiedModel[];
  /** Label of the model that shares are taken of; null for none. */
  readonly reference: string | null;
  readonly tasks: readonly StudiedTask[];
  /** What was tuned on, and meta-trained on; null where nothing was. */
  readonly instructions: string;
  readonly metaInstructions: string | null;
  readonly device: string;
  readonly cells: readonly StudyCell[];
  /** Cells of the whole study; more than there are in `cells` after a run that was cut short. */
  readonly planned: number;
}

export interface DownstreamInput {
  readonly device: Device;
  readonly files: CacheFileSystem;
  readonly models: readonly DownstreamModel[];
  readonly reference: string | null;
  readonly settings: DownstreamSettings;
  readonly source: Omit<TaskSource, 'shots' | 'limit' | 'tasks'>;
  /** Accuracy of a guess, where a task states it; else it is told from the number of choices. */
  readonly tasks: readonly (Task & { readonly chance?: number })[];
  readonly instructions: InstructionSet;
  /** Episodes for meta-training; needed where that is among the methods. */
  readonly metaInstructions?: InstructionSet;
  /** Folder of the study, where cells and checkpoints are kept. */
  readonly out: string;
  /** Most cells to measure in this run; all unless given. */
  readonly most?: number;
  readonly signal?: AbortSignal;
  readonly onWarning?: (line: string) => void;
  readonly onCell?: (name: string, isKept: boolean, number: number, of: number) => void;
  readonly onProgress?: (share: number, note: string) => void;
}

/** Format of the cells; results of another are measured again. */
const VERSION = 3;
/** What of a cell's time is tuning, roughly, for the progress bar. */
const TUNING_SHARE = 0.6;

/** Whether a cell is meta-training, or a trial of it. */
const isMeta = (spec: CellSpec): boolean => spec.kind === 'meta' || (spec.kind === 'trial' && spec.method === 'meta');
/** Whether a cell asks a meta-trained model as it is. */
const isMetaScore = (spec: CellSpec): spec is TunedSpec => spec.kind === 'tuned' && spec.method === 'meta';

/** A meta-training by model and seed; trials start from the first. */
const startKey = (spec: CellSpec): string => `${spec.model} ${'seed' in spec ? spec.seed : 0}`;

interface OpenStudy {
  readonly models: readonly (StudiedModel & { readonly tokenizer: Tokenizer; readonly contents: ModelIdentity })[];
  readonly store: StudyFolder;
  /** Differs for other questions or other examples. */
  readonly questions: ReadonlyMap<number, string>;
  readonly tasks: readonly StudiedTask[];
}

/** `tokenizers`: those of other models, by contents; models with the same share one, and what was tokenised with it. */
async function describeModel(
  { device, files }: DownstreamInput,
  { label, folder }: DownstreamModel,
  tokenizers: Map<string, Tokenizer>,
) {
  const contents = await modelIdentity(files, folder);
  const model = await loadModel(device, files, folder, { dtype: 'f32' });
  const parameters = [...model.parameters.values()].reduce((sum, { size }) => sum + size, 0);
  model.dispose();
  const { modelType: family } = await readModelConfig(files, folder);
  const own = JSON.stringify(Object.entries(contents).filter(([name]) => TOKENIZER_FILES.includes(name)));
  const tokenizer = tokenizers.get(own) ?? (await loadTokenizer(files, folder));
  tokenizers.set(own, tokenizer);
  return { label, folder, family, parameters, contents, tokenizer };
}

const taskSource = ({ source, tasks, settings }: DownstreamInput): TaskSource => ({ ...source, tasks, ...settings });

async function openStudy(input: DownstreamInput): Promise<OpenStudy> {
  if (input.settings.methods.includes('meta') && !input.metaInstructions) {
    throw new ConfigError('methods: meta-training needs episodes; give metaInstructions, or leave meta out');
  }
  const models: Awaited<ReturnType<typeof describeModel>>[] = [];
  const tokenizers = new Map<string, Tokenizer>();
  for (const model of input.models) models.push(await describeModel(input, model, tokenizers));
  const questions = new Map<number, string>();
  let studied: StudiedTask[] = [];
  for (let seed = 0; seed < input.settings.seeds; seed++) {
    const tasks = await prepareTasks(taskSource(input), seed);
    const asks = asksOf(tasks);
    studied = tasks.map(({ task: { name, summary }, questions: asked }, i) => {
      return { name, summary, chance: input.tasks[i].chance ?? chanceOf(asked), asks: asks[i] };
    });
    questions.set(seed, await askedHash(tasks, input.settings.shots));
  }
  const store = new StudyFolder(input.files, input.out, input.onWarning);
  await store.cells.prepare();
  return { models, store, questions, tasks: studied };
}

class DownstreamRun {
  private readonly cells: StudyCell[] = [];
  private measured = 0;
  private readonly rates = new Map<string, number>();
  /** Meta-trained models by label and seed: what tuning of that seed starts from. */
  private readonly starts = new Map<string, { readonly folder: string; readonly contents: ModelIdentity }>();
  /** Why a model has no start: its meta-training of that seed diverged. */
  private readonly failures = new Map<string, string>();
  private readonly total: number;

  constructor(
    private readonly input: DownstreamInput,
    private readonly open: OpenStudy,
  ) {
    this.total = allCells(open.models, input.settings).length;
  }

  async run(): Promise<DownstreamStudy> {
    const { models } = this.open;
    const { settings } = this.input;
    let isWhole =
      (await this.all(untunedCells(models, settings))) &&
      (await this.all(metaTrialCells(models, settings))) &&
      this.chooseRates();
    for (const seed of seedsOf(settings)) {
      isWhole =
        isWhole &&
        (await this.all(metaCells(models, settings, seed))) &&
        // Rates are searched once, from what the first meta-training gave.
        (seed > 0 || ((await this.all(trialCells(models, settings))) && this.chooseRates())) &&
        (await this.all(tunedCells(models, settings, seed)));
    }
    if (!isWhole)
      this.input.onWarning?.(`${this.cells.length} of ${this.total} cells are measured; go on with --resume`);
    return this.result();
  }

  /** Measures cells in turn; false once this run has measured as many as it may. */
  private async all(specs: readonly CellSpec[]): Promise<boolean> {
    for (const spec of specs) if (!(await this.one(spec))) return false;
    return true;
  }

  private async one(spec: CellSpec): Promise<boolean> {
    const { input, open } = this;
    input.signal?.throwIfAborted();
    const name = cellFile(
      spec,
      open.models.findIndex(({ label }) => label === spec.model),
    );
    const failure = this.isFirst(spec) ? undefined : this.failures.get(startKey(spec));
    if (failure !== undefined) {
      this.cells.push({ spec, result: { seconds: 0, scores: null, cost: null, rate: null, failure } });
      return true;
    }
    const identity = this.identityOf(spec);
    const weights = spec.kind === 'meta' ? await open.store.metaFolder(name, identity) : null;
    const read = await open.store.cells.read(name, identity);
    const kept = read && (weights === null || (await this.isWhole(read, weights))) ? read : null;
    if (!kept && input.most !== undefined && this.measured >= input.most) return false;
    input.onCell?.(cellName(spec), kept !== null, this.cells.length + 1, this.total);
    const result = kept ?? (await this.measure(spec, name, identity, weights));
    this.cells.push({ spec, result });
    if (weights !== null) this.begin(spec, weights, result);
    return true;
  }

  /** Whether the weights of a meta-training are as it left them; one that diverged has none. */
  private async isWhole({ failure, weights }: CellResult, folder: string): Promise<boolean> {
    const { files } = this.input;
    if (failure !== null) return true;
    if (!(await files.exists(joinPath(folder, 'config.json')))) return false;
    return JSON.stringify(await modelIdentity(files, folder)) === JSON.stringify(weights);
  }

  /** From here on the model is tuned from what meta-training gave, or not at all. */
  private begin(spec: CellSpec, folder: string, { failure, rate, weights }: CellResult): void {
    if (failure === null) {
      this.starts.set(startKey(spec), { folder, contents: weights! });
      return;
    }
    this.failures.set(startKey(spec), `not measured, as meta-training at rate ${rate} diverged: ${failure}`);
    this.input.onWarning?.(
      `${spec.model}: meta-training at rate ${rate} diverged: ${failure}; give lower --meta-rates`,
    );
  }

  /** All that a cell's result depends on. */
  private identityOf(spec: CellSpec): unknown {
    const { input, open } = this;
    const { shots, limit, batchSize, maxLength, warmup, rank, pairRank } = input.settings;
    const { name, backend } = input.device;
    // The tokenizer is among the files of the model as it is.
    const contents = { model: this.modelOf(spec).contents, start: this.startOf(spec).contents };
    const common = { version: VERSION, spec, contents, device: `${name} ${backend.variant}` };
    const scored = 'seed' in spec ? { shots, limit, questions: open.questions.get(spec.seed) } : null;
    if (spec.kind === 'untuned' || isMetaScore(spec)) return { ...common, scored };
    const plan = this.planOf(spec);
    const settings = { batchSize, maxLength, warmup, ...(isLora(plan.method) && { rank, pairRank }) };
    return { ...common, scored, settings, plan, instructions: this.instructionsOf(spec).hash };
  }

  private instructionsOf(spec: CellSpec): InstructionSet {
    const { instructions, metaInstructions } = this.input;
    return isMeta(spec) ? metaInstructions! : instructions;
  }

  /** What a cell starts from: the model as it is, or meta-trained. */
  private startOf(spec: CellSpec): { readonly folder: string; readonly contents: ModelIdentity } {
    return this.isFirst(spec) ? this.modelOf(spec) : this.starts.get(startKey(spec))!;
  }

  /** Whether a cell starts from the model as it is. */
  private isFirst = (spec: CellSpec): boolean =>
    spec.kind === 'untuned' || isMeta(spec) || !this.input.settings.methods.includes('meta');

  private modelOf = ({ model }: CellSpec) => this.open.models.find(({ label }) => label === model)!;

  private async measure(spec: CellSpec, name: string, identity: unknown, weights: string | null): Promise<CellResult> {
    const { store } = this.open;
    const startedMs = performance.now();
    const folder = await store.tuningFolder(name, identity);
    const result = await (spec.kind === 'untuned' || isMetaScore(spec)
      ? this.asItIs(spec)
      : this.tuned(spec, folder, weights));
    const timed = { ...result, seconds: (performance.now() - startedMs) / 1000 };
    const written = await store.cells.write(name, identity, timed, { spec });
    await this.input.files.remove(folder);
    if (weights !== null) await store.removeOtherMeta(name, weights);
    this.measured++;
    return written;
  }

  /** Weights that are trained are f32; others are in the precision of the run. */
  private load(spec: CellSpec, activations: Precision, dtype: Precision = activations): Promise<LanguageModel> {
    const { device, files } = this.input;
    return loadModel(device, files, this.startOf(spec).folder, { dtype, activations });
  }

  private async score(spec: UntunedSpec | TunedSpec, model: LanguageModel, from: number) {
    const { input } = this;
    const { shots } = input.settings;
    const tasks = await prepareTasks(taskSource(input), spec.seed);
    const onProgress = (share: number, note: string) => input.onProgress?.(from + (1 - from) * share, note);
    return scoreModel(model, this.modelOf(spec).tokenizer, tasks, { shots, signal: input.signal, onProgress });
  }

  private async asItIs(spec: UntunedSpec | TunedSpec): Promise<Omit<CellResult, 'seconds'>> {
    const model = await this.load(spec, spec.precision);
    try {
      return { scores: await this.score(spec, model, 0), cost: null, rate: null, failure: null };
    } finally {
      model.dispose();
    }
  }

  /**
   * A tuned cell; or a trial or meta-training, which are asked for their validation loss alone. Of meta-training the
   * weights are kept.
   */
  private async tuned(
    spec: TrialSpec | MetaSpec | TunedSpec,
    folder: string,
    weights: string | null,
  ): Promise<Omit<CellResult, 'seconds'>> {
    const { input } = this;
    const { settings, files, signal } = input;
    const instructions = this.instructionsOf(spec);
    const share = spec.kind === 'tuned' ? TUNING_SHARE : 1;
    const plan = this.planOf(spec);
    const { tokenizer } = this.modelOf(spec);
    const model = await this.load(spec, plan.precision, isLora(plan.method) ? plan.precision : 'f32');
    try {
      const { cost, adapter } = await tuneModel({
        model,
        plan,
        settings,
        train: instructions.train(tokenizer, settings.maxLength),
        validation: instructions.validation(tokenizer, settings.maxLength),
        place: { files, folder },
        signal,
        onStep: (step, note) => input.onProgress?.((step / plan.steps) * share, note),
      });
      if (weights !== null) await saveModel(model, files, weights);
      const left = weights === null ? {} : { weights: await modelIdentity(files, weights) };
      const scores = spec.kind === 'tuned' ? await this.score(spec, model, TUNING_SHARE) : null;
      if (adapter) detachLora(adapter);
      return { scores, cost, rate: plan.rate, failure: null, ...left };
    } catch (error) {
      if (!(error instanceof Diverged)) throw error;
      return { scores: null, cost: null, rate: plan.rate, failure: error.message };
    } finally {
      model.dispose();
    }
  }

  private planOf(spec: TrialSpec | MetaSpec | TunedSpec): TuningPlan {
    const { steps, searchSteps, meta } = this.input.settings;
    const inF32 = { precision: 'f32', seed: 0 } as const;
    switch (spec.kind) {
      case 'tuned':
        return { ...spec, rate: this.rateOf(spec.model, spec.method), steps };
      case 'meta':
        return { ...inF32, method: 'meta', seed: spec.seed, rate: this.rateOf(spec.model, 'meta'), steps: meta.steps };
      case 'trial':
        return { ...inF32, ...spec, steps: spec.method === 'meta' ? meta.searchSteps : searchSteps };
    }
  }

  private rateOf = (model: string, method: Method): number => this.rates.get(`${model} ${method}`)!;

  /** For each model and method the rate with the lowest validation loss; the first, which is the lowest, if none has one. */
  private chooseRates(): true {
    for (const { model, method, rate } of bestTrials(this.cells)) this.rates.set(`${model} ${method}`, rate);
    return true;
  }

  private result(): DownstreamStudy {
    const { settings, reference, instructions, metaInstructions, device } = this.input;
    return {
      settings,
      models: this.open.models.map(({ label, folder, family, parameters }) => ({ label, folder, family, parameters })),
      reference,
      tasks: this.open.tasks,
      instructions: instructions.source,
      metaInstructions: metaInstructions?.source ?? null,
      device: `${device.name} ${device.backend.variant}`,
      cells: this.cells,
      planned: this.total,
    };
  }
}

export interface BestTrial {
  readonly model: string;
  readonly method: Method;
  readonly rate: number;
  readonly loss: number;
}

/** The best trial of every model and method. */
export function bestTrials(cells: readonly StudyCell[]): BestTrial[] {
  const best = new Map<string, BestTrial>();
  for (const { spec, result } of cells) {
    if (spec.kind !== 'trial') continue;
    const { model, method, rate } = spec;
    const loss = result.cost?.validationLoss ?? Number.POSITIVE_INFINITY;
    const before = best.get(`${model} ${method}`);
    if (!before || loss < before.loss) best.set(`${model} ${method}`, { model, method, rate, loss });
  }
  return [...best.values()];
}

/**
 * Measures every cell that has no result yet.
 * @throws the signal's reason once it fires: what was measured is kept
 */
export async function studyDownstream(input: DownstreamInput): Promise<DownstreamStudy> {
  return new DownstreamRun(input, await openStudy(input)).run();
}
