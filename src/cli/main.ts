/**
 * The command line: finds the command, loads its file alone, turns failures into one line and an exit code
 * (0 done, 1 failed, 2 wrong usage, 130 interrupted).
 */
import { Command, CommanderError } from 'commander';
import { KraitError, UsageError } from '../core/index.ts';

interface Entry {
  summary: string;
  load: () => Promise<{ define(command: Command): Command }>;
}

/** Every command, with its own file. */
const COMMANDS: Record<string, Entry> = {
  generate: { summary: 'continue a prompt', load: () => import('./generate.ts') },
  score: { summary: 'log-probabilities and perplexity of a text', load: () => import('./score.ts') },
  tune: { summary: 'fine-tune a model: LoRA or full', load: () => import('./tune.ts') },
  merge: { summary: 'merge a LoRA adapter into its model', load: () => import('./merge.ts') },
  pretrain: { summary: 'train a small model from nothing, by a recipe', load: () => import('./pretrain.ts') },
  quickstart: { summary: 'fine-tune the carried model on real mail', load: () => import('./quickstart.ts') },
  devices: { summary: 'what this machine computes with, and how fast', load: () => import('./devices.ts') },
};

async function buildProgram(argv: readonly string[]): Promise<Command> {
  const program = new Command('krait')
    .description('Mamba state-space models: load, run, fine-tune, measure')
    .exitOverride()
    .showSuggestionAfterError(true);
  const wanted = argv.find((a) => !a.startsWith('-'));
  for (const [name, { summary, load }] of Object.entries(COMMANDS)) {
    const command = new Command(name)
      .summary(summary)
      .description(summary)
      .exitOverride()
      .showSuggestionAfterError(true);
    if (name === wanted) (await load()).define(command);
    program.addCommand(command);
  }
  return program;
}

/** One line without a stack: the message, or the stack too where KRAIT_DEBUG is set. */
function explain(error: unknown): void {
  const message = error instanceof Error ? error.message : String(error);
  process.stderr.write(`krait: ${message.replace(/\s*\n\s*/g, '; ')}\n`);
  if (process.env['KRAIT_DEBUG'] && error instanceof Error) process.stderr.write(`${error.stack}\n`);
}

/** Runs the command line `argv` (without the program's name); returns the exit code. */
export async function main(argv: readonly string[]): Promise<number> {
  try {
    const program = await buildProgram(argv);
    if (argv.length === 0) {
      program.outputHelp();
      return 2;
    }
    await program.parseAsync(argv, { from: 'user' });
    return typeof process.exitCode === 'number' ? process.exitCode : 0;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2; // commander has printed it
    if (error instanceof DOMException && error.name === 'AbortError') return 130;
    explain(error);
    if (error instanceof UsageError) return 2;
    if (!(error instanceof KraitError) && !process.env['KRAIT_DEBUG']) {
      process.stderr.write('krait: this is a defect in Krait; KRAIT_DEBUG=1 shows where\n');
    }
    return 1;
  }
}
