/**
 * What models are meta-trained and instruction-tuned on: the micro preset's episodes, or a file of instructions.
 *
 *   {"instruction", "input", "output"}                  Alpaca's; `input` may be missing or empty
 *   {"conversations": [{"from", "value"}]}              OpenHermes'; from is system, human or gpt
 *   {"prompt", "completion"} and the other records of `krait tune`
 *
 * Alpaca's prompts are written as the Stanford Alpaca project writes them (tatsu-lab/stanford_alpaca, train.py,
 * PROMPT_DICT); a conversation's last answer is learned, with the same headings before its turns.
 */
import { HostRandom, textHash, UsageError } from 'krait/core';
import { type FileSystem, isRecord, parseRecord, readJsonl, type Tokenizer } from 'krait/io';
import { type TokenExample, tokenizeRecord } from 'krait/tune';
import {
  episodePieces,
  type MicroEpisode,
  type MicroItems,
  type MicroMaterial,
  metaEpisodes,
  microEpisodes,
} from '../micro/index.ts';

/** Tokenised for one model; the same examples for every model with the same tokenizer. */
export interface InstructionSet {
  /** What it is, for the report. */
  readonly source: string;
  /** Differs for other content. */
  readonly hash: string;
  readonly train: (tokenizer: Tokenizer, maxLength: number) => TokenExample[];
  readonly validation: (tokenizer: Tokenizer, maxLength: number) => TokenExample[];
}

type Tokenize = InstructionSet['train'];

/** Keeps what was tokenised last: cells of one model come one after the other. */
function remembered(make: Tokenize): Tokenize {
  let last: { tokenizer: Tokenizer; maxLength: number; examples: TokenExample[] } | null = null;
  return (tokenizer, maxLength) => {
    if (last?.tokenizer !== tokenizer || last.maxLength !== maxLength) {
      last = { tokenizer, maxLength, examples: make(tokenizer, maxLength) };
    }
    return last.examples;
  };
}

/** Token ids of a text, which may be the first of its sequence. */
type Encode = (text: string, isFirst: boolean) => readonly number[];

/** Encodes each text once: episodes draw the same sentences and words again and again. */
function encodingOnce(tokenizer: Tokenizer): Encode {
  const [first, later] = [new Map<string, readonly number[]>(), new Map<string, readonly number[]>()];
  return (text, isFirst) => {
    const known = isFirst ? first : later;
    const before = known.get(text);
    if (before) return before;
    const ids = tokenizer.encode(text, { addSpecialTokens: isFirst });
    known.set(text, ids);
    return ids;
  };
}

/** An episode as tokens: every answer that is told carries loss, and nothing else. */
function episodeExample(encode: Encode, episode: MicroEpisode): TokenExample {
  const ids: number[] = [];
  const targets: [number, number][] = [];
  episodePieces(episode).forEach(({ context, answer, isTold }, i) => {
    ids.push(...encode(context, i === 0));
    const from = ids.length;
    ids.push(...encode(answer, false));
    if (isTold) targets.push([from, ids.length]);
  });
  return { ids, targets, bytes: 0 };
}

/** Episodes that the validation loss is of. */
const VALIDATION_EPISODES = 160;

type Draw = (items: MicroItems, count: number, seed?: number) => MicroEpisode[];

/** Episodes to learn from, and others, of other items and label words, for the validation loss. */
async function episodeSet(
  material: MicroMaterial,
  draw: Draw,
  count: { readonly train: number; readonly validation: number },
  source: string,
): Promise<InstructionSet> {
  const make = (episodes: readonly MicroEpisode[]) => (tokenizer: Tokenizer, maxLength: number) => {
    const encode = encodingOnce(tokenizer);
    return episodes
      .map((episode) => episodeExample(encode, episode))
      .filter(({ ids, targets }) => ids.length <= maxLength && targets.length > 0);
  };
  const train = draw(material.tune, count.train);
  const validation = draw(material.validation, count.validation, 1);
  return {
    source,
    hash: await textHash(JSON.stringify([train, validation])),
    train: remembered(make(train)),
    validation: remembered(make(validation)),
  };
}

/** Episodes of all micro tasks. */
export const microInstructions = (material: MicroMaterial, count: number): Promise<InstructionSet> =>
  episodeSet(
    material,
    microEpisodes,
    { train: count, validation: VALIDATION_EPISODES },
    `${count} episodes of all micro tasks, of other documents and label words than the tests'`,
  );

/** Episodes for meta-training. */
export const metaInstructions = (material: MicroMaterial, count: number): Promise<InstructionSet> =>
  episodeSet(
    material,
    metaEpisodes,
    { train: count, validation: VALIDATION_EPISODES },
    `${count} episodes of labels, look-ups and choices among words, of other documents and label words than the tests'`,
  );

interface Instruction {
  readonly instruction: string;
  readonly input?: string;
  readonly output: string;
}

const isInstruction = (value: Record<string, unknown>): boolean =>
  typeof value['instruction'] === 'string' && typeof value['output'] === 'string';

/** Alpaca's prompt. */
export function alpacaPrompt({ instruction, input = '' }: Pick<Instruction, 'instruction' | 'input'>): string {
  const head =
    input === ''
      ? 'Below is an instruction that describes a task. Write a response that appropriately completes the request.'
      : 'Below is an instruction that describes a task, paired with an input that provides further context. ' +
        'Write a response that appropriately completes the request.';
  const context = input === '' ? '' : `### Input:\n${input}\n\n`;
  return `${head}\n\n### Instruction:\n${instruction}\n\n${context}### Response:`;
}

const HEADINGS: Readonly<Record<string, string>> = {
  system: '',
  human: '### Instruction:\n',
  user: '### Instruction:\n',
  gpt: '### Response:',
  assistant: '### Response:',
};
const isAnswer = (from: unknown): boolean => from === 'gpt' || from === 'assistant';

/** A conversation up to its last answer. @throws UsageError for turns that are not known */
function conversationRecord(turns: readonly unknown[], where: string): { prompt: string; completion: string } {
  const read = turns.map((turn) => (isRecord(turn) ? { from: turn['from'], value: turn['value'] } : {}));
  const last = read.findLastIndex(({ from }) => isAnswer(from));
  const odd = read.find(({ from, value }) => !(String(from) in HEADINGS) || typeof value !== 'string');
  if (odd || last < 1) {
    throw new UsageError(`${where}: expected turns {"from": "human" or "gpt", "value"} with an answer among them`);
  }
  const said = read.slice(0, last).map(({ from, value }) => `${HEADINGS[String(from)]}${String(value)}`);
  return { prompt: `${said.join('\n\n')}\n\n### Response:`, completion: String(read[last].value) };
}

/** A line of the file as a record that `krait tune` knows. */
export function instructionRecord(value: unknown, where: string): unknown {
  if (!isRecord(value)) return value;
  const { conversations } = value;
  if (Array.isArray(conversations)) return conversationRecord(conversations, where);
  if (!isInstruction(value)) return value;
  const { instruction, input, output } = value as unknown as Instruction;
  return { prompt: alpacaPrompt({ instruction, input: input ?? '' }), completion: output };
}

/** Records that are held out to choose a learning rate by: a share of the file, at most. */
const VALIDATION = { share: 0.02, most: 500 };

/**
 * Reads a JSON Lines file of instructions. Records whose prompt leaves no room for an answer are left out.
 * @throws FileFormatError naming file and line; UsageError for a file that holds no two records
 */
export async function fileInstructions(files: FileSystem, path: string): Promise<InstructionSet> {
  const records: { record: ReturnType<typeof parseRecord>; where: string }[] = [];
  for await (const { line, value } of readJsonl(files, path)) {
    const where = `${path}:${line}`;
    records.push({ record: parseRecord(instructionRecord(value, where), where), where });
  }
  if (records.length < 2) throw new UsageError(`${path}: ${records.length} records; instruction tuning needs more`);
  const hash = await textHash(JSON.stringify(records.map(({ record }) => record)));
  new HostRandom(0, 200).shuffle(records);
  const held = Math.min(VALIDATION.most, Math.max(1, Math.floor(records.length * VALIDATION.share)));
  const make = (own: typeof records) => (tokenizer: Tokenizer, maxLength: number) =>
    own.flatMap(({ record, where }) => {
      // Room for the whole prompt and an answer's beginning; whole examples are cut on the left else.
      const { example, isTruncated } = tokenizeRecord(
        record,
        tokenizer,
        { maxLength: Number.POSITIVE_INFINITY },
        where,
      );
      if (!isTruncated && example.ids.length <= maxLength) return [example];
      const first = example.targets[0][0];
      if (first >= maxLength - 1) return [];
      return [{ ids: Array.from(example.ids).slice(0, maxLength), targets: [[first, maxLength] as const], bytes: 0 }];
    });
  return {
    source: `${path}, ${records.length} records`,
    hash,
    train: remembered(make(records.slice(held))),
    validation: remembered(make(records.slice(0, held))),
  };
}
