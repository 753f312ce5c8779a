/** A tokenizer of one token a letter, for tests: 0 ends a text, letters follow. */
import type { DecodeOptions, DecodeStream, Message, Tokenizer } from '../../io/index.ts';

export class CharTokenizer implements Tokenizer {
  readonly path = 'letters/tokenizer.json';
  readonly bosId = null;
  readonly eosId = 0;
  readonly padId = null;
  readonly unkId = null;
  readonly hasChatTemplate = true;
  readonly vocabSize: number;

  /** @param rewrites whether the template drops what was said before, as some do */
  constructor(
    private readonly letters = 'abcdefgh: \n<>/',
    private readonly rewrites = false,
  ) {
    this.vocabSize = letters.length + 1;
  }

  encode(text: string): number[] {
    return [...text].map((letter) => {
      const at = this.letters.indexOf(letter);
      if (at < 0) throw new Error(`no token for ${JSON.stringify(letter)}`);
      return at + 1;
    });
  }

  decode(ids: ArrayLike<number>, { skipSpecialTokens = true }: DecodeOptions = {}): string {
    return Array.from(ids, (id) => (id > 0 ? this.letters[id - 1] : skipSpecialTokens ? '' : '$')).join('');
  }

  decodeStream(): DecodeStream {
    throw new Error('not needed here');
  }

  tokenOf(id: number): string | undefined {
    return id === 0 ? '$' : this.letters[id - 1];
  }

  idOf(token: string): number | undefined {
    return this.letters.indexOf(token) + 1 || undefined;
  }

  /** `<a>text\n` for what the user says, `<b>text\n` for what the assistant says. */
  chatTemplate(messages: readonly Message[], { addGenerationPrompt = false } = {}): string {
    const kept = this.rewrites ? messages.slice(-2) : messages;
    const said = kept.map(({ role, content }) => `<${role === 'assistant' ? 'b' : 'a'}>${content}\n`);
    return said.join('') + (addGenerationPrompt ? '<b>' : '');
  }
}
