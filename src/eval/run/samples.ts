/** One line a question, as lm-eval logs samples (0.4.13): numbers of answers as text, as Python writes them. */
import { textHash } from '../../core/index.ts';
import { pythonText } from '../python/text.ts';
import type { EvalAnswer, EvalRequest } from '../requests.ts';
import { targetOf } from '../tasks/index.ts';
import type { TaskScore } from './evaluate.ts';

function argumentsOf(request: EvalRequest): Record<string, unknown> {
  switch (request.kind) {
    case 'loglikelihood':
      return { arg_0: request.context, arg_1: request.continuation };
    case 'rolling':
      return { arg_0: request.text };
    case 'generate': {
      const { context, until, maxTokens } = request;
      return { arg_0: context, arg_1: { until, max_gen_toks: maxTokens, do_sample: false } };
    }
  }
}

function responseOf(answer: EvalAnswer): string | string[] {
  switch (answer.kind) {
    case 'loglikelihood':
      return [pythonText(answer.logprob), pythonText(answer.isGreedy)];
    case 'rolling':
      return pythonText(answer.logprob);
    case 'generate':
      return answer.text;
  }
}

export async function* sampleLog({ samples }: TaskScore): AsyncGenerator<Record<string, unknown>> {
  for (const [i, { row, question, requests, answers, metrics }] of samples.entries()) {
    const target = targetOf(question);
    const [first] = requests;
    const responses = answers.map(responseOf);
    yield {
      doc_id: i,
      doc: row,
      target,
      arguments: Object.fromEntries(requests.map((request, j) => [`gen_args_${j}`, argumentsOf(request)])),
      resps: responses.map((response) => [response]),
      filtered_resps: responses,
      filter: 'none',
      metrics: Object.keys(metrics),
      doc_hash: await textHash(JSON.stringify(row, null, 2)),
      prompt_hash: await textHash(first.kind === 'rolling' ? first.text : first.context),
      target_hash: await textHash(target),
      ...metrics,
    };
  }
}
