/** Every measurement, in the order in which they run: the short ones first. */
import type { Measurement } from '../suite/measurement.ts';
import { agreement } from './agreement.ts';
import { coldStart } from './cold-start.ts';
import { prefixes, scoring, scoringSmall } from './evaluation.ts';
import { forecast } from './forecast.ts';
import { decode, prefill } from './inference.ts';
import { longPrefill, longStep } from './long.ts';
import { matmul, wasmMatmul } from './matmul.ts';
import { pytorch } from './pytorch.ts';
import { fullStep, lora, scan, threads } from './training.ts';
import { wasmPrefill } from './wasm.ts';

export const MEASUREMENTS: readonly Measurement[] = [
  agreement,
  matmul,
  wasmMatmul,
  coldStart,
  decode,
  prefill,
  wasmPrefill,
  scan,
  fullStep,
  lora,
  threads,
  longPrefill,
  longStep,
  forecast,
  prefixes,
  scoringSmall,
  scoring,
  pytorch,
];
