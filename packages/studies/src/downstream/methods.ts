/**
 * The ways of tuning that are compared. Meta-training comes before the others, which start from what it gives: episodes
 * teach a model to learn from examples, all weights but the embeddings (trained too, these learn the label words of
 * tuning by heart, and other words are not copied). The subset is that of the Hugging Face recipe for Mamba of the
 * paper's time; Transformers have no x_proj and no such subset, so they are tuned in full and by LoRA on all linear layers.
 */
import { ConfigError } from 'krait/core';
import { ALL_LINEAR } from 'krait/io';
import type { LanguageModel } from 'krait/models';
import type { TrainedParameter } from 'krait/train';
import { adapterParameters, allParameters, attachLora, type LoraAdapter, type RowGroupsOf } from 'krait/tune';

export const METHODS = ['meta', 'full', 'lora-all', 'lora-subset', 'lora-x', 'lora-x-untied'] as const;
export type Method = (typeof METHODS)[number];
/** For methods of a kind the same learning rates are tried. */
export type MethodKind = 'meta' | 'full' | 'lora';

export const isLora = (method: Method): boolean => method !== 'meta' && method !== 'full';
export const kindOf = (method: Method): MethodKind => (isLora(method) ? 'lora' : (method as 'meta' | 'full'));

interface MethodInfo {
  readonly title: string;
  readonly targets: readonly string[] | string;
  /** Whether it needs a layer that Mambas alone have. */
  readonly isOfMamba: boolean;
}

export const METHOD_INFO: Readonly<Record<Method, MethodInfo>> = {
  meta: { title: 'meta-trained', targets: [], isOfMamba: false },
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
export const isMambaFamily = (family: string): boolean => ['mamba', 'falcon_mamba'].includes(family);
export const fits = (method: Method, family: string): boolean =>
  isMambaFamily(family) || !METHOD_INFO[method].isOfMamba;

/** Rows of x_proj by what they are for: the step's input, B, C. @throws ConfigError for a model without them */
function selectionGroups({ config, family }: LanguageModel): RowGroupsOf {
  if (!('timeStepRank' in config)) throw new ConfigError(`untied: ${family} has no x_proj`);
  const { timeStepRank, stateSize } = config;
  return ({ name }) => (name.endsWith('.x_proj') ? [timeStepRank, stateSize, stateSize] : null);
}

/** Tables of embeddings and output heads, by the names of the checkpoints. */
const isVocabulary = (name: string): boolean => /embed|lm_head/.test(name);

/** What a method trains. */
export function parametersOf(method: Method, model: LanguageModel, adapter: LoraAdapter | null): TrainedParameter[] {
  if (adapter) return adapterParameters(adapter);
  const all = allParameters(model);
  if (method !== 'meta') return all;
  for (const { name, tensor } of all) if (isVocabulary(name)) tensor.trainable(false);
  return all.filter(({ name }) => !isVocabulary(name));
}

/** The adapter of a method on a model, null where its own weights are trained. Alpha is twice the rank. */
export function adapterOf(
  method: Method,
  model: LanguageModel,
  { rank, pairRank, seed }: { rank: number; pairRank: number; seed: number },
): LoraAdapter | null {
  if (!isLora(method)) return null;
  const r = method === 'lora-x' || method === 'lora-x-untied' ? pairRank : rank;
  const rowGroupsOf = method === 'lora-x-untied' ? selectionGroups(model) : undefined;
  const targetModules = METHOD_INFO[method].targets;
  return attachLora(model, { r, loraAlpha: 2 * r, targetModules }, { seed, rowGroupsOf });
}
