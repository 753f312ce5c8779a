/**
 * What must not tell spam from ham: marks that the collection, a list server, a gateway or a filter has put on a mail on its
 * way. Most ham of the corpus came over mailing lists, so list tags and footers alone would give the label away.
 * Removed: list tags in subjects, list-server footers (quoted ones too), sponsor blocks of list hosts, the `URL:`/`Date:`
 * lines of the feed-to-mail gateway, OpenPGP armour, SpamAssassin's marks and reports, addresses of the corpus' own
 * recipients (the collectors rewrote them). Kept: everything that the author wrote, `ADV:` and signatures included.
 */

/** Lines of a rule, perhaps quoted: `____`, `----`, `====`. */
const RULE = /^[>|\s]*(?:[_=]{20,}|-{20,}|--)\s*$/;
const LIST_FOOTER =
  /mailing list\b|\/(?:mailman|lists)\/listinfo\/|users'? group[^\n]*@|-unsubscribe@|-request@|majordomo@|this sf\.net e?mail is sponsored/i;
/** Most lines of a footer after its rule. */
const FOOTER_LINES = 6;

/** Subject without list tags, filter marks, and blanks at its ends; `Re:` and the like stay, once. */
export function cleanSubject(subject: string): string {
  let text = subject.replace(/\s+/g, ' ').trim();
  let before: string;
  do {
    before = text;
    text = text
      .replace(/^((?:(?:re|fwd?|aw|sv)\s*(?:\[\d+\])?\s*:\s*)*)\[[^\]]{1,40}\]\s*/i, '$1')
      .replace(/^\*{3,}\s*spam\s*\*{3,}\s*/i, '')
      .replace(/^((?:re|fwd?|aw|sv)\s*:)\s*(?:(?:re|fwd?|aw|sv)\s*:\s*)+/i, '$1 ')
      .trim();
  } while (text !== before);
  return hideCollectors(text);
}

/** Body without what is listed above. Line structure stays. */
export function cleanBody(body: string): string {
  const text = body
    .replace(/\r\n?/g, '\n')
    .replace(/^-+\s*Start (?:der )?SpamAssassin (?:results|Auswertung)[\s\S]*?^-+\s*End[^\n]*$/gim, '')
    .replace(/^SPAM: .*$/gm, '')
    .replace(/^\s*URL: \S+\s*\n+(?:Date: [^\n]*(?:\n|$))?/, '')
    .replace(/^[> ]*-----BEGIN PGP SIGNED MESSAGE-----\n(?:[> ]*Hash: [^\n]*\n)?/gm, '')
    .replace(/^[> ]*-----BEGIN PGP SIGNATURE-----[\s\S]*?(?:-----END PGP SIGNATURE-----|$(?![\s\S]))/gm, '')
    .replace(/-{5,} ?Yahoo! Groups Sponsor ?-+~-->[\s\S]*?-{5,}~->/g, '')
    .replace(/^[>\s]*To unsubscribe from this group, send an email to:\s*\n\s*\S+-unsubscribe@\S+/gim, '')
    .replace(/^[>\s]*Your use of Yahoo! Groups is subject to [^\n]*/gim, '')
    .replace(/--(?:DeathToSpam)+--/g, '');
  return hideCollectors(dropFooters(text.split('\n')).join('\n'));
}

/** Drops a rule line and the lines up to the next blank one (at most `FOOTER_LINES`) where they speak of the list. */
function dropFooters(lines: readonly string[]): string[] {
  const kept: string[] = [];
  for (let i = 0; i < lines.length; i++) {
    const end = RULE.test(lines[i]) ? footerEnd(lines, i + 1) : i;
    if (end > i && LIST_FOOTER.test(lines.slice(i, end).join('\n'))) i = end - 1;
    else kept.push(lines[i]);
  }
  return kept;
}

function footerEnd(lines: readonly string[], start: number): number {
  let end = start;
  while (end < lines.length && end - start < FOOTER_LINES && !/^[>|\s]*$/.test(lines[end])) {
    if (end > start && RULE.test(lines[end])) break;
    end++;
  }
  return end;
}

/** Recipients were rewritten by the collectors to `zzzz`, `yyyy` or `qqqqqqqqqq` at a few domains of theirs. */
function hideCollectors(text: string): string {
  return text
    .replace(
      /[\w.+=-]+@(?:[\w-]+\.)*(?:taint\.org|netnoteinc\.com|jmason\.org|slashnull\.org|example\.(?:com|sourceforge\.net)|localhost)\b/gi,
      'user@example.com',
    )
    .replace(/\b(?:zzzz|yyyy|qqqqqqqqqq)(?:ason)?\b/gi, 'user');
}
