/** `krait score`: log-probabilities and perplexity of a text. The flags alone; `run.ts` does the work. */
import type { Command } from 'commander';
import { UsageError } from '../../core/index.ts';
import { list, type ModelOptions, withModelOptions } from '../options.ts';
import { outputOf } from '../output.ts';

export interface ScoreFlags extends ModelOptions {
  text?: string;
  file?: string;
  tokens?: number[];
  logits?: string;
  gradients?: string;
}

/** `1,2,3` as numbers. */
const tokenList = list(
  (part) => (Number.isInteger(Number(part)) && Number(part) >= 0 ? Number(part) : undefined),
  (part) => new UsageError(`--tokens: ${JSON.stringify(part)} is not a token id; give whole numbers such as 1,2,3`),
);

export function define(command: Command): Command {
  return withModelOptions(command, { takesInt8: true })
    .option('--text <text>', 'text to score')
    .option('--file <path>', 'text file to score')
    .option('--tokens <ids>', 'token ids, such as 1,2,3; needs no tokenizer', tokenList)
    .option('--logits <out.safetensors>', 'write logits [tokens, vocabulary] in f32')
    .option('--gradients <out.safetensors>', 'write the gradient of the mean next-token loss for every parameter')
    .action(async (flags: ScoreFlags) => (await import('./run.ts')).run(flags, outputOf(flags)));
}
