/**
 * The command line: finds the command, loads its file alone, turns failures into one line on stderr and an exit code
 * (0 done, 1 failed, 2 wrong usage, 130 interrupted). With `--json` a failure is a document on stdout too.
 */
import { readFileSync } from 'node:fs';
import { Command, CommanderError } from 'commander';
import { UsageError } from '../core/index.ts';
import { INTERRUPTED } from './interrupt.ts';
import { type CommandModule, loadStudies } from './packages.ts';

interface Entry {
  summary: string;
  load: () => Promise<CommandModule>;
}

/** Every command, with its own file. */
const COMMANDS: Record<string, Entry> = {
  generate: { summary: 'continue a prompt', load: () => import('./generate/command.ts') },
  eval: {
    summary: 'scores on tasks, zero- and few-shot, as lm-eval gives them',
    load: () => import('./eval/command.ts'),
  },
  score: { summary: 'log-probabilities and perplexity of a text', load: () => import('./score/command.ts') },
  tune: { summary: 'fine-tune a model: LoRA or full', load: () => import('./tune.ts') },
  merge: { summary: 'merge a LoRA adapter into its model', load: () => import('./merge/command.ts') },
  convert: { summary: 'write a model as GGUF, for llama.cpp', load: () => import('./convert/command.ts') },
  pretrain: { summary: 'train a small model from nothing, by a recipe', load: () => import('./pretrain.ts') },
  quickstart: { summary: 'fine-tune the carried model on real mail', load: () => loadStudies('quickstart') },
  data: { summary: 'data sets that npm packages carry, for tuning', load: () => import('./data/command.ts') },
  bench: { summary: 'how fast a model reads, writes and learns here', load: () => import('./bench/command.ts') },
  forecast: {
    summary: 'time series: train, back-test, forecast; benchmark',
    load: () => import('./forecast/command.ts'),
  },
  study: { summary: 'experiments on models, with a report: stability, downstream', load: () => loadStudies('study') },
  devices: { summary: 'what this machine computes with, and how fast', load: () => import('./devices/command.ts') },
};

/** A failure of parsing as the parser words it, in one line with a remedy. */
function usageLine(text: string, command: string | undefined): string {
  const line = text
    .trim()
    .replace(/^error: /, '')
    .replace(/\s*\n\(Did you mean (.*)\?\)$/s, ' (did you mean $1?)')
    .replace(/ is invalid\. ([A-Za-z])/, (_, first: string) => ` is invalid: ${first.toLowerCase()}`)
    .replace(/\.$/, '');
  const isComplete = /did you mean|is invalid: /.test(line);
  return isComplete ? line : `${line}; see ${['krait', command].filter(Boolean).join(' ')} --help`;
}

/** The command to run, or the one whose help is requested. */
function wantedCommand(argv: readonly string[]): string | undefined {
  const [first, second] = argv.filter((a) => !a.startsWith('-'));
  const name = first === 'help' ? second : first;
  return name !== undefined && Object.hasOwn(COMMANDS, name) ? name : undefined;
}

/** The first flag that a command lacks: the parser would complain first of a required one that is misspelt. */
function unknownFlag(command: Command, args: readonly string[]): string | undefined {
  const last = args.indexOf('--');
  for (let i = 0; i < (last < 0 ? args.length : last); i++) {
    const [flag] = args[i].split('=');
    if (!/^--\w/.test(flag)) continue;
    const option = command.options.find(({ long }) => long === flag);
    if (!option) return flag;
    if (option.required && flag === args[i]) i++; // its value
  }
  return undefined;
}

/** @throws UsageError naming the nearest flag that there is */
async function checkFlags(command: Command, name: string, argv: readonly string[]): Promise<void> {
  if (command.commands.length > 0 || argv.some((a) => a === '--help' || a === '-h')) return;
  const flag = unknownFlag(command, argv);
  if (flag === undefined) return;
  const { suggestion } = await import('../io/nearest.ts');
  const known = command.options.flatMap(({ long }) => long ?? []);
  throw new UsageError(`unknown option '${flag}'${suggestion(flag, known) || `; see krait ${name} --help`}`);
}

function version(): string {
  const text = readFileSync(new URL('../../package.json', import.meta.url), 'utf8');
  return (JSON.parse(text) as { version: string }).version;
}

async function buildProgram(argv: readonly string[]): Promise<Command> {
  const wanted = wantedCommand(argv);
  const outputError = (text: string, write: (text: string) => void) => write(`krait: ${usageLine(text, wanted)}\n`);
  const make = (name: string, summary: string) =>
    new Command(name)
      .summary(summary)
      .description(summary)
      .exitOverride()
      .showSuggestionAfterError(true)
      .configureOutput({ outputError });
  const program = make('krait', 'Mamba state-space models: load, run, fine-tune, measure').version(version());
  for (const [name, { summary, load }] of Object.entries(COMMANDS)) {
    const command = make(name, summary);
    if (name === wanted) {
      (await load()).define(command);
      await checkFlags(command, name, argv);
    }
    program.addCommand(command);
  }
  return program;
}

/** One line without a stack: the message, or the stack too where KRAIT_DEBUG is set. */
function explain(error: unknown): void {
  const isForeseen = statedCode(error) !== undefined || isAbort(error);
  const hint = isForeseen ? '' : '; this is a defect in Krait, KRAIT_DEBUG=1 shows where';
  const message = messageOf(error);
  process.stderr.write(`${message.startsWith('krait ') ? '' : 'krait: '}${message}${hint}\n`);
  if (process.env['KRAIT_DEBUG'] && error instanceof Error) process.stderr.write(`${error.stack}\n`);
}

const isAbort = (error: unknown): boolean => error instanceof DOMException && error.name === 'AbortError';

function messageOf(error: unknown): string {
  if (isAbort(error)) return 'interrupted';
  return (error instanceof Error ? error.message : String(error)).replace(/\s*\n\s*/g, '; ');
}

/** The exit code that an error of Krait states. Its class does not tell: a package of commands may carry a copy of its own. */
function statedCode(error: unknown): number | undefined {
  const code = error instanceof Error && 'exitCode' in error ? error.exitCode : undefined;
  return typeof code === 'number' ? code : undefined;
}

function exitCodeOf(error: unknown): number {
  if (isAbort(error)) return INTERRUPTED;
  return error instanceof CommanderError ? 2 : (statedCode(error) ?? 1);
}

/** Prints the JSON document of a failed command, if it has not printed its result. */
function printFailure(error: unknown, command: string | undefined): void {
  const isParsing = error instanceof CommanderError;
  const name = isParsing ? UsageError.name : error instanceof Error ? error.name : 'Error';
  const message = isParsing ? usageLine(error.message, command) : messageOf(error);
  const failure = { error: { name, message, exitCode: exitCodeOf(error) } };
  process.stdout.write(`${JSON.stringify(failure)}\n`);
}

/** A reader that goes away (`krait generate | head -1`) ends the writing; one that only watches does not end the work. */
function endOfPipe(this: NodeJS.WriteStream, error: NodeJS.ErrnoException): void {
  if (this === process.stderr) return;
  if (error.code !== 'EPIPE') process.stderr.write(`krait: standard output: ${error.message}\n`);
  process.exit(error.code === 'EPIPE' ? 0 : 1);
}

/** Runs the command line `argv` (without the program's name); returns the exit code. */
export async function main(argv: readonly string[]): Promise<number> {
  for (const stream of [process.stdout, process.stderr]) {
    if (!stream.listeners('error').includes(endOfPipe)) stream.on('error', endOfPipe);
  }
  try {
    const program = await buildProgram(argv);
    if (argv.length === 0) {
      program.outputHelp();
      return 2;
    }
    await program.parseAsync(argv, { from: 'user' });
    return 0;
  } catch (error) {
    if (error instanceof CommanderError && error.exitCode === 0) return 0; // help
    if (statedCode(error) === INTERRUPTED) return INTERRUPTED;
    if (!(error instanceof CommanderError)) explain(error); // of the others the parser has told
    if (argv.includes('--json')) printFailure(error, wantedCommand(argv));
    return exitCodeOf(error);
  }
}
