/** Files of a model besides its weights and configuration. */
import { type FileSystem, joinPath } from './files.ts';
import { TOKENIZER_FILES } from './tokenizer.ts';

export const SIDE_FILES = [...TOKENIZER_FILES, 'generation_config.json', 'chat_template.jinja'] as const;

/** Copies those that are there to another folder, each whole or not at all. */
export async function copySideFiles(files: FileSystem, from: string, to: string): Promise<void> {
  if (from === to) return;
  for (const name of SIDE_FILES) {
    const source = joinPath(from, name);
    if (await files.exists(source)) await files.writeAtomic(joinPath(to, name), await files.readText(source));
  }
}
