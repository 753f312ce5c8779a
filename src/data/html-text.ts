/**
 * HTML to the text that it shows: markup, comments, scripts and styles removed, block elements on lines of their own,
 * character references decoded. One pass over the input whatever is unclosed in it; no layout, no links, no images.
 */

const BLOCK =
  /^(p|div|br|hr|tr|table|ul|ol|li|dl|dt|dd|h[1-6]|blockquote|center|pre|form|title|body|html|head|option|select|address)$/;
const CELL = /^(td|th)$/;
/** Elements whose content is never shown as text. */
const HIDDEN = /^(script|style|title)$/;

/** Text of an HTML page or fragment. Runs of blanks become one, runs of empty lines one. Broken HTML gives some text, never an error. */
export function htmlToText(html: string): string {
  const out: string[] = [];
  let at = 0;
  while (at < html.length) {
    const open = html.indexOf('<', at);
    if (open < 0) {
      out.push(html.slice(at));
      break;
    }
    out.push(html.slice(at, open));
    at = open + appendTag(html, open, out);
  }
  const text = decodeEntities(out.join(''));
  return text
    .replace(/[^\S\n\uE000]+/g, ' ')
    .replace(/ ?\n ?/g, ' ') // line ends of the source are blanks
    .replace(/ *\uE000[ \uE000]*/g, breakLines)
    .trim();
}

/** Stands for a line break that the markup asks for; from the private use area, so that it is not in the source. */
const BREAK = '\uE000';
const breakLines = (run: string): string => (run.replace(/ /g, '').length > 1 ? '\n\n' : '\n');

/** Handles the `<` at `open`; returns how many characters it took. */
function appendTag(html: string, open: number, out: string[]): number {
  if (html.startsWith('<!--', open)) {
    const end = html.indexOf('-->', open + 4);
    return (end < 0 ? html.indexOf('>', open) + 1 || html.length : end + 3) - open;
  }
  const next = html.charCodeAt(open + 1) | 32;
  const isTag = (next >= 97 && next <= 122) || '/!?'.includes(html[open + 1] ?? ' ');
  const close = isTag ? html.indexOf('>', open) : -1;
  if (close < 0) {
    out.push('<');
    return 1;
  }
  const name = /^<\/?\s*([a-z][a-z0-9]*)/i.exec(html.slice(open, Math.min(close, open + 40)))?.[1].toLowerCase() ?? '';
  if (BLOCK.test(name)) out.push(BREAK);
  else if (CELL.test(name)) out.push(' ');
  if (!HIDDEN.test(name) || html[open + 1] === '/') return close + 1 - open;
  const end = new RegExp(`</${name}[^>]*>`, 'ig');
  end.lastIndex = close;
  return end.exec(html) ? end.lastIndex - open : close + 1 - open;
}

/** HTML 4's names of U+00A0 to U+00FF, in order. */
const LATIN1_NAMES =
  'nbsp iexcl cent pound curren yen brvbar sect uml copy ordf laquo not shy reg macr deg plusmn sup2 sup3 acute micro para middot cedil sup1 ordm raquo frac14 frac12 frac34 iquest Agrave Aacute Acirc Atilde Auml Aring AElig Ccedil Egrave Eacute Ecirc Euml Igrave Iacute Icirc Iuml ETH Ntilde Ograve Oacute Ocirc Otilde Ouml times Oslash Ugrave Uacute Ucirc Uuml Yacute THORN szlig agrave aacute acirc atilde auml aring aelig ccedil egrave eacute ecirc euml igrave iacute icirc iuml eth ntilde ograve oacute ocirc otilde ouml divide oslash ugrave uacute ucirc uuml yacute thorn yuml';
const ENTITIES = new Map<string, string>([
  ...LATIN1_NAMES.split(' ').map((name, i): [string, string] => [name, String.fromCharCode(160 + i)]),
  ...Object.entries({
    amp: '&',
    lt: '<',
    gt: '>',
    quot: '"',
    apos: "'",
    ndash: '–',
    mdash: '—',
    lsquo: '‘',
    rsquo: '’',
  }),
  ...Object.entries({ ldquo: '“', rdquo: '”', bull: '•', hellip: '…', trade: '™', euro: '€', sbquo: '‚', bdquo: '„' }),
  ...Object.entries({
    dagger: '†',
    permil: '‰',
    lsaquo: '‹',
    rsaquo: '›',
    oelig: 'œ',
    OElig: 'Œ',
    ensp: ' ',
    emsp: ' ',
  }),
]);
const windows1252 = new TextDecoder('windows-1252');

/** Decodes named (HTML 4 Latin-1 and the usual punctuation), decimal and hexadecimal references; others stay as they are. */
export function decodeEntities(text: string): string {
  return text.replace(/&(?:#(\d{1,7})|#x([0-9a-f]{1,6})|([a-z]+[0-9]*));?/gi, (match, decimal, hex, name) => {
    if (name) return ENTITIES.get(name) ?? ENTITIES.get(name.toLowerCase()) ?? match;
    const code = decimal ? Number(decimal) : Number.parseInt(hex, 16);
    if (code >= 128 && code < 160) return windows1252.decode(Uint8Array.of(code)); // as every browser reads them
    if (code === 0 || code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) return '\ufffd';
    return String.fromCodePoint(code);
  });
}
