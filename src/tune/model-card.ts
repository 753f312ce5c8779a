/** The model card of a pretrained model: README.md as the hub reads it, from the recipe and what was measured. */
import type { CorpusName, CorpusSize, CorpusSplit } from '../data/index.ts';
import { OPTIMIZERS, resolveOptions } from '../train/index.ts';
import { languageOptionsOf, trainerOptionsOf } from './config.ts';
import type { Recipe } from './recipe.ts';

export interface CardFacts {
  readonly recipe: Recipe;
  readonly parameters: number;
  /** Positions that the model remembers in training; null for all. */
  readonly contextLength: number | null;
  /** Tokens of all training texts, once. */
  readonly tokens: number;
  readonly steps: number;
  readonly sizes: ReadonlyMap<CorpusName, Readonly<Record<CorpusSplit, CorpusSize>>>;
  /** Bits per byte of held-out text, by source. */
  readonly bitsPerByte: Readonly<Record<string, number>>;
}

const mebibytes = (bytes: number): string => (bytes / 2 ** 20).toFixed(2);
const count = (n: number): string => n.toLocaleString('en');

/** Markdown with the front matter of a model card. */
export function renderModelCard({
  recipe,
  contextLength,
  parameters,
  tokens,
  steps,
  sizes,
  bitsPerByte,
}: CardFacts): string {
  const { model, training } = recipe;
  const { batchSize: rows, maxLength: length } = languageOptionsOf(training);
  const { learningRate, precision, optimizer } = resolveOptions({ ...trainerOptionsOf(training), steps });
  const rowsOfData = [...sizes].map(
    ([name, { train, 'held-out': held }]) =>
      `| ${name} | ${count(train.documents)} | ${mebibytes(train.bytes)} | ${count(held.documents)} | ${bitsPerByte[name]?.toFixed(3) ?? '-'} |`,
  );
  const modelType = String(model['model_type']);
  const carried =
    contextLength === null ? 'with its state carried' : `with up to ${count(contextLength)} positions remembered`;
  const scored =
    contextLength === null ? 'the state carried to its end' : `${count(contextLength)} positions remembered`;
  return `---
license: apache-2.0
language: en
pipeline_tag: text-generation
tags: [${modelType}, krait]
---

# A small ${modelType} language model

${count(parameters)} parameters: ${model['num_hidden_layers']} layers of ${model['hidden_size']} channels, ${count(recipe.vocabSize)} byte-pair tokens learned from the
same text. Made from nothing by \`krait pretrain\` with the recipe beside this card, to be fine-tuned, tested and measured
on an ordinary computer. It knows the words of its sources and little else: do not ask it for facts.

| source | documents | MiB | held-out documents | held-out bits per byte |
|---|---|---|---|---|
${rowsOfData.join('\n')}

${count(steps)} steps of ${rows} x ${length} tokens (${((steps * rows * length) / tokens).toFixed(2)} passes over ${count(tokens)} tokens), every document read as
a stream ${carried}; ${OPTIMIZERS[optimizer].title}, learning rate ${learningRate}, ${precision}; weights stored in ${recipe.saveDtype}. The loss of
every step is in \`metrics.jsonl\`. Bits per byte count a document's bytes after its first token,
${scored}.
`;
}
