/** Results as text: the table for a terminal, and docs/benchmarks.md. Pure: results and notes in, text out. */
import { table } from '../../src/report/terminal.ts';
import { type Check, type Figure, holds, type ProfileLine, type Unit } from './measurement.ts';
import { ROW_IDS, ROWS, type RowId } from './rows.ts';
import { isNow, type Result, type Results } from './store.ts';

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

/** Day and commit: `2026-11-27, 12364ffd8d`. */
const stamp = ({ finished, krait }: Result): string =>
  `${finished.slice(0, 10)}, ${/\((.*)\)/.exec(krait)?.[1] ?? krait}`;

/** A figure, and when and of what it was measured. */
interface Dated {
  readonly figure: Figure;
  readonly measured: string;
}

const figuresOf = (results: Results): Dated[] =>
  Object.values(results.results).flatMap((result) =>
    result.figures.map((figure) => ({ figure, measured: isNow(result) ? stamp(result) : `${stamp(result)}, OLDER` })),
  );

const HEAD = ['case', 'asked', 'reached', 'holds', 'measured', 'from'];
const cellsOf = ({ figure, measured }: Dated): string[] => [
  figure.what,
  askedText(figure),
  valueText(figure),
  verdict(figure),
  measured,
  fromText(figure),
];

/** For a terminal: a line for each figure, in the order of the rows. */
export function figuresTable(results: Results): string {
  const figures = figuresOf(results);
  const lines = ROW_IDS.flatMap((id) =>
    figures.filter(({ figure }) => figure.row === id).map((dated) => [id, ...cellsOf(dated)]),
  );
  return table([['row', ...HEAD], ...lines]);
}

/** Text in a cell of a Markdown table. */
const cell = (text: string): string => text.replace(/\s*\n\s*/g, '; ').replaceAll('|', '\\|');
const line = (cells: readonly string[]): string => `| ${cells.map(cell).join(' | ')} |`;

function markdownTable(head: readonly string[], rows: readonly (readonly string[])[]): string {
  return [line(head), `|${head.map(() => '---').join('|')}|`, ...rows.map(line)].join('\n');
}

function rowSection(id: RowId, figures: readonly Dated[], notes: Notes): string {
  const { what, asked, limit } = ROWS[id];
  const reached = figures.length ? markdownTable(HEAD, figures.map(cellsOf)) : 'Not measured in this run.';
  const { about, why } = notes[id] ?? {};
  const isShort = figures.some(({ figure }) => holds(figure) === false);
  const missing = isShort && 'What holds it: not written yet (bench/notes.json).';
  const sentences = [
    asked !== '-' && `Asked: ${asked}.`,
    limit !== '-' && `What a processor with dot products of bf16 pairs allows: ${limit}.`,
  ]
    .filter(Boolean)
    .join(' ');
  const head = `### ${what[0].toUpperCase()}${what.slice(1)}`;
  return [head, sentences, about, reached, why ?? missing].filter(Boolean).join('\n\n');
}

interface DatedProfile {
  readonly name: string;
  readonly lines: readonly ProfileLine[];
  readonly measured: string;
}

const profilesOf = (results: Results): DatedProfile[] =>
  Object.values(results.results)
    .filter(isNow)
    .flatMap((result) =>
      Object.entries(result.profiles ?? {}).map(([name, lines]) => ({ name, lines, measured: stamp(result) })),
    )
    .filter(({ lines }) => lines.length > 0);

function profileSection({ name, lines, measured }: DatedProfile): string {
  const rows = lines.map(({ kernel, calls, share, gflops, gigabytesPerSecond, roofShare }) => [
    kernel,
    String(calls),
    (100 * share).toFixed(1),
    gflops.toFixed(1),
    gigabytesPerSecond.toFixed(1),
    (100 * roofShare).toFixed(0),
  ]);
  const head = ['kernel', 'calls', '% of time', 'GFLOP/s', 'GB/s', '% of roofline'];
  return `### ${name[0].toUpperCase()}${name.slice(1)}\n\nMeasured ${measured}.\n\n${markdownTable(head, rows)}`;
}

const CHECK_MARKS = { true: 'ok', false: '**FAIL**', null: 'not compared' } as const;
const checkLine = ({ isOk, text }: Check, result: Result): string =>
  `- ${CHECK_MARKS[`${isOk}`]}: ${text} (${stamp(result)})`;

/** What contestants compute alike; what the older suite printed of it, which nothing compared. */
function checksSection(results: Results): string | false {
  const lines = Object.values(results.results).flatMap((result) => {
    const remarks = (result.remarks ?? []).map((text) => `- OLDER: ${text} (${stamp(result)})`);
    return [...(result.checks ?? []).map((check) => checkLine(check, result)), ...remarks];
  });
  return lines.length > 0 && `## Whether the contestants compute the same\n\n${lines.join('\n')}`;
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
  const older = all.filter(([, result]) => !isNow(result)).map(([name]) => name);
  const minutes = all.reduce((sum, [, { seconds }]) => sum + seconds, 0) / 60;
  return [
    `- Date: ${unique(({ finished }) => finished.slice(0, 10))}; ${minutes.toFixed(0)} minutes in all`,
    `- Krait ${unique(({ krait }) => krait.split(' ')[0])}; its commit stands beside each figure (+: files differed from it)`,
    ...(quick.length ? [`- QUICK, fewer rounds and cases, not for the record: ${quick.join(', ')}`] : []),
    ...(disturbed.length ? [`- DISTURBED by other work on the machine (load): ${disturbed.join(', ')}`] : []),
    ...(older.length
      ? [
          `- OLDER, ratios of medians, shares of the highest roof of a run, profiles left out: ${older.join(', ')}; measure again`,
        ]
      : []),
  ];
}

/** The whole of docs/benchmarks.md. */
export function reportText(results: Results, notes: Notes): string {
  const { cpu, cores, isa, memoryBytes, system, node } = results.machine;
  const all = Object.values(results.results);
  const figures = figuresOf(results);
  const programs = [...new Set(all.flatMap(({ programs: names }) => names ?? []))].sort();
  const asked = figures.filter(({ figure }) => holds(figure) !== null);
  const held = asked.filter(({ figure }) => holds(figure));
  const profiles = profilesOf(results);
  const sections = [
    `# Benchmarks

Written by \`npx tsx bench/run.ts\`; edit bench/notes.json instead, where the explanations stand.
Shapes of Mamba-130M (24 layers, d_model 768, vocabulary 50,280), random weights that all contestants read. Krait and
its rivals take turns, round by round. A figure is a median over rounds, +- half of the distance between the least and the
greatest; a ratio the median of the ratios of rounds that followed one another, or, of rounds that take long, over the
other's just before and after; a share that of each round by the peak measured next to it. Memory is the most that one
process had, so it has no +-. What an older program did on AMD Zen 4, which has dot products of bf16 pairs:
[benchmarks-zen4.md](benchmarks-zen4.md).`,
    `## Machine and versions

- ${cpu}, ${cores} cores, ${(memoryBytes / 2 ** 30).toFixed(0)} GiB; ${system}, Node ${node}; kernels: ${isa}
${aboutRun(results).join('\n')}
${programs.map((program) => `- ${program}`).join('\n')}`,
    checksSection(results),
    `## What was asked, and what was reached

${held.length} of ${asked.length} figures hold what was asked.

${ROW_IDS.map((id) =>
  rowSection(
    id,
    figures.filter(({ figure }) => figure.row === id),
    notes,
  ),
).join('\n\n')}`,
    profiles.length > 0 &&
      `## What the profiler says

The longest kernels. Roofline: launch by launch the longer of operations at the peak of multiply-adds and bytes at the speed
of memory, by the costs of the kernel table; products of two bf16 operands at twice that peak where the processor has dot
products of bf16 pairs. Above 100 % where operands come from caches; low, whatever is done, where transcendentals count.

${profiles.map(profileSection).join('\n\n')}`,
  ];
  return `${sections.filter(Boolean).join('\n\n')}\n`;
}
