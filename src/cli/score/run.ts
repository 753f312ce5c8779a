/** Work of `krait score`: log-probabilities and perplexity of a text, and on request all logits and gradients. */
import { UsageError } from '../../core/index.ts';
import { type TensorEntry, tensorEntry, writeSafetensors } from '../../io/index.ts';
import { type LanguageModel, scoreTokens } from '../../models/index.ts';
import { backward, reshape } from '../../tensor/index.ts';
import { nodeFiles } from '../files.ts';
import type { Output } from '../output.ts';
import { openModel, openWeights } from '../session.ts';
import type { ScoreFlags } from './command.ts';

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

/** The model, with token ids of the input and its length in bytes; token ids have no bytes and need no tokenizer. */
async function openInput(options: ScoreFlags, output: Output) {
  if (options.tokens) return { ...(await openWeights(options, output)), ids: options.tokens, bytes: null };
  const text = options.text ?? (await nodeFiles.readText(options.file!));
  const opened = await openModel(options, output);
  return { ...opened, ids: opened.tokenizer.encode(text), bytes: Buffer.byteLength(text) };
}

export async function run(options: ScoreFlags, output: Output): Promise<void> {
  const given = [options.text, options.file, options.tokens].filter((x) => x !== undefined);
  if (given.length !== 1)
    throw new UsageError(`krait score takes one of --text, --file and --tokens, got ${given.length}`);
  if (options.gradients && options.dtype === 'int8') {
    throw new UsageError('--gradients: weights in int8 have none; give --dtype f32, bf16 or f16');
  }
  const { model, ids, bytes, close } = await openInput(options, output);
  try {
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
  } finally {
    close();
  }
}
