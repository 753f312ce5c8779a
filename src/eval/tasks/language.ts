/** Tasks that ask how probable real text is. */
import { z } from 'zod';
import { countWords, SPACES } from '../python/text.ts';
import { defineTask } from './task.ts';

export const lambadaOpenai = defineTask({
  name: 'lambada_openai',
  summary: 'the last word of a passage, which only the whole of it tells',
  version: 1,
  output: 'loglikelihood',
  data: { id: 'EleutherAI/lambada_openai', config: 'default', folder: 'lambada_openai', stems: () => ['lambada_test'] },
  split: 'test',
  fewShot: { split: 'test', order: 'random', excludesSelf: false },
  metrics: ['perplexity', 'acc'],
  row: z.object({ text: z.string() }),
  question({ text }) {
    const words = text.split(' ');
    return { kind: 'continuation', prompt: words.slice(0, -1).join(' '), target: ` ${words[words.length - 1]}` };
  },
});

const SPACE = `[${SPACES}]*`;

/** White space just inside a pair of marks is dropped. */
const hugging = (open: string, close: string, inner: string): [RegExp, string] => [
  new RegExp(`${open}${SPACE}(${inner}*?)${SPACE}${close}`, 'g'),
  `${open.replace('\\', '')}$1${close.replace('\\', '')}`,
];

/** WikiText's tokens as ordinary text: what is replaced by what, in this order (lm-eval's detokeniser, version 2). */
const DETOKENISED: readonly (readonly [string | RegExp, string])[] = [
  ["s '", "s'"],
  [/\/' [0-9]\//g, "/'[0-9]/"],
  [' @-@ ', '-'],
  [' @,@ ', ','],
  [' @.@ ', '.'],
  ...[...':;.!?,'].map((mark): [string, string] => [` ${mark} `, `${mark} `]),
  hugging('\\(', '\\)', '[^)]'),
  hugging('\\[', '\\]', '[^\\]]'),
  hugging('{', '}', '[^}]'),
  hugging('"', '"', '[^"]'),
  hugging("'", "'", "[^']"),
  ['= = = =', '===='],
  ['= = =', '==='],
  ['= =', '=='],
  [' \u00b0 ', '\u00b0'],
  [' \n', '\n'],
  ['\n ', '\n'],
  [' N ', ' 1 '],
  [" 's", "'s"],
];

export const detokenise = (page: string): string =>
  DETOKENISED.reduce((text, [from, to]) => text.replaceAll(from, to), page);

export const wikitext = defineTask({
  name: 'wikitext',
  summary: 'articles of Wikipedia as wholes: perplexity of words and bytes',
  version: 2,
  output: 'loglikelihood_rolling',
  data: { id: 'EleutherAI/wikitext_document_level', config: 'wikitext-2-raw-v1', folder: 'wikitext' },
  split: 'test',
  fewShot: { split: 'train', order: 'random', excludesSelf: false },
  metrics: ['word_perplexity', 'byte_perplexity', 'bits_per_byte'],
  row: z.object({ page: z.string() }),
  question: ({ page }) => ({
    kind: 'text',
    text: detokenise(page),
    // Of the page before it is made ordinary text.
    words: countWords(page),
    bytes: new TextEncoder().encode(page).length,
  }),
});
