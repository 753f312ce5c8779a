/**
 * Stand-ins for the npm packages that carry data, in the same formats, made of random words: a hundredth of their size, and
 * enough mails for every split. The real ones are read by `npm run test:all`.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { EnvironmentError, HostRandom } from '../../core/index.ts';
import { MOBY_DICK_PACKAGE, SOTU_PACKAGE } from '../corpora.ts';
import type { DataSource } from '../data-source.ts';
import { MAIL_GROUPS, SPAM_PACKAGE, TEST_MAILS, VALIDATION_MAILS } from '../spam.ts';
import { WORDNET_PACKAGE } from '../wordnet.ts';

export const SMALL_VERSION = '9.8.7';
const TRAIN_MAILS = 60;
const [WORDS_OF_A_MAIL, WORDS_OF_A_TEXT] = [24, 160];
const [CHAPTERS, SPEECHES, SYNSETS] = [60, 55, 300];

/** Files of a package by their paths. */
type Files = Map<string, string>;

const letters = 'abcdefghijklmnopqrstuvwxyz';

/** A function that gives `count` words of two to nine letters. */
function wordsFrom(random: HostRandom): (count: number) => string {
  const word = () => Array.from({ length: 2 + random.integer(8) }, () => letters[random.integer(26)]).join('');
  return (count) => Array.from({ length: count }, word).join(' ');
}

const numbered = (count: number): number[] => Array.from({ length: count }, (_, i) => i + 1);
const padded = (number: number, digits: number): string => String(number).padStart(digits, '0');

/** One of five in each group, so that both labels are in every split. */
function mailFiles(): Files {
  const words = wordsFrom(new HostRandom(1));
  return new Map(
    numbered(TEST_MAILS + VALIDATION_MAILS + TRAIN_MAILS).map((i) => {
      const mail = `From: a@example.org\nSubject: ${words(3)}\n\n${words(WORDS_OF_A_MAIL)}\n`;
      return [`data/${MAIL_GROUPS[i % MAIL_GROUPS.length]}/${padded(i, 5)}.${padded(i, 32)}.txt`, mail];
    }),
  );
}

function glossFiles(): Files {
  const words = wordsFrom(new HostRandom(2));
  const synset = (type: string) => `00001740 03 ${type} 01 ${words(1)} 0 000 | ${words(9)}; "${words(6)}"`;
  const licence = ['Copyright 2011 by Princeton University.  All rights reserved.', '', 'Use it as you like.'];
  const head = licence.map((line, i) => `  ${i + 1} ${line}`).join('\n');
  const parts: [string, string][] = Object.entries({ noun: 'n', verb: 'v', adj: 'a', adv: 'r' });
  return new Map(
    parts.map(([part, type]) => [
      `dict/data.${part}`,
      [head, ...numbered(SYNSETS / parts.length).map(() => synset(type)), ''].join('\n'),
    ]),
  );
}

function textFiles(seed: number, names: readonly string[]): Files {
  const words = wordsFrom(new HostRandom(seed));
  return new Map(names.map((name) => [`data/${name}.txt`, `${words(WORDS_OF_A_TEXT)}.\n`]));
}

const chapters = numbered(CHAPTERS).map((i) => `chapter_${i}`);
const speeches = numbered(SPEECHES).map((i) => `${1789 + i}_somebody_n`);

/** Files of every package, by its name. */
export const SMALL_PACKAGES: ReadonlyMap<string, Files> = new Map([
  [SPAM_PACKAGE, mailFiles()],
  [WORDNET_PACKAGE, glossFiles()],
  [MOBY_DICK_PACKAGE, textFiles(3, chapters)],
  [SOTU_PACKAGE, textFiles(4, speeches)],
]);
for (const [name, files] of SMALL_PACKAGES) files.set('package.json', JSON.stringify({ name, version: SMALL_VERSION }));

/** The packages, read from memory. */
export const smallPackages: DataSource = {
  list: async (packageName, folder) => {
    const paths = [...(SMALL_PACKAGES.get(packageName)?.keys() ?? [])];
    const inside = paths.filter((path) => path.startsWith(`${folder}/`)).map((path) => path.slice(folder.length + 1));
    return inside.filter((name) => !name.includes('/')).sort();
  },
  read: async (packageName, path) => {
    const text = SMALL_PACKAGES.get(packageName)?.get(path);
    if (text === undefined) throw new EnvironmentError(`${path} is not there`, [`npm i -D ${packageName}`]);
    return new TextEncoder().encode(text);
  },
};

/** Writes packages into `node_modules` of a folder. */
export function writeSmallPackages(folder: string, names: Iterable<string> = SMALL_PACKAGES.keys()): void {
  for (const name of names) {
    for (const [path, text] of SMALL_PACKAGES.get(name)!) {
      const file = join(folder, 'node_modules', name, path);
      mkdirSync(dirname(file), { recursive: true });
      writeFileSync(file, text);
    }
  }
}
