/** What WASM costs: the same prompts on the same machine, native beside it. */
import { krait, programsOf, speedRatio } from '../suite/figures.ts';
import type { Measurement } from '../suite/measurement.ts';
import { race } from '../suite/race.ts';
import { modelFolder } from '../suite/weights.ts';

export const wasmPrefill: Measurement = {
  name: 'wasm-prefill',
  about: 'a prompt of 512 tokens in f32 on WASM over native',
  async measure(context) {
    const options = { model: await modelFolder(context), dtype: 'f32', work: 'prefill', tokens: 512 } as const;
    const entries = await race(
      context,
      { wasm: krait({ threads: 2 }, { ...options, device: 'wasm' }), native: krait(context, options) },
      { rounds: context.isQuick ? 2 : context.rounds, after: { wasm: ['memory'] } },
    );
    const subject = { row: 'wasm-prefill', what: '512 tokens, f32', least: 0.1 } as const;
    const sides = { over: entries.wasm, under: entries.native, names: ['WASM', 'native'] } as const;
    return { figures: [speedRatio(subject, sides)], programs: programsOf(entries), raw: entries };
  },
};
