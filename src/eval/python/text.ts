/** Text as Python sees it, where JavaScript sees it otherwise: white space, capitals, length. */

/** Python's white space, as the inside of a character class: JavaScript's has U+FEFF more, U+001C to U+001F and U+0085 less. */
export const SPACES = '\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000';

const LEADING = new RegExp(`^[${SPACES}]+`);
const TRAILING = new RegExp(`[${SPACES}]+$`);
const RUNS = new RegExp(`[${SPACES}]+`);

/** `str.lstrip()` */
export const trimStart = (text: string): string => text.replace(LEADING, '');
/** `str.rstrip()` */
export const trimEnd = (text: string): string => text.replace(TRAILING, '');
/** `str.strip()` */
export const trim = (text: string): string => trimEnd(trimStart(text));

/** How many pieces `re.split(r"\s+", text)` makes: white space at an end cuts off an empty one. */
export const countWords = (text: string): number => text.split(RUNS).length;

/** `str.capitalize()`: the first character in upper case, all others in lower case. */
export function capitalize(text: string): string {
  const [first = ''] = text;
  const lower = text.toLowerCase().slice(first.toLowerCase().length);
  const [head = '', ...rest] = first.toUpperCase();
  return head + rest.join('').toLowerCase() + lower;
}

/** `len(text)`: code points. */
export function length(text: string): number {
  let count = 0;
  for (const _ of text) count++;
  return count;
}

/** `str(value)` of a float or a truth value. */
export function pythonText(value: number | boolean): string {
  if (typeof value === 'boolean') return value ? 'True' : 'False';
  return Number.isInteger(value) && Math.abs(value) < 1e16 ? `${Object.is(value, -0) ? '-0' : value}.0` : String(value);
}
