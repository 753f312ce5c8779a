/** Data, flags, settings and folders that are wrong: the command says so in one line and writes nothing. */
import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, describe, it } from 'node:test';
import { krait, refuses, treeOf, workFolder } from './cli-cases.ts';
import { startKrait } from './krait-process.ts';
import { writeTinyModel } from './tiny-model.ts';

const work = workFolder('bad-run');
const model = join(work, 'model');
const good = join(work, 'good.jsonl');
const out = join(work, 'out');
const device = ['--device', 'reference'];

before(async () => {
  await writeTinyModel(model);
  writeFileSync(good, '{"prompt":"hell","completion":"o"}\n{"text":"hello world"}\n');
});

/** A file with this content. */
const file = (name: string, content: string | Uint8Array): string => {
  const path = join(work, name);
  writeFileSync(path, content);
  return path;
};
const tune = (code: number, pattern: RegExp, ...flags: string[]) =>
  refuses(work, code, pattern, 'tune', '--model', model, '--data', good, '--out', out, ...device, ...flags);
const generate = (pattern: RegExp, ...flags: string[]) =>
  refuses(work, 2, pattern, 'generate', '--model', model, '--prompt', 'hello', ...device, ...flags);

describe('records', () => {
  const refusesData = (pattern: RegExp, content: string | Uint8Array) =>
    tune(1, pattern, '--data', file('bad.jsonl', content));

  it('none at all', async () => {
    await refusesData(/bad\.jsonl: no records; each line is one of /, '');
    await refusesData(/bad\.jsonl: no records; each line is one of /, '\n  \n');
    mkdirSync(join(work, 'empty'));
    await tune(1, /empty: has no train\.jsonl; put the training records there/, '--data', join(work, 'empty'));
    await tune(1, /nothing\.jsonl: no such file or folder; give a JSONL file/, '--data', join(work, 'nothing.jsonl'));
  });

  it('malformed, with the number of the line', async () => {
    await refusesData(
      /bad\.jsonl:3: not valid JSON: .*; write one JSON record per line/,
      '{"text":"ab"}\n\n{"text":\n',
    );
    await refusesData(/bad\.jsonl:2: expected an object, got \[1\]; each line is/, '{"text":"ab"}\n[1]\n');
    await refusesData(/bad\.jsonl:1: keys "txt" make no record \(did you mean text by "txt"\?\)/, '{"txt":"ab"}\n');
    await refusesData(/bad\.jsonl:1: text 5: expected string; /, '{"text":5}\n');
    await refusesData(
      /bad\.jsonl:1: messages\[0\]\.role "bot": expected/,
      '{"messages":[{"role":"bot","content":""}]}',
    );
    await refusesData(/bad\.jsonl:2: not valid UTF-8; save/, Buffer.from('{"text":"ab"}\n{"text":"\xff"}\n', 'latin1'));
    await refusesData(
      /bad\.jsonl:1: UTF-16 text; save the file as UTF-8/,
      Buffer.from('\ufeff{"text":"ab"}', 'utf16le'),
    );
  });

  it('without a token to train on', async () => {
    await refusesData(
      /bad\.jsonl:2: no trainable tokens: .*; remove or/,
      '{"text":"ab"}\n{"prompt":"a","completion":""}\n',
    );
    await refusesData(/bad\.jsonl:1: no trainable tokens: .* fewer than two tokens; remove/, '{"text":"a"}\n');
    const chat = '{"messages":[{"role":"user","content":"hi"}]}\n';
    await refusesData(/bad\.jsonl:1: no trainable tokens: .*answers are empty/, chat);
  });

  it('wrong among those for validation, or none of them', async () => {
    await tune(1, /bad\.jsonl:1: not valid JSON/, '--validation', file('bad.jsonl', '{'));
    await tune(2, /eval_steps: there are no validation records; add valid\.jsonl/, '--eval-every', '2');
  });
});

describe('flags', () => {
  it('unknown, with the nearest known one, before a required one is missed', async () => {
    await tune(2, /unknown option '--max-lenght' \(did you mean --max-length\?\)/, '--max-lenght', '8');
    await refuses(work, 2, /unknown option '--modle' \(did you mean --model\?\)/, 'score', '--modle', model);
    await refuses(work, 2, /unknown option '--zzz'; see krait score --help/, 'score', '--zzz');
    await refuses(work, 2, /unknown command 'genrate' \(did you mean generate\?\)/, 'genrate');
    await refuses(work, 2, /required option '--model <dir\|id>' not specified; see krait score --help/, 'score');
  });

  it('that need a number and get none, or one out of range', async () => {
    await generate(/'--top-p <p>' argument '2' is invalid: expected a number > 0 and <= 1/, '--top-p', '2');
    await generate(/'--temperature <t>' argument 'NaN' is invalid: expected a number >= 0/, '--temperature', 'NaN');
    await generate(/'--temperature <t>' argument '1e999' is invalid/, '--temperature', '1e999');
    await generate(
      /'--max-tokens <n>' argument '1e23' is invalid: expected a whole number >= 0/,
      '--max-tokens',
      '1e23',
    );
    await generate(/'--threads <n>' argument '0' is invalid: .* >= 1 and <= 128/, '--threads', '0');
    await generate(/'--threads <n>' argument '1000' is invalid: .* >= 1 and <= 128/, '--threads', '1000');
    await generate(/'--device <name>' argument 'gpu' is invalid: allowed choices are auto, native/, '--device', 'gpu');
    await tune(2, /'--rank <r>' argument '0' is invalid: expected a whole number >= 1/, '--rank', '0');
    await tune(2, /'--lr <x>' argument '0' is invalid: expected a number > 0/, '--lr', '0');
  });

  it('that ask for more than there is', async () => {
    await tune(2, /r 1000000: expected number to be <=65536/, '--rank', '1000000');
    await tune(
      2,
      /per_device_train_batch_size 4 x max_seq_length 100000000 is more than .*; lower/,
      '--max-length',
      '100000000',
    );
  });

  it('that contradict each other, or ask for nothing', async () => {
    await tune(2, /max_steps and num_train_epochs are both given; give one/, '--steps', '1', '--epochs', '1');
    const score = (pattern: RegExp, ...flags: string[]) =>
      refuses(work, 2, pattern, 'score', '--model', model, ...device, ...flags);
    await score(/score takes one of --text, --file and --tokens, got 2/, '--text', 'a', '--tokens', '1,2');
    await score(/tokens: token 1 is 999, the model's ids are 0 to 271/, '--tokens', '1,999');
    await score(/--tokens: "x" is not a token id; give whole numbers/, '--tokens', '1,x');
    await generate(/the prompt is empty .*; give some text/, '--prompt', '');
    await generate(/stop: an empty string would stop at once; leave it out/, '--stop', '');
  });

  it('that would do nothing', async () => {
    await tune(2, /early_stopping_patience is 2 but nothing is evaluated; give eval_steps too/, '--patience', '2');
    await tune(2, /eval_on_start is true but nothing is evaluated; give eval_steps too/, '--eval-on-start');
    const epsilon = ['--adam-epsilon', '1e-6'];
    await tune(2, /adam_epsilon: the optimizer lion does not take it; leave it out/, '--optimizer', 'lion', ...epsilon);
  });

  it('of LoRA targets that match nothing', async () => {
    await tune(
      2,
      /target_modules: "in_prj" matches no module \(did you mean in_proj\?\); there are/,
      '--targets',
      'in_prj',
    );
    await tune(2, /target_modules: "\.\*attn\.\*" matches no module; there are .*x_proj/, '--targets', '.*attn.*');
    await tune(2, /target_modules: "\(" is not a regular expression/, '--targets', '(');
  });
});

describe('settings in a file', () => {
  const refusesYaml = (code: number, pattern: RegExp, text: string) => tune(code, pattern, '-c', file('a.yaml', text));

  it('unknown, of a wrong type, given twice', async () => {
    await refusesYaml(2, /a\.yaml: unknown key learning_rat \(did you mean learning_rate\?\)/, 'learning_rat: 1');
    await refusesYaml(2, /a\.yaml: learning_rate "fast": expected number/, 'learning_rate: fast');
    await refusesYaml(2, /a\.yaml: batching 3: expected one of "packing"/, 'batching: 3');
    await refusesYaml(2, /a\.yaml:2: not valid YAML: Map keys must be unique/, 'r: 1\nr: 2');
    await refusesYaml(2, /a\.yaml:1: not valid YAML: /, 'r: "1');
    await refusesYaml(2, /a\.yaml: expected settings \(name: value\), got "r 1"/, 'r 1');
    await tune(1, /none\.yaml: no such file or folder/, '-c', join(work, 'none.yaml'));
  });

  it('of a recipe: checked before any text is read', async () => {
    const recipe = (model: string, training = '') =>
      `model: {${model}}\ntokenizer: {vocab_size: 300}\ndata: [mail]\ntraining: {max_steps: 1${training}}\n`;
    const refusesRecipe = (pattern: RegExp, text: string) =>
      refuses(work, 2, pattern, 'pretrain', '-c', file('r.yaml', text), '--out', out, ...device);
    const sizes = 'hidden_size: 16, num_hidden_layers: 1';
    const mamba = `model_type: mamba, ${sizes}`;
    await refusesRecipe(
      /r\.yaml: model: model_type "gpt2" is not supported; supported are/,
      recipe(`model_type: gpt2, ${sizes}`),
    );
    await refusesRecipe(
      /r\.yaml: model: unknown key state_sise \(did you mean state_size\?\)/,
      recipe(`${mamba}, state_sise: 4`),
    );
    await refusesRecipe(/r\.yaml: model: vocab_size stands under tokenizer/, recipe(`${mamba}, vocab_size: 300`));
    await refusesRecipe(/r\.yaml: training: unknown key learning_rat /, recipe(mamba, ', learning_rat: 1'));
    await refusesRecipe(
      /r\.yaml: training: eval_steps: pretraining does not take it/,
      recipe(mamba, ', eval_steps: 1'),
    );
    await refusesRecipe(/r\.yaml: training: r: pretraining does not take it; leave it out/, recipe(mamba, ', rank: 4'));
    await refusesRecipe(/r\.yaml: training: method: pretraining trains all/, recipe(mamba, ', method: lora'));
    await refusesRecipe(/r\.yaml: data\[0\] "male": expected one of /, recipe(mamba).replace('mail', 'male'));
    await refusesRecipe(/r\.yaml:\d+: not valid YAML/, 'model: {');
  });
});

describe('an output folder', () => {
  it('that is not empty needs --force, that is a file another name', async () => {
    await tune(2, /--out: \S*model exists and is not empty; .*--force .*or another folder/, '--out', model);
    await tune(2, /--out: \S*model has no run to resume; give --force/, '--out', model, '--resume');
    await tune(2, /--out: \S*good\.jsonl is a file; give a folder/, '--out', good);
    await tune(1, /good\.jsonl\/x\S*: a part of the path is a file, not a folder/, '--out', join(good, 'x'));
    const merge = ['merge', '--model', model, '--adapter', model, ...device];
    await refuses(work, 2, /--out: \S*model exists and is not empty; give --force/, ...merge, '--out', model);
  });

  it('is written over with --force', async () => {
    const full = join(work, 'full');
    mkdirSync(full);
    writeFileSync(join(full, 'mine'), 'x');
    const flags = ['--model', model, '--data', good, '--out', full, '--steps', '1', '--max-length', '16', '--force'];
    const { code, stderr } = await krait('tune', ...flags, ...device);
    assert.equal(code, 0, stderr);
    assert.ok(treeOf(full).includes('adapter_model.safetensors'));
  });
});

describe('--json', () => {
  it('prints one document where a command fails, too', async () => {
    const failures: [name: string, code: number, args: string[]][] = [
      ['UsageError', 2, ['score', '--zzz']],
      ['UsageError', 2, ['score', '--model', model, '--tokens', '1,999', ...device]],
      ['FileFormatError', 1, ['score', '--model', model, '--file', join(work, 'none.txt'), ...device]],
    ];
    for (const [name, exitCode, args] of failures) {
      const { code, stdout, stderr } = await krait(...args, '--json');
      const { error } = JSON.parse(stdout) as { error: Record<string, unknown> };
      assert.deepEqual({ ...error, message: undefined }, { name, exitCode, message: undefined });
      assert.equal(code, exitCode);
      assert.equal(stderr, `krait: ${error.message}\n`);
    }
  });
});

it('a reader that goes away ends the writing in silence', async () => {
  const args = ['generate', '--model', model, '--prompt', 'x', '--max-tokens', '1000000', ...device];
  const child = startKrait('never', args);
  let stderr = '';
  child.stderr.on('data', (data) => {
    stderr += data;
  });
  child.stdout.once('data', () => child.stdout.destroy());
  const code = await new Promise((resolve) => child.on('close', resolve));
  assert.equal(code, 0, stderr);
  assert.match(stderr, /^device: [^\n]*\n$/);
  assert.match(readFileSync(good, 'utf8'), /hell/);
});
