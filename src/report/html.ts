/** HTML templates. Text is escaped; HTML is not. */

/** Markup that may stand in a page as it is. */
export class Html {
  constructor(readonly text: string) {}
}

/** Values of a template: HTML, lists of HTML, and text or numbers, which are escaped. Null gives nothing. */
export type Content = Html | string | number | null | readonly Content[];

const ESCAPES: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' };

function textOf(content: Content): string {
  if (content === null) return '';
  if (content instanceof Html) return content.text;
  if (typeof content === 'object') return content.map(textOf).join('');
  return String(content).replace(/[&<>"']/g, (c) => ESCAPES[c]);
}

/** Markup with contents in it: html`<p>${text}</p>`. Attributes are to be in quotation marks. */
export function html(parts: TemplateStringsArray, ...contents: readonly Content[]): Html {
  return new Html(parts.map((part, i) => part + (i < contents.length ? textOf(contents[i]) : '')).join(''));
}
