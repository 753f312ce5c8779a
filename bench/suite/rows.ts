/** What the engine must show on the shapes of Mamba-130M, row by row: what is asked, and what the hardware would allow. */

export interface Row {
  readonly what: string;
  readonly asked: string;
  readonly limit: string;
}

export const ROWS = {
  'matmul-f32': {
    what: 'f32 GEMM 512x3072x768 and 2048x1536x768, share of the FMA peak',
    asked: '88 %',
    limit: '100 %',
  },
  'matmul-bf16': {
    what: 'bf16 GEMM, same shapes, share of the bf16 dot peak (where a processor has none: of the FMA peak)',
    asked: '80 %',
    limit: '100 %',
  },
  prefill: {
    what: 'prefill of 512 and 2,048 tokens, f32 / bf16, against node-llama-cpp in the same type',
    asked: '4.5x / 5.5x',
    limit: '6.8x / 11x',
  },
  decode: {
    what: 'decode, f32 / bf16 / int8 (its q8_0), against node-llama-cpp',
    asked: '1.9x / 2.5x / 2.0x',
    limit: '2.3x / 4x / 3.3x',
  },
  'decode-bandwidth': { what: 'decode, share of the read bandwidth', asked: '80 %', limit: '100 %' },
  'full-step': {
    what: 'full fine-tuning step, 1 x 512 tokens, f32: model FLOP utilisation',
    asked: '62 %',
    limit: '100 %',
  },
  lora: {
    what: 'LoRA (r 16, all linear) in bf16 against full fine-tuning in f32, 1 x 512 and 4 x 512 tokens: tokens per second; peak memory per token',
    asked: '2.2x; 30 % of it',
    limit: '3x',
  },
  rivals: {
    what: 'training, against Hugging Face on CPU (its sequential path), 512 tokens',
    asked: '50x',
    limit: '-',
  },
  scoring: {
    what: "scoring tasks: tokens of all inputs per second over those of lm-eval with Hugging Face's Mamba, same CPU",
    asked: '5x',
    limit: '-',
  },
  prefixes: {
    what: 'scoring 5-shot MMLU, what requests begin with read once, over each request by itself',
    asked: '2x',
    limit: '-',
  },
  forecast: {
    what: 'an epoch of MambaTS: the time of the same model in PyTorch with a sequential scan over that of Krait',
    asked: '5x',
    limit: '-',
  },
  lookback: {
    what: 'a training step of MambaTS, look-back of 5,760 over 720',
    asked: 'at most 8.8x',
    limit: '8x',
  },
  'long-speed': {
    what: 'tokens per second of prefill and of a training step at 16,384 tokens over that at 1,024',
    asked: '0.9',
    limit: '1',
  },
  'long-memory': {
    what: 'memory of a training step, 16,384 against 4,096 tokens',
    asked: 'at most 4.2x',
    limit: '4x',
  },
  scan: { what: 'selective scan forward / backward, share of its roofline', asked: '50 %', limit: '-' },
  'wasm-prefill': {
    what: 'WASM, 2 threads, prefill over native f32 (same machine)',
    asked: '1/10',
    limit: '1/7',
  },
  'wasm-matmul': { what: 'WASM f32 GEMM against onnxruntime-web, same shapes', asked: '-', limit: '-' },
  'cold-start': {
    what: '`krait generate`, cold start to first token, weights in the page cache',
    asked: '0.6 s',
    limit: '-',
  },
  threads: { what: 'two threads against one, prefill and training', asked: '1.8x', limit: '2x' },
} as const satisfies Record<string, Row>;

export type RowId = keyof typeof ROWS;
export const ROW_IDS = Object.keys(ROWS) as RowId[];
