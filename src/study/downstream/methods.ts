/**
 * The ways of instruction tuning that are compared. The subset is that of the Hugging Face recipe for Mamba of the
 * paper's time; Transformers have no x_proj and no such subset, so they are tuned in full and by LoRA on all linear layers.
 */
import { ConfigError } from '../../core/index.ts';
import { ALL_LINEAR } from '../../io/index.ts';
import type { LanguageModel } from '../../models/index.ts';
import { attachLora, type LoraAdapter, type PiecesOf } from '../../tune/index.ts';

export const METHODS = ['full', 'lora-all', 'lora-subset', 'lora-x', 'lora-x-untied'] as const;
export type Method = (typeof METHODS)[number];
/** Methods of a kind share a learning rate. */
export const METHOD_KINDS = ['full', 'lora'] as const;
export type MethodKind = (typeof METHOD_KINDS)[number];

export const kindOf = (method: Method): MethodKind => (method === 'full' ? 'full' : 'lora');
/** The method that stands for its kind where learning rates are tried. */
export const TRIED: Readonly<Record<MethodKind, Method>> = { full: 'full', lora: 'lora-all' };

interface MethodInfo {
  readonly title: string;
  readonly targets: readonly string[] | string;
  /** Whether it needs a layer that Mambas alone have. */
  readonly isOfMamba: boolean;
}

export const METHOD_INFO: Readonly<Record<Method, MethodInfo>> = {
  full: { title: 'full fine-tuning', targets: [], isOfMamba: false },
  'lora-all': { title: 'LoRA, all linear layers', targets: ALL_LINEAR, isOfMamba: false },
  'lora-subset': {
    title: 'LoRA, subset (x_proj, embeddings, in_proj, out_proj)',
    targets: ['x_proj', 'embeddings', 'in_proj', 'out_proj'],
    isOfMamba: true,
  },
  'lora-x': { title: 'LoRA, x_proj alone (shared down-projection)', targets: ['x_proj'], isOfMamba: true },
  'lora-x-untied': { title: 'LoRA, x_proj alone (three down-projections)', targets: ['x_proj'], isOfMamba: true },
};

/** Whether a family has the layers that a method adapts. */
export const isMambaFamily = (family: string): boolean => family !== 'gpt_neox';
export const fits = (method: Method, family: string): boolean =>
  isMambaFamily(family) || !METHOD_INFO[method].isOfMamba;

/** Rows of x_proj by what they are for: the step's input, B, C. @throws ConfigError for a model without them */
function selectionPieces({ config, family }: LanguageModel): PiecesOf {
  if (!('timeStepRank' in config)) throw new ConfigError(`untied: ${family} has no x_proj`);
  const { timeStepRank, stateSize } = config;
  return ({ name }) => (name.endsWith('.x_proj') ? [timeStepRank, stateSize, stateSize] : null);
}

/** The adapter of a method on a model, null for full fine-tuning. Alpha is twice the rank. */
export function adapterOf(
  method: Method,
  model: LanguageModel,
  { rank, pairRank, seed }: { rank: number; pairRank: number; seed: number },
): LoraAdapter | null {
  if (method === 'full') return null;
  const r = method === 'lora-x' || method === 'lora-x-untied' ? pairRank : rank;
  const piecesOf = method === 'lora-x-untied' ? selectionPieces(model) : undefined;
  const targetModules = METHOD_INFO[method].targets;
  return attachLora(model, { r, loraAlpha: 2 * r, targetModules }, { seed, piecesOf });
}
