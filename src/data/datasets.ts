/**
 * The data sets that Krait makes from npm packages, as training records: what each is, what it is for, how it is split, and
 * how it becomes a folder of JSON Lines files that `krait tune --data` reads. What `krait data ls|get` runs.
 *
 * The splits are called as fine-tuning calls them: what `corpora` holds out is `validation` here.
 */
import { FileFormatError, UsageError } from '../core/index.ts';
import { type FileSystem, formatJsonl, isRecord, joinPath, suggestion } from '../io/index.ts';
import {
  CORPUS_NAMES,
  type CorpusDocument,
  loadCorpus,
  MAX_MAIL_CHARS,
  MOBY_DICK_PACKAGE,
  SOTU_PACKAGE,
} from './corpora.ts';
import { type DataSource, readText } from './data-source.ts';
import { renderMail } from './mail-prompt.ts';
import { loadSpamCorpus, SPAM_PACKAGE, type SpamCorpus, type SpamRecord } from './spam.ts';
import { WORDNET_PACKAGE } from './wordnet.ts';

export const DATASET_NAMES = ['spam', ...CORPUS_NAMES] as const;
export type DatasetName = (typeof DATASET_NAMES)[number];

/** In the order in which they are listed. */
export type DatasetSplit = 'train' | 'validation' | 'test';

/** Description of a data set. */
export interface DatasetInfo {
  readonly name: DatasetName;
  /** npm package that carries it. */
  readonly package: string;
  readonly licence: string;
  /** Keys of a record, as `krait tune` documents them. */
  readonly form: '{"text"}' | '{"text","label"}';
  readonly splits: readonly DatasetSplit[];
  /** Kind of records, in one phrase. */
  readonly content: string;
  /** Use of the records, in one phrase. */
  readonly purpose: string;
}

/** One line of a file. */
export interface DatasetRecord {
  readonly text: string;
  readonly label?: string;
}

export type DatasetSplits = ReadonlyMap<DatasetSplit, readonly DatasetRecord[]>;

export interface SplitSize {
  readonly records: number;
  /** UTF-8 bytes of the texts. */
  readonly bytes: number;
  /** Records of each label; absent where there are no labels. */
  readonly labels?: Readonly<Record<string, number>>;
}

export interface WrittenSplit {
  readonly split: DatasetSplit;
  readonly path: string;
  readonly records: number;
  /** Length of the file. */
  readonly bytes: number;
}

export interface WrittenDataset {
  /** Version of the npm package that it was made from. */
  readonly version: string;
  readonly files: readonly WrittenSplit[];
  /** The file that says where the records come from and on what terms. */
  readonly source: string;
}

const STDLIB_LICENCE = 'PDDL-1.0 (collection), CC0-1.0 (contents)';
const MAIL_LICENCE = `${STDLIB_LICENCE}, says the package; the senders' rights in their mails are untouched`;

const DATASETS: Readonly<Record<DatasetName, Omit<DatasetInfo, 'name'>>> = {
  spam: {
    package: SPAM_PACKAGE,
    licence: MAIL_LICENCE,
    form: '{"text","label"}',
    splits: ['train', 'validation', 'test'],
    content: 'SpamAssassin mail of 2001 to 2003, subject and body, labelled ham or spam, without near-duplicates',
    purpose: 'learning to tell spam from ham, as `krait quickstart` does',
  },
  sotu: {
    package: SOTU_PACKAGE,
    licence: `${STDLIB_LICENCE}; works of the US government`,
    form: '{"text"}',
    splits: ['train', 'validation'],
    content: 'State of the Union addresses, one a record',
    purpose: 'pretraining, and long documents for `--batching stream`',
  },
  'moby-dick': {
    package: MOBY_DICK_PACKAGE,
    licence: `${STDLIB_LICENCE}; the novel is in the public domain`,
    form: '{"text"}',
    splits: ['train', 'validation'],
    content: 'Herman Melville, Moby-Dick, one chapter a record',
    purpose: 'pretraining, and the style of one author: small enough for a first run',
  },
  'wordnet-glosses': {
    package: WORDNET_PACKAGE,
    licence: 'WordNet 3.1 licence (any use; its notice goes with every copy)',
    form: '{"text"}',
    splits: ['train', 'validation'],
    content: 'words of WordNet with their definitions and examples, some 2,000 characters a record',
    purpose: 'pretraining: short plain English about everything',
  },
  mail: {
    package: SPAM_PACKAGE,
    licence: MAIL_LICENCE,
    form: '{"text"}',
    splits: ['train', 'validation'],
    content: `the mails of spam's train and validation splits without labels, at most ${MAX_MAIL_CHARS} characters each`,
    purpose: "pretraining on mail that keeps spam's test split unseen",
  },
};

const utf8 = new TextEncoder();

/** Descriptions of all data sets. */
export const listDatasets = (): DatasetInfo[] => DATASET_NAMES.map((name) => ({ name, ...DATASETS[name] }));

/** A data set by the name that somebody gave. @throws UsageError with the nearest name, and all of them */
export function findDataset(name: string): DatasetInfo {
  const found = DATASET_NAMES.find((known) => known === name);
  if (found) return { name: found, ...DATASETS[found] };
  const near = suggestion(name, DATASET_NAMES);
  throw new UsageError(`no data set is called ${JSON.stringify(name)}${near}; there are ${DATASET_NAMES.join(', ')}`);
}

/** A split by the name that somebody gave. @throws UsageError with the nearest one that the data set has, and all of them */
export function findSplit({ name, splits }: DatasetInfo, wanted: string): DatasetSplit {
  const found = splits.find((split) => split === wanted);
  if (found) return found;
  const near = suggestion(wanted, splits);
  throw new UsageError(`${name} has no split ${JSON.stringify(wanted)}${near}; there are ${splits.join(', ')}`);
}

/** Sizes of each split. */
export function splitSizes(splits: DatasetSplits): Map<DatasetSplit, SplitSize> {
  return new Map([...splits].map(([split, records]) => [split, sizeOf(records)]));
}

function sizeOf(records: readonly DatasetRecord[]): SplitSize {
  const labels: Record<string, number> = {};
  let bytes = 0;
  for (const { text, label } of records) {
    bytes += utf8.encode(text).length;
    if (label !== undefined) labels[label] = (labels[label] ?? 0) + 1;
  }
  return { records: records.length, bytes, ...(Object.keys(labels).length > 0 && { labels }) };
}

/** Data sets read from the npm packages of a source. The mail corpus, of which two of them are made, is read once. */
export class DatasetReader {
  private mails: Promise<SpamCorpus> | undefined;

  constructor(private readonly source: DataSource) {}

  /**
   * Version of the installed package that carries a data set.
   * @throws EnvironmentError if it is not installed, FileFormatError if its package.json states none
   */
  async version(name: DatasetName): Promise<string> {
    const packageName = DATASETS[name].package;
    const text = await readText(this.source, packageName, 'package.json');
    const version = versionIn(text);
    if (version !== undefined) return version;
    throw new FileFormatError(`${packageName}/package.json`, 'states no version', `npm i -D ${packageName}`);
  }

  /**
   * All records, by split, in an order that never changes: for one version of the package every call gives the same.
   * @throws EnvironmentError if the package is not installed, FileFormatError if its files are not what they should be
   */
  async load(name: DatasetName): Promise<DatasetSplits> {
    if (name === 'spam') return spamSplits(await this.loadMails());
    return corpusSplits(await loadCorpus(this.source, name, name === 'mail' ? await this.loadMails() : undefined));
  }

  /** Text that must accompany every copy of a data set, besides the name of its licence; may be empty. */
  async notice(name: DatasetName): Promise<string> {
    return name === 'wordnet-glosses' ? wordnetNotice(this.source) : '';
  }

  private loadMails(): Promise<SpamCorpus> {
    this.mails ??= loadSpamCorpus(this.source);
    return this.mails;
  }
}

/**
 * Writes a file for each split (`train.jsonl`, `validation.jsonl`, `test.jsonl`) and `SOURCE.txt` with origin and licence
 * into `folder`. Everything is read before anything is written, each file is replaced whole, and the training records come
 * last: a folder that was left half done has no `train.jsonl`, without which nothing trains on it.
 * @param only the split to write, instead of all
 * @throws EnvironmentError, FileFormatError as `load` does, or naming the file that cannot be written
 */
export async function writeDataset(
  reader: DatasetReader,
  info: DatasetInfo,
  files: Pick<FileSystem, 'writeAtomic'>,
  folder: string,
  only?: DatasetSplit,
): Promise<WrittenDataset> {
  const { name, splits } = info;
  const version = await reader.version(name);
  const notice = await reader.notice(name);
  const loaded = await reader.load(name);
  const source = joinPath(folder, 'SOURCE.txt');
  await files.writeAtomic(source, sourceText(info, version, notice));
  const written: WrittenSplit[] = [];
  for (const split of splits.filter((each) => only === undefined || each === only).reverse()) {
    const records = loaded.get(split) ?? [];
    const path = joinPath(folder, `${split}.jsonl`);
    const lines = [...formatJsonl(records)];
    await files.writeAtomic(path, lines);
    written.unshift({ split, path, records: records.length, bytes: lines.reduce((sum, line) => sum + line.length, 0) });
  }
  return { version, files: written, source };
}

function sourceText(info: DatasetInfo, version: string, notice: string): string {
  const lines = [
    `${info.name}: ${info.content}`,
    `Made by Krait from the npm package ${info.package}, version ${version}`,
    `Licence: ${info.licence}`,
  ];
  return `${lines.join('\n')}\n${notice && `\n${notice}\n`}`;
}

function versionIn(packageJson: string): string | undefined {
  try {
    const value: unknown = JSON.parse(packageJson);
    return isRecord(value) && typeof value['version'] === 'string' ? value['version'] : undefined;
  } catch {
    return undefined;
  }
}

function spamSplits({ splits }: SpamCorpus): DatasetSplits {
  const labelled = (records: readonly SpamRecord[]) =>
    records.map((record) => ({ text: renderMail(record), label: record.label }));
  return new Map([
    ['train', labelled(splits.train)],
    ['validation', labelled(splits.validation)],
    ['test', labelled(splits.test)],
  ]);
}

function corpusSplits(documents: readonly CorpusDocument[]): DatasetSplits {
  const textsOf = (wanted: CorpusDocument['split']) =>
    documents.filter(({ split }) => split === wanted).map(({ text }) => ({ text }));
  return new Map([
    ['train', textsOf('train')],
    ['validation', textsOf('held-out')],
  ]);
}

/** The licence at the head of WordNet's data files: lines of two blanks, a number, a blank, and the text. */
async function wordnetNotice(source: DataSource): Promise<string> {
  const path = 'dict/data.noun';
  const lines = (await readText(source, WORDNET_PACKAGE, path)).split('\n');
  const end = lines.findIndex((line) => !line.startsWith('  '));
  const notice = lines.slice(0, Math.max(0, end)).map((line) => line.replace(/^ +\d+ ?/, '').trimEnd());
  if (notice.length > 0) return notice.join('\n').trim();
  const place = `${WORDNET_PACKAGE}/${path}`;
  throw new FileFormatError(place, 'has no licence at its head', `reinstall it: npm i -D ${WORDNET_PACKAGE}`);
}
