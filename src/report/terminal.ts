/** Text for terminals: aligned tables, sizes in bytes. */
import pc from 'picocolors';

/** Rows as aligned columns; the first row is the header. Numbers align right. */
export function table(rows: readonly (readonly (string | number)[])[]): string {
  const text = rows.map((r) => r.map(String));
  const widths = text[0].map((_, c) => Math.max(...text.map((r) => (r[c] ?? '').length)));
  const isNumeric = text[0].map((_, c) => text.slice(1).every((r) => /^[-\d.,%]*( ?[kMG]?i?B)?$/.test(r[c] ?? '')));
  const line = (r: string[]) =>
    r
      .map((cell, c) => (isNumeric[c] ? cell.padStart(widths[c]) : cell.padEnd(widths[c])))
      .join('  ')
      .trimEnd();
  const [head, ...body] = text.map(line);
  return [pc.bold(head), widths.map((w) => '-'.repeat(w)).join('  '), ...body].join('\n');
}

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];

/** `1.5 GiB` */
export function formatBytes(bytes: number): string {
  const power = bytes > 0 ? Math.min(UNITS.length - 1, Math.floor(Math.log2(bytes) / 10)) : 0;
  return `${(bytes / 1024 ** power).toFixed(power ? 1 : 0)} ${UNITS[power]}`;
}
