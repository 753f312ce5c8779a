/** What `--help` prints, of the program and of every command below it: a file for each command, at a width of 80 columns. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { krait } from '../cli-cases.ts';
import { checkText, goldenFiles, startAnew } from './golden.ts';

const FOLDER = 'help';

// On a terminal the help is as wide as that.
for (const stream of [process.stdout, process.stderr]) Object.defineProperty(stream, 'isTTY', { value: false });

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const PATH = new RegExp(`\\s+"${ROOT.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')}`, 'g');

async function helpOf(...command: string[]): Promise<string> {
  const { code, stdout, stderr } = await krait(...command, '--help');
  assert.deepEqual([code, stderr], [0, ''], command.join(' '));
  // A default may be a file of this checkout, whose path is long or short: it stands on a line with what is before it.
  return stdout.replaceAll(PATH, ' "ROOT/');
}

/** The commands that a help lists, without `help` itself. */
function commandsIn(help: string): string[] {
  const [, list = ''] = help.split('\nCommands:\n');
  const names = [...list.matchAll(/^ {2}([\w-]+)/gm)].map(([, name]) => name);
  return names.filter((name) => name !== 'help');
}

/** The help of a command and of all below it. */
async function helpsOf(...command: string[]): Promise<string> {
  const help = await helpOf(...command);
  const parts = [`$ ${['krait', ...command, '--help'].join(' ')}\n${help}`];
  if (command.length > 0) for (const name of commandsIn(help)) parts.push(await helpsOf(...command, name));
  return parts.join('\n');
}

const commands = commandsIn(await helpOf());
startAnew(FOLDER);

describe('--help', () => {
  it('of the program is as it was frozen', async () => checkText(`${FOLDER}/krait.txt`, await helpsOf()));

  for (const name of commands) {
    it(`of ${name} is as it was frozen`, async () => checkText(`${FOLDER}/krait-${name}.txt`, await helpsOf(name)));
  }

  it('is there for the commands that were frozen, and for no other', () => {
    const files = ['krait.txt', ...commands.map((name) => `krait-${name}.txt`)];
    assert.deepEqual(files.sort(), goldenFiles(FOLDER), 'files of test/fixtures/frozen/help, one a command');
  });
});
