/**
 * Packages that `krait` does not install: those that draw plots, and the one that brings the studies. A command that needs
 * an absent one says in one line what to install, before long work begins.
 */
import { createRequire } from 'node:module';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import type { Command } from 'commander';
import { KraitError } from '../core/index.ts';

/** Packages that draw plots and pages. */
export const PLOT_PACKAGES: readonly string[] = ['@observablehq/plot', 'linkedom'];

/** The package of `krait study` and `krait quickstart`. */
const STUDIES = 'krait-studies';

/** The module of a command. */
export interface CommandModule {
  define(command: Command): Command;
}

/** The package that an import did not find; undefined for every other error. */
function absentPackage(error: unknown): string | undefined {
  const { code, message = '' } = error as NodeJS.ErrnoException;
  if (code === 'ERR_MODULE_NOT_FOUND') return /^Cannot find package '([^']+)'/.exec(message)?.[1];
  if (code !== 'MODULE_NOT_FOUND') return undefined;
  return /^Cannot find module '((?:@[^/']+\/)?[^/']+)/.exec(message)?.[1];
}

/**
 * Loads a module that needs packages which may be absent.
 * @param asker what a person asked for, such as `krait forecast --plot`
 * @throws KraitError that says in one line what to install
 */
export async function loadWith<T>(asker: string, packages: readonly string[], load: () => Promise<T>): Promise<T> {
  try {
    return await load();
  } catch (error) {
    const absent = absentPackage(error);
    if (absent === undefined || !packages.includes(absent)) throw error;
    const noun = packages.length > 1 ? 'packages' : 'package';
    throw new KraitError(`${asker}: needs the ${noun} ${packages.join(' and ')}: npm i ${packages.join(' ')}`);
  }
}

/**
 * The module `krait-studies/NAME`: of the package that is installed beside this one, or in the current folder.
 * @throws KraitError that says in one line what to install
 */
export function loadStudies(name: string): Promise<CommandModule> {
  const specifier = `${STUDIES}/${name}`;
  return loadWith(`krait ${name}`, [STUDIES], async () => {
    try {
      return await import(specifier);
    } catch (error) {
      if (absentPackage(error) !== STUDIES) throw error;
      return await import(pathToFileURL(resolveHere(name, specifier)).href);
    }
  });
}

/** The file of a module as the current folder sees it. Its `krait` must be this one: errors and devices are shared. */
function resolveHere(name: string, specifier: string): string {
  const file = createRequire(join(process.cwd(), 'package.json')).resolve(specifier);
  const own = resolve(fileURLToPath(new URL('../..', import.meta.url)));
  const other = kraitOf(file);
  if (other === own) return file;
  const problem = other === null ? 'has no krait beside it' : `belongs to ${other}`;
  throw new KraitError(
    `krait ${name}: the ${STUDIES} of this folder ${problem}: npm i krait here, and npx krait ${name}`,
  );
}

/** The folder of the `krait` that a file imports. */
function kraitOf(file: string): string | null {
  try {
    return dirname(dirname(createRequire(file).resolve('krait')));
  } catch {
    return null;
  }
}
