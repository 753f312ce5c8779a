/**
 * Work that is measured, and shapes of models that it is measured on, by name. They stand apart from the measuring,
 * because the command line lists them before it loads a model.
 */

export const WORKS = ['prefill', 'decode', 'train', 'lora'] as const;
/** Reading a prompt, writing after it, a step of full fine-tuning, a step of LoRA. */
export type Work = (typeof WORKS)[number];

export const SHAPES = {
  /** state-spaces/mamba-130m */
  '130m': { hidden_size: 768, num_hidden_layers: 24, vocab_size: 50280 },
  /** The model that the package carries. */
  base: { hidden_size: 192, num_hidden_layers: 8, vocab_size: 4096 },
  /** EleutherAI/pythia-160m */
  'pythia-160m': {
    model_type: 'gpt_neox',
    hidden_size: 768,
    num_hidden_layers: 12,
    num_attention_heads: 12,
    intermediate_size: 3072,
    vocab_size: 50304,
    tie_word_embeddings: false,
  },
} as const;
export type ShapeName = keyof typeof SHAPES;
export const SHAPE_NAMES = Object.keys(SHAPES) as ShapeName[];
