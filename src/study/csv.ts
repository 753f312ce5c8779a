/** Figures as CSV for spreadsheets and data frames (RFC 4180, lines ended by \n). */

export type CsvValue = string | number | null | undefined;

/** What is not a finite number is left empty. */
function field(value: CsvValue): string {
  if (value === null || value === undefined) return '';
  if (typeof value === 'number') return Number.isFinite(value) ? String(value) : '';
  return /[",\n\r]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value;
}

export const formatCsv = (head: readonly string[], rows: readonly (readonly CsvValue[])[]): string =>
  [head, ...rows].map((row) => `${row.map(field).join(',')}\n`).join('');
