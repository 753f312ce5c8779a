/** Chat templates: Jinja text in `tokenizer_config.json` or `chat_template.jinja`, rendered by @huggingface/jinja. */
import type { Template } from '@huggingface/jinja';
import { FileFormatError } from '../core/index.ts';
import { type FileSystem, joinPath } from './files.ts';
import { describe, isRecord, oneLine } from './json.ts';
import type { Message } from './records.ts';

export interface ChatTemplateOptions {
  /** Whether to end with what introduces the assistant's answer. */
  addGenerationPrompt?: boolean;
  /** Other variables that the template knows. */
  variables?: Readonly<Record<string, unknown>>;
}

/** A parsed template; `path` is the file it came from, `source` its text. */
export class ChatTemplate {
  private constructor(
    readonly path: string,
    readonly source: string,
    private readonly template: Template,
  ) {}

  /** Jinja is loaded here, for those who have a template. @throws FileFormatError for what is not Jinja */
  static async parse(path: string, source: string): Promise<ChatTemplate> {
    const jinja = await import('@huggingface/jinja');
    try {
      return new ChatTemplate(path, source, new jinja.Template(source));
    } catch (error) {
      throw new FileFormatError(path, `chat_template is not valid Jinja: ${oneLine(error)}`, 'correct or remove it');
    }
  }

  /**
   * A conversation as text.
   * @param tokens special tokens under the names that templates use (`bos_token`)
   * @throws FileFormatError with the template's own complaint (two user messages in a row, say)
   */
  render(
    messages: readonly Message[],
    tokens: Readonly<Record<string, string>>,
    { addGenerationPrompt = false, variables = {} }: ChatTemplateOptions = {},
  ): string {
    try {
      return this.template.render({
        ...tokens,
        ...variables,
        messages: messages.map((message) => ({ ...message })),
        add_generation_prompt: addGenerationPrompt,
      });
    } catch (error) {
      throw new FileFormatError(this.path, `chat_template: ${oneLine(error)}`, 'change the messages to suit it');
    }
  }
}

/** The template of a model folder, or null. Where several are named, the one named `default`. */
export async function readChatTemplate(
  files: FileSystem,
  folder: string,
  tokenizerConfig: Readonly<Record<string, unknown>>,
): Promise<ChatTemplate | null> {
  const ownFile = joinPath(folder, 'chat_template.jinja');
  if (await files.exists(ownFile)) return ChatTemplate.parse(ownFile, await files.readText(ownFile));
  const path = joinPath(folder, 'tokenizer_config.json');
  const given = tokenizerConfig.chat_template;
  if (given === undefined || given === null) return null;
  const named = Array.isArray(given) ? given.find((item) => isRecord(item) && item.name === 'default') : undefined;
  const source = named ? (named as Record<string, unknown>).template : given;
  if (typeof source === 'string') return ChatTemplate.parse(path, source);
  throw new FileFormatError(path, `chat_template must be text, got ${describe(given)}`, 'correct or remove it');
}
