/** Keys that all configurations have, and the checks that their files share. */
import { z } from 'zod';

/** Fields of every family's configuration. */
export interface CommonConfig {
  vocabSize: number;
  hiddenSize: number;
  numHiddenLayers: number;
  /** Null where the file does not say: the checkpoint shows whether it has a head of its own. */
  tieWordEmbeddings: boolean | null;
  /** Standard deviation of the first weights of a new model. */
  initializerRange: number;
  /** End-of-text ids, none to many. */
  eosTokenIds: number[];
  bosTokenId: number | null;
  padTokenId: number | null;
  /** The file's own keys, so that those Krait does not use survive a save. */
  source: Readonly<Record<string, unknown>>;
}

export const size = z.int().min(1);
/** Far more than any model has; a table of the tensors of a billion layers would fill the memory. */
export const layerCount = size.max(10_000);
export const positive = z.number().positive();
const tokenId = z.int().min(0);

/** Keys of Hugging Face's dialect that every family has. */
export const commonKeys = {
  vocab_size: size,
  hidden_size: size,
  num_hidden_layers: layerCount,
  tie_word_embeddings: z.boolean().nullish(),
  initializer_range: positive.default(0.02),
  eos_token_id: z.union([tokenId, z.array(tokenId)]).nullish(),
  bos_token_id: tokenId.nullish(),
  pad_token_id: tokenId.nullish(),
};

type CommonKeys = z.infer<z.ZodObject<typeof commonKeys>>;

/** The common fields of a file in Hugging Face's dialect. */
export function commonFields(c: CommonKeys, source: Record<string, unknown>): CommonConfig {
  const eos = c.eos_token_id ?? [];
  return {
    vocabSize: c.vocab_size,
    hiddenSize: c.hidden_size,
    numHiddenLayers: c.num_hidden_layers,
    tieWordEmbeddings: c.tie_word_embeddings ?? null,
    initializerRange: c.initializer_range,
    eosTokenIds: typeof eos === 'number' ? [eos] : eos,
    bosTokenId: c.bos_token_id ?? null,
    padTokenId: c.pad_token_id ?? null,
    source,
  };
}

/** The ids of a configuration as Hugging Face writes them. */
export function tokenIdKeys({ eosTokenIds: eos, bosTokenId, padTokenId }: CommonConfig): Record<string, unknown> {
  return {
    eos_token_id: eos.length === 0 ? null : eos.length === 1 ? eos[0] : eos,
    bos_token_id: bosTokenId,
    pad_token_id: padTokenId,
  };
}
