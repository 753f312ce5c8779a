/** Results as text: the table for a terminal, and docs/benchmarks.md. Pure: results and notes in, text out. */
import { table } from '../../src/cli/output.ts';
import { type Figure, holds, type ProfileLine, type Unit } from './measurement.ts';
import { ROW_IDS, ROWS, type RowId } from './rows.ts';
import type { Result, Results } from './store.ts';

/** What people wrote about a row. */
export interface Note {
  /** How it is measured, whatever comes out. */
  readonly about?: string;
  /** Where it falls short: what holds it. */
  readonly why?: string;
}
export type Notes = Readonly<Partial<Record<RowId, Note>>>;

const FORMATS: Readonly<Record<Unit, (value: number) => string>> = {
  x: (value) => `${value.toFixed(2)}x`,
  '%': (value) => `${(100 * value).toFixed(1)} %`,
  s: (value) => `${value.toFixed(2)} s`,
  'tok/s': (value) => `${value.toFixed(1)} tok/s`,
};

const valueText = ({ value, unit }: Figure): string => (value === null ? 'not measured' : FORMATS[unit](value));

/** What a figure was computed from, or why there is none. */
const fromText = ({ from, problem }: Figure): string => problem ?? from ?? '';

function askedText({ unit, least, most }: Figure): string {
  if (least !== undefined) return `>= ${FORMATS[unit](least)}`;
  return most === undefined ? '-' : `<= ${FORMATS[unit](most)}`;
}

function verdict(figure: Figure): string {
  const is = holds(figure);
  return is === null ? '-' : is ? 'yes' : 'NO';
}

const figuresOf = (results: Results): Figure[] => Object.values(results.results).flatMap(({ figures }) => figures);

/** For a terminal: a line for each figure, in the order of the rows. */
export function figuresTable(results: Results): string {
  const figures = figuresOf(results);
  const lines = ROW_IDS.flatMap((id) =>
    figures
      .filter(({ row }) => row === id)
      .map((figure) => [id, figure.what, askedText(figure), valueText(figure), verdict(figure), fromText(figure)]),
  );
  return table([['row', 'what', 'asked', 'reached', 'holds', 'from'], ...lines]);
}

/** Text in a cell of a Markdown table. */
const cell = (text: string): string => text.replace(/\s*\n\s*/g, '; ').replaceAll('|', '\\|');
const line = (cells: readonly string[]): string => `| ${cells.map(cell).join(' | ')} |`;

function markdownTable(head: readonly string[], rows: readonly (readonly string[])[]): string {
  return [line(head), `|${head.map(() => '---').join('|')}|`, ...rows.map(line)].join('\n');
}

function rowSection(id: RowId, figures: readonly Figure[], notes: Notes): string {
  const { what, asked, limit } = ROWS[id];
  const rows = figures.map((figure) => [
    figure.what,
    askedText(figure),
    valueText(figure),
    verdict(figure),
    fromText(figure),
  ]);
  const reached = rows.length
    ? markdownTable(['case', 'asked', 'reached', 'holds', 'from'], rows)
    : 'Not measured in this run.';
  const { about, why } = notes[id] ?? {};
  const isShort = figures.some((figure) => holds(figure) === false);
  const missing = isShort && 'What holds it: not written yet (bench/notes.json).';
  const sentences = [asked !== '-' && `Asked: ${asked}.`, limit !== '-' && `What the hardware allows: ${limit}.`]
    .filter(Boolean)
    .join(' ');
  const head = `### ${what[0].toUpperCase()}${what.slice(1)}`;
  return [head, sentences, about, reached, why ?? missing].filter(Boolean).join('\n\n');
}

function profileSection(name: string, lines: readonly ProfileLine[]): string {
  const rows = lines.map(({ kernel, calls, share, gflops, gigabytesPerSecond, roofShare }) => [
    kernel,
    String(calls),
    (100 * share).toFixed(1),
    gflops.toFixed(1),
    gigabytesPerSecond.toFixed(1),
    (100 * roofShare).toFixed(0),
  ]);
  const head = ['kernel', 'calls', '% of time', 'GFLOP/s', 'GB/s', '% of roofline'];
  return `### ${name[0].toUpperCase()}${name.slice(1)}\n\n${markdownTable(head, rows)}`;
}

/** Days, commits and time; quick results are named, since they are not for the record. */
function aboutRun(results: Results): string[] {
  const all = Object.entries(results.results);
  const unique = (of: (result: Result) => string) =>
    [...new Set(all.map(([, result]) => of(result)))].sort().join(', ');
  const quick = all.filter(([, { isQuick }]) => isQuick).map(([name]) => name);
  const isDisturbed = ({ load }: Result) => load > results.machine.cores + 1;
  const disturbed = all
    .filter(([, result]) => isDisturbed(result))
    .map(([name, { load }]) => `${name} (${load.toFixed(1)})`);
  const minutes = all.reduce((sum, [, { seconds }]) => sum + seconds, 0) / 60;
  return [
    `- Date: ${unique(({ finished }) => finished.slice(0, 10))}; ${minutes.toFixed(0)} minutes in all`,
    `- Krait ${unique(({ krait }) => krait)}`,
    ...(quick.length ? [`- QUICK, fewer rounds and cases, not for the record: ${quick.join(', ')}`] : []),
    ...(disturbed.length ? [`- DISTURBED by other work on the machine (load): ${disturbed.join(', ')}`] : []),
  ];
}

/** The whole of docs/benchmarks.md. */
export function reportText(results: Results, notes: Notes): string {
  const { cpu, cores, isa, memoryBytes, system, node } = results.machine;
  const all = Object.values(results.results);
  const figures = figuresOf(results);
  const programs = [...new Set(all.flatMap(({ programs: names }) => names ?? []))].sort();
  const remarks = all.flatMap(({ remarks: lines }) => lines ?? []);
  const asked = figures.filter((figure) => holds(figure) !== null);
  const held = asked.filter((figure) => holds(figure));
  const profiles = all.flatMap(({ profiles: own }) => Object.entries(own ?? {})).filter(([, rows]) => rows.length > 0);
  const sections = [
    `# Benchmarks

Written by \`npx tsx bench/run.ts\`; edit bench/notes.json instead, where the explanations stand.
Shapes of Mamba-130M (24 layers, d_model 768, vocabulary 50,280), random weights that all contestants read. Krait and
its rivals take turns, round by round; a figure is a median over rounds, a ratio the median of ratios of rounds that
followed one another, and +- half of the distance between the least and the greatest round.`,
    `## Machine and versions

- ${cpu}, ${cores} cores, ${(memoryBytes / 2 ** 30).toFixed(0)} GiB; ${system}, Node ${node}; kernels: ${isa}
${aboutRun(results).join('\n')}
${programs.map((program) => `- ${program}`).join('\n')}`,
    remarks.length > 0 &&
      `## Whether the contestants compute the same\n\n${remarks.map((text) => `- ${text}`).join('\n')}`,
    `## What was asked, and what was reached

${held.length} of ${asked.length} figures hold what was asked.

${ROW_IDS.map((id) =>
  rowSection(
    id,
    figures.filter(({ row }) => row === id),
    notes,
  ),
).join('\n\n')}`,
    profiles.length > 0 &&
      `## What the profiler says\n\nThe longest kernels; the share of the roofline is by the costs of the kernel table.

${profiles.map(([name, rows]) => profileSection(name, rows)).join('\n\n')}`,
  ];
  return `${sections.filter(Boolean).join('\n\n')}\n`;
}
