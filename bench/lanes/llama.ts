/** node-llama-cpp as a contestant, on a GGUF file that Krait wrote. */
import { LlamaRival, somePrompt } from '../rivals/node-llama-cpp.ts';
import { type Contestant, peakRss, serve } from '../suite/serve.ts';

export interface LlamaLaneOptions {
  readonly file: string;
  readonly threads: number;
  readonly work: 'prefill' | 'decode';
  readonly tokens: number;
}

const WARM_UP = 64; // tokens

async function open({ file, threads, work, tokens }: LlamaLaneOptions): Promise<Contestant> {
  const rival = await LlamaRival.open(file, { threads, contextTokens: tokens + 512 });
  const prompt = somePrompt(tokens);
  const once = () => (work === 'prefill' ? rival.prefillSeconds(prompt) : rival.decodeSeconds(tokens));
  await (work === 'prefill' ? rival.prefillSeconds(somePrompt(WARM_UP)) : rival.decodeSeconds(WARM_UP));
  const round = async () => {
    const seconds = await once();
    return { seconds, tokensPerSecond: tokens / seconds };
  };
  return {
    about: { program: rival.description, work, tokens },
    requests: { round, memory: async () => ({ peakRss: peakRss() }) },
    close: () => rival.close(),
  };
}

await serve(open);
