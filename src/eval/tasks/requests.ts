/** Requests of a question to the model. */
import type { EvalRequest } from '../requests.ts';
import type { Question, Task } from './task.ts';

/** One request for each choice, prompt or text; `preamble` is the description and the examples. */
export function requestsOf(task: Task, question: Question, preamble: string): EvalRequest[] {
  const { targetDelimiter } = task;
  const ask = (prompt: string, continuation: string): EvalRequest => ({
    kind: 'loglikelihood',
    context: preamble + prompt,
    continuation,
  });
  switch (question.kind) {
    case 'choice':
      return question.choices.map((choice) => ask(question.prompt, targetDelimiter + choice));
    case 'filled':
      return question.prompts.map((prompt) => ask(prompt, targetDelimiter + question.rest));
    case 'continuation':
      return [ask(question.prompt, question.target)];
    case 'text':
      return [{ kind: 'rolling', text: question.text }];
    case 'open': {
      const { prompt, until, maxTokens } = question;
      return [{ kind: 'generate', context: preamble + prompt, until, maxTokens }];
    }
  }
}

/** The right answer, as a log of samples names it: lm-eval's `target`. */
export function targetOf(question: Question): string {
  switch (question.kind) {
    case 'choice':
      return String(question.gold);
    case 'filled':
      return question.rest;
    case 'continuation':
      return question.target;
    case 'text':
      return question.text;
    case 'open':
      return question.targets.join(' | ');
  }
}
