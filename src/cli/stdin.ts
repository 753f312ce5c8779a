/** Standard input as text. */
import { UsageError } from '../core/index.ts';

/** @throws UsageError for what is not valid UTF-8, or cannot be read */
export async function readStdin(): Promise<string> {
  const parts: Buffer[] = [];
  try {
    for await (const part of process.stdin) parts.push(part as Buffer);
    return new TextDecoder('utf-8', { fatal: true }).decode(Buffer.concat(parts));
  } catch (error) {
    const problem = error instanceof TypeError ? 'not valid UTF-8' : (error as Error).message;
    throw new UsageError(`standard input: ${problem}; give UTF-8 text, or the text itself as the flag's value`);
  }
}
