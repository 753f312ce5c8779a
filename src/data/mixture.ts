/**
 * An endless, seeded order of documents in which every source has its share of the bytes.
 * At each step the source that is furthest behind its share gives its next document; within a source the order is a fresh
 * shuffle each time through. So the shares hold in every stretch of the stream, not only on average.
 */
import { ConfigError, HostRandom } from '../core/index.ts';

export interface MixtureDocument {
  readonly source: string;
  readonly bytes: number;
}

export interface MixtureOptions {
  readonly seed: number;
  /** Share of each source; they need not add up to 1. Default: the bytes of each source, so that all are used up together. */
  readonly weights?: Readonly<Record<string, number>>;
  /** Ends before the document that starts at or after this many bytes. Default: the bytes of all documents, one pass. */
  readonly totalBytes?: number;
}

interface Stream<D> {
  readonly documents: readonly D[];
  readonly share: number;
  readonly index: number;
  order: number[];
  next: number;
  pass: number;
  emitted: number;
}

/**
 * Documents in mixed order. The same documents, in the same order, and options give the same stream.
 * @throws ConfigError for a weight that names no source, is negative or not finite, or leaves nothing to draw from
 */
export function* mixDocuments<D extends MixtureDocument>(
  documents: Iterable<D>,
  options: MixtureOptions,
): Generator<D, void, undefined> {
  const groups = groupBySource(documents);
  const streams = openStreams(groups, options.weights);
  const all = [...groups.values()].flat().reduce((sum, { bytes }) => sum + bytes, 0);
  const limit = options.totalBytes ?? all;
  for (let total = 0; total < limit; ) {
    const stream = furthestBehind(streams);
    if (stream.next === stream.order.length) startPass(stream, options.seed);
    const document = stream.documents[stream.order[stream.next++]];
    stream.emitted += document.bytes;
    total += document.bytes;
    yield document;
  }
}

function groupBySource<D extends MixtureDocument>(documents: Iterable<D>): Map<string, D[]> {
  const groups = new Map<string, D[]>();
  for (const document of documents) {
    const group = groups.get(document.source);
    if (!group) groups.set(document.source, [document]);
    else group.push(document);
  }
  return groups;
}

function openStreams<D extends MixtureDocument>(
  groups: ReadonlyMap<string, readonly D[]>,
  weights: MixtureOptions['weights'],
): Stream<D>[] {
  for (const [name, weight] of Object.entries(weights ?? {})) {
    if (!groups.has(name)) {
      throw new ConfigError(`weights.${name}: no such source; known are ${[...groups.keys()].join(', ')}`);
    }
    if (!(weight >= 0) || weight === Number.POSITIVE_INFINITY) {
      throw new ConfigError(`weights.${name}: expected a number from 0 on, got ${weight}; 0 leaves the source out`);
    }
  }
  const bytesOf = (list: readonly D[]) => list.reduce((sum, { bytes }) => sum + bytes, 0);
  const streams = [...groups].map(([name, list], index) => ({
    documents: list,
    share: bytesOf(list) > 0 ? (weights ? (weights[name] ?? 0) : bytesOf(list)) : 0,
    index,
    order: [],
    next: 0,
    pass: 0,
    emitted: 0,
  }));
  const open = streams.filter(({ share }) => share > 0);
  if (!open.length) throw new ConfigError('weights: no source with text has a weight above 0; give one at least one');
  return open;
}

function furthestBehind<D>(streams: readonly Stream<D>[]): Stream<D> {
  let best = streams[0];
  for (const stream of streams) if (stream.emitted / stream.share < best.emitted / best.share) best = stream;
  return best;
}

/** Each pass of each source has a random stream of its own. */
function startPass<D>(stream: Stream<D>, seed: number): void {
  const random = new HostRandom(seed, stream.index * 65536 + stream.pass++);
  stream.order = random.shuffle(stream.documents.map((_, i) => i));
  stream.next = 0;
}
