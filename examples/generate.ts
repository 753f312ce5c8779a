/** Text from a model: token by token, and whole completions. Run: npx tsx examples/generate.ts MODEL_DIR_OR_ID [PROMPT] */
import { Krait } from 'krait';

const [model, prompt = 'Call me'] = process.argv.slice(2);
if (!model) throw new Error('give the folder of a model, or its id on the hub, as the first argument');
const krait = await Krait.load(model, { onWarning: console.warn });
console.log(`${krait.model.family} on ${krait.device.name}, from ${krait.folder}`);

// Each token as it comes. The same seed gives the same text on every run.
process.stdout.write(`${prompt}|`);
for await (const { text, finish } of krait.generate(prompt, { maxTokens: 24, temperature: 0.8, topK: 40, seed: 1 })) {
  process.stdout.write(text);
  if (finish) console.log(`\nended by: ${finish}`);
}

// A signal ends it between two tokens, with the signal's reason. `AbortSignal.timeout(ms)` and Ctrl-C work alike.
const stop = new AbortController();
process.once('SIGINT', () => stop.abort(new Error('Ctrl-C')));
let count = 0;
try {
  for await (const _token of krait.generate(prompt, { maxTokens: 1000, eosTokens: [], signal: stop.signal })) {
    if (++count === 8) stop.abort(new Error('eight are enough'));
  }
} catch (error) {
  if (!stop.signal.aborted) throw error;
  console.log(`stopped after ${count} tokens: ${stop.signal.reason.message}`);
}

// Several prompts run as one batch, each as if it were alone. No temperature: the most probable token each time.
const prompts = [prompt, `${prompt}, said he,`];
const completions = await krait.complete(prompts, { maxTokens: 12, temperature: 0, logprobs: true });
for (const [i, { text, tokens, logprobs }] of completions.entries()) {
  const mean = logprobs.reduce((sum, value) => sum + value, 0) / Math.max(1, logprobs.length);
  console.log(`${JSON.stringify(prompts[i] + text)}: ${tokens.length} tokens, ${mean.toFixed(3)} nats each`);
}
krait.close();
