/** The known name that a misspelt one most likely stands for. */
import { distance } from 'fastest-levenshtein';

const bare = (text: string) => text.toLowerCase().replace(/[-_\s]/g, '');
/** The same for words that differ in the order of their letters only. */
const letters = (text: string) => [...text].sort().join('');

/**
 * The known name that `name` most likely stands for, or undefined if none is near: case, `-` and `_` are ignored, and
 * at most a third of the letters may differ.
 */
export function nearest(name: string, known: Iterable<string>): string | undefined {
  const wanted = bare(name);
  let best: string | undefined;
  let least = Number.POSITIVE_INFINITY;
  for (const candidate of known) {
    const other = bare(candidate);
    const cost = letters(wanted) === letters(other) ? 1 : distance(wanted, other);
    if (cost < least && cost <= Math.max(wanted.length, other.length) / 3) {
      least = cost;
      best = candidate;
    }
  }
  return best;
}

/** ` (did you mean warmup?)`, or nothing. */
export function suggestion(name: string, known: Iterable<string>): string {
  const near = nearest(name, known);
  return near === undefined ? '' : ` (did you mean ${near}?)`;
}
