/** `krait score`: log-probabilities and perplexity of a text, and on request all logits and gradients. */
import type { Command } from 'commander';
import { UsageError } from '../../core/index.ts';
import { type TensorEntry, tensorEntry, writeSafetensors } from '../../io/index.ts';
import { type LanguageModel, scoreTokens } from '../../models/index.ts';
import { backward, reshape } from '../../tensor/index.ts';
import { type ModelOptions, nodeFiles, Output, openModel, tokenizerFor, withModelOptions } from '../session.ts';

interface Options extends ModelOptions {
  text?: string;
  file?: string;
  tokens?: number[];
  logits?: string;
  gradients?: string;
}

/** Token ids of the input, and its length in bytes where it came as text. */
async function readInput(
  options: Options,
  model: LanguageModel,
  folder: string,
): Promise<{ ids: number[]; bytes: number | null }> {
  if (options.tokens) return { ids: options.tokens, bytes: null };
  const text = options.text ?? (await nodeFiles.readText(options.file!));
  const tokenizer = await tokenizerFor(model, folder);
  return { ids: tokenizer.encode(text), bytes: Buffer.byteLength(text) };
}

/** Writes logits f32 [tokens, vocabulary]. */
async function writeLogits(model: LanguageModel, ids: number[], path: string): Promise<void> {
  const { device } = model;
  const logits = device.noGrad(() =>
    device.scope(() => {
      const { hidden } = model.forward(device.from(ids, [1, ids.length], 'i32'));
      return reshape(model.logits(hidden), [ids.length, model.vocabSize]);
    }),
  );
  await writeSafetensors(nodeFiles, path, [tensorEntry('logits', logits, 'f32')]);
  logits.dispose();
}

/** Writes the gradient of the mean next-token loss for every parameter, under its checkpoint name, in f32. */
async function writeGradients(model: LanguageModel, ids: number[], path: string): Promise<void> {
  const { device } = model;
  for (const parameter of model.parameters.values()) parameter.trainable();
  const loss = device.scope(() => {
    const { hidden } = model.forward(device.from(ids.slice(0, -1), [1, ids.length - 1], 'i32'));
    return model.loss(hidden, device.from(ids.slice(1), [1, ids.length - 1], 'i32'), { normalizer: ids.length - 1 });
  });
  backward(loss);
  const entries: TensorEntry[] = [];
  for (const [name, parameter] of model.parameters) {
    entries.push(tensorEntry(name, parameter.grad ?? device.zeros(parameter.shape), 'f32'));
  }
  await writeSafetensors(nodeFiles, path, entries);
}

async function run(options: Options, output: Output): Promise<void> {
  const given = [options.text, options.file, options.tokens].filter((x) => x !== undefined);
  if (given.length !== 1)
    throw new UsageError(`krait score takes one of --text, --file and --tokens, got ${given.length}`);
  if (options.gradients && options.dtype === 'int8') {
    throw new UsageError('--gradients: weights in int8 have none; give --dtype f32, bf16 or f16');
  }
  const { model, device, folder } = await openModel(options, output);
  const { ids, bytes } = await readInput(options, model, folder);
  if (ids.length < 2)
    throw new UsageError(`krait score needs at least 2 tokens, got ${ids.length}; give a longer text`);
  const logprobs = await scoreTokens(model, ids);
  const nats = -logprobs.slice(1).reduce<number>((sum, x) => sum + x!, 0);
  const perplexity = Math.exp(nats / (ids.length - 1));
  const bitsPerByte = bytes ? nats / Math.LN2 / bytes : null;
  if (options.logits) await writeLogits(model, ids, options.logits);
  if (options.gradients) await writeGradients(model, ids, options.gradients);
  const summary = `${ids.length} tokens, perplexity ${perplexity.toFixed(3)}${bitsPerByte === null ? '' : `, ${bitsPerByte.toFixed(4)} bits per byte`}`;
  output.result({ tokens: ids, logprobs, perplexity, bitsPerByte }, () => summary);
  device.close();
}

/** `1,2,3` as numbers. */
function tokenList(text: string): number[] {
  const ids = text.split(',').map((part) => Number(part.trim() || Number.NaN));
  const bad = ids.findIndex((id) => !Number.isInteger(id) || id < 0);
  if (bad >= 0)
    throw new UsageError(
      `--tokens: ${JSON.stringify(text.split(',')[bad])} is not a token id; give whole numbers such as 1,2,3`,
    );
  return ids;
}

export function define(command: Command): Command {
  return withModelOptions(command, { takesInt8: true })
    .option('--text <text>', 'text to score')
    .option('--file <path>', 'text file to score')
    .option('--tokens <ids>', 'token ids, such as 1,2,3; needs no tokenizer', tokenList)
    .option('--logits <out.safetensors>', 'write logits [tokens, vocabulary] in f32')
    .option('--gradients <out.safetensors>', 'write the gradient of the mean next-token loss for every parameter')
    .action((options: Options) => run(options, new Output(options.json ?? false)));
}
