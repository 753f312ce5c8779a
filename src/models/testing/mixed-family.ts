/**
 * A family for tests: layers by a pattern of letters, M for Mamba, * for attention, - for an MLP, which remembers nothing.
 * Not a model that anybody publishes; what holds for it holds for every order of these mixers.
 */
import { ConfigError } from '../../core/index.ts';
import { constant, normal } from '../checkpoint/table.ts';
import type { Family, FamilyConfig } from '../families/family.ts';
import type { ModelConfig } from '../families/index.ts';
import { type LanguageModel, languageBlueprint } from '../heads/language-model.ts';
import { attentionMixer, type Blueprint, mambaMixer, mlpMixer, STEP_RANGE } from '../index.ts';

export interface MixedConfig extends FamilyConfig {
  readonly pattern: string;
}

const INNER = 24;
const linear = { weight: normal(0.2), bias: constant(0) };

const mixersOf = (hiddenSize: number) => ({
  M: mambaMixer({
    hiddenSize,
    innerSize: INNER,
    stateSize: 4,
    stepRank: 2,
    conv: { kernel: 4, hasBias: true },
    hasBias: false,
    selectionEps: null,
    dropout: 0,
    steps: STEP_RANGE,
  }),
  '*': attentionMixer({
    hiddenSize,
    heads: 2,
    names: { qkv: 'qkv_proj', out: 'o_proj' },
    order: 'by-part',
    isCausal: true,
    rotary: { size: 4, base: 10_000 },
    initial: { qkv: linear, out: linear },
  }),
  '-': mlpMixer({
    hiddenSize,
    innerSize: INNER,
    activation: 'silu',
    names: { up: 'up_proj', down: 'down_proj' },
    initial: { up: linear, down: linear },
    dropout: 0,
  }),
});

const common = { initializerRange: 0.2, eosTokenIds: [], bosTokenId: null, padTokenId: null, source: {} };

export const MIXED: Family<MixedConfig> = {
  modelTypes: ['mixed'],
  keys: ['model_type', 'pattern', 'hidden_size', 'vocab_size'],
  floatKeys: ['initializer_range'],
  parse: () => {
    throw new ConfigError('config.json: a mixed model is not read from files');
  },
  toJson: (c) => ({ model_type: 'mixed', pattern: c.pattern, hidden_size: c.hiddenSize, vocab_size: c.vocabSize }),
  resolve: (config) => ({ ...config, tieWordEmbeddings: config.tieWordEmbeddings ?? true }),
  plan(c) {
    const mixers = mixersOf(c.hiddenSize);
    const letters = [...c.pattern] as (keyof typeof mixers)[];
    return {
      vocabSize: c.vocabSize,
      contextLength: c.pattern.includes('*') ? 64 : null,
      table: { module: 'embed', initial: normal(0.2) },
      head: { module: 'head', initial: normal(0.2) },
      backbone: {
        hiddenSize: c.hiddenSize,
        layers: 'layers',
        blocks: letters.map((letter) => ({
          branches: [{ norm: 'norm', module: 'mixer', mixer: mixers[letter] }],
        })),
        finalNorm: 'final_norm',
        norm: { kind: 'rms', eps: 1e-5 },
        streamInF32: true,
      },
    };
  },
  names: { variants: (name) => [name], isIgnored: () => false },
};

/** A mixed model of 40 tokens and 16 channels. */
export function mixedBlueprint(pattern: string): Blueprint<LanguageModel> {
  const sizes = { vocabSize: 40, hiddenSize: 16, numHiddenLayers: pattern.length, tieWordEmbeddings: true };
  const config: MixedConfig = { ...common, ...sizes, modelType: 'mixed', pattern };
  return languageBlueprint(config as unknown as ModelConfig, MIXED as Family);
}
