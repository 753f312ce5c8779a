/** Forms of a text: tidied for models to read, normalised for comparing. */

/** Letters only, lower case (after NFKC), one blank between words: two texts that differ in layout, digits or marks are equal. */
export function normalizeText(text: string): string {
  const isLatin = /^[\t\n\r -~]*$/.test(text); // the quick way of the same
  const lower = (isLatin ? text : text.normalize('NFKC')).toLowerCase();
  return lower.replace(isLatin ? /[^a-z]+/g : /[^\p{L}]+/gu, ' ').trim();
}

/** Blanks of a line become one, empty lines become at most one, none at the ends; control characters go. */
export function tidyText(text: string): string {
  return text
    .replace(/\r\n?/g, '\n')
    .replace(/[^\P{Cc}\n\t]|[\u200b-\u200f\u2028-\u202e\ufeff]/gu, '')
    .replace(/[^\S\n]+/g, ' ')
    .replace(/ ?\n ?/g, '\n')
    .replace(/\n{3,}/g, '\n\n')
    .trim();
}
