/**
 * Decoding token by token. A token may hold a part of a character, and some decoders treat the first token apart, so a
 * window of recent tokens is decoded each time and what it adds is given out once it ends in a whole character.
 */

/** Character that a decoder writes for bytes that are no character yet. */
const REPLACEMENT = '\uFFFD';
/** A character has at most 4 bytes, so its beginning lies within as many tokens ... */
const MOST_PARTS = 4;
/** ... and this many without an end are damage. */
const MOST_HELD_TOKENS = 2 * MOST_PARTS;
/** Tokens without text (special ones, left out) that are kept as context. */
const MOST_CONTEXT_TOKENS = 64;

/** Incremental decoder; the texts it returns, joined, are the decoding of all ids. */
export class DecodeStream {
  /** Tokens whose text was given out, kept because they may change how the next ones are spaced. */
  private context: number[] = [];
  private held: number[] = [];
  /** Characters of the held tokens' text that were given out already. */
  private given = 0;

  constructor(private readonly decode: (ids: readonly number[]) => string) {}

  /** The text that an id completes; empty while a character is incomplete. */
  push(id: number): string {
    this.held.push(id);
    const text = this.heldText();
    if (!text.endsWith(REPLACEMENT)) return this.release(text);
    if (this.held.length <= MOST_HELD_TOKENS) return '';
    // All but the last replacement are damage for good; that one may still be the start of a character.
    const ready = text.slice(this.given, -1);
    this.context = [];
    this.held = this.held.slice(-MOST_PARTS);
    this.given = this.heldText().length - 1;
    return ready;
  }

  /** Rest of the text; an incomplete character becomes the replacement character. */
  flush(): string {
    const rest = this.release(this.heldText());
    this.context = [];
    return rest;
  }

  /** Text of the held tokens, as they are decoded after the context. */
  private heldText(): string {
    const before = this.context.length ? this.decode(this.context).length : 0;
    return this.decode([...this.context, ...this.held]).slice(before);
  }

  private release(text: string): string {
    const rest = text.slice(this.given);
    if (text !== '') this.context = this.held;
    else if (this.context.length < MOST_CONTEXT_TOKENS) this.context = [...this.context, ...this.held];
    this.held = [];
    this.given = 0;
    return rest;
  }
}
