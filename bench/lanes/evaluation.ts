/** Krait as a contestant in scoring: each round answers all requests of tasks, as `krait eval run` does. */
import { openBackend } from '../../src/backend/select.ts';
import { answerRequests, type EvalRequest, prepareTask, selectTasks } from '../../src/eval/index.ts';
import { loadTokenizer } from '../../src/io/index.ts';
import { loadModel } from '../../src/models/index.ts';
import { NodeFileSystem, readHubSettings } from '../../src/platform/node/index.ts';
import { Device } from '../../src/tensor/index.ts';
import { type Contestant, peakRss, serve } from '../suite/serve.ts';

export interface EvaluationOptions {
  /** Folder of the model, with its tokenizer. */
  readonly model: string;
  readonly threads: number;
  readonly dataDir: string;
  readonly tasks: readonly string[];
  readonly shots: number;
  /** Questions of each task; all if null. */
  readonly limit: number | null;
  readonly reusePrefixes: boolean;
}

async function open(options: EvaluationOptions): Promise<Contestant> {
  const { model: folder, threads, dataDir, shots, limit, reusePrefixes } = options;
  const files = new NodeFileSystem();
  const { backend } = await openBackend({ device: 'native', threads });
  const device = new Device(backend);
  const model = await loadModel(device, files, folder);
  const tokenizer = await loadTokenizer(files, folder);
  const places = { files, dataDir, hub: readHubSettings() };
  const batches: EvalRequest[][] = [];
  for (const task of selectTasks(options.tasks).tasks) {
    const prepared = await prepareTask(task, places, { shots: [shots], limit: limit ?? undefined });
    batches.push(prepared.ask(shots).flatMap(({ requests }) => requests));
  }
  await answerRequests(model, tokenizer, batches[0].slice(0, 4), { reusePrefixes }); // warm
  const round = async () => {
    const total = { seconds: 0, tokens: 0, computedTokens: 0, logprob: 0 };
    for (const requests of batches) {
      const { answers, ...cost } = await answerRequests(model, tokenizer, requests, { reusePrefixes });
      for (const key of ['seconds', 'tokens', 'computedTokens'] as const) total[key] += cost[key];
      for (const answer of answers) total.logprob += answer.kind === 'generate' ? 0 : answer.logprob;
    }
    return { ...total, tokensPerSecond: total.tokens / total.seconds };
  };
  return {
    about: { program: `Krait ${backend.name} ${backend.variant}, ${threads} threads`, requests: batches.flat().length },
    requests: { round, memory: async () => ({ peakRss: peakRss() }) },
    close() {
      model.dispose();
      device.close();
    },
  };
}

await serve(open);
