/**
 * Cross-entropy, alone and fused with the output head. The fused form works through a block of rows at a time:
 * logits of one block become their own gradient (in place, but in half precision) and are multiplied back at once, so
 * neither the logits nor their gradient ever exist for the whole batch (rows x vocabulary).
 */
import { DTypeError, dtypeBytes, ShapeError } from '../../core/index.ts';
import { record, willRecord } from '../autograd.ts';
import type { Tensor } from '../tensor.ts';
import { cast, mul, scale } from './elementwise.ts';
import { productDims } from './matmul.ts';
import { sum } from './reduce.ts';
import { reshape } from './shape.ts';

/** Targets with this value carry no loss. */
export const IGNORE_INDEX = -100;

/** Bytes of logits, and of their gradient where it is another type, that are alive at once. */
const BLOCK_BYTES = 32 * 2 ** 20;
/** Blocks are whole tiles of the product on every instruction set. */
const TILE_ROWS = 12;

/**
 * Rows of a block: as even as can be, because each block reads the whole weight. And rows that its memory holds: `most` or a half,
 * a quarter, ... of that, so that steps with other numbers of rows find the memory of the last.
 */
function blockRows(rows: number, bytesPerRow: number): { block: number; held: number } {
  const most = Math.max(TILE_ROWS, Math.floor(BLOCK_BYTES / bytesPerRow));
  const even = Math.ceil(rows / Math.max(1, Math.ceil(rows / most)));
  const block = Math.max(1, Math.min(rows, Math.ceil(even / TILE_ROWS) * TILE_ROWS));
  let held = Math.max(most, block);
  while (held >= 2 * block) held = Math.floor(held / 2);
  return { block, held };
}

function checkTargets(op: string, targets: Tensor, rows: number): void {
  if (targets.dtype !== 'i32') throw new DTypeError(op, 'targets', 'i32', targets.dtype);
  if (targets.size !== rows) throw new ShapeError(op, 'targets', `[${rows}]`, targets.shape);
}

/**
 * Loss of each row in nats: logits [..., v], targets i32 [...] -> f32 [...]; 0 where the target is IGNORE_INDEX.
 * @throws ShapeError, DTypeError if the targets do not fit.
 */
export function crossEntropy(logits: Tensor, targets: Tensor): Tensor {
  checkTargets('crossEntropy', targets, logits.rows);
  const { device } = logits;
  const dims = { rows: logits.rows, cols: logits.cols, ignore: IGNORE_INDEX };
  const lossType = logits.dtype === 'f64' ? 'f64' : 'f32';
  const losses = device.empty([logits.rows, 1], lossType);
  const grad = willRecord(logits) ? device.empty(logits.shape, logits.dtype) : null;
  const column = targets.alias([targets.size, 1]);
  device.launch('cross_entropy', { logits, targets: column, losses, dlogits: grad }, dims, { gradScale: 1 });
  column.dispose();
  const y = losses.alias(logits.shape.slice(0, -1), 0);
  losses.dispose();
  if (!grad) return y;
  record('crossEntropy', [logits], [y], [grad], ([dy], [g]) => [
    mul(g, cast(reshape(dy!, [...g.shape.slice(0, -1), 1]), g.dtype)),
  ]);
  grad.dispose();
  return y;
}

export interface HeadLossOptions {
  /** The sum of losses is divided by this: the number of targets that count, over all accumulated batches. */
  normalizer: number;
  /** Factor on the gradients (not on the loss): the loss scale of f16 training. */
  gradScale?: number;
}

/**
 * sum over rows of -log softmax(x W^T)[target], divided by `normalizer`; a scalar.
 * x [..., d], weight [v, d], targets i32 [...]. Half x against f32 weight multiplies in x's type (see `linear`), and the
 * gradient of f32 logits is rounded to x's type, as that of any other result in that type is.
 * @throws ShapeError, DTypeError if an argument does not fit.
 */
export function linearCrossEntropy(x: Tensor, weight: Tensor, targets: Tensor, options: HeadLossOptions): Tensor {
  checkTargets('linearCrossEntropy', targets, x.rows);
  if (weight.cols !== x.cols) throw new ShapeError('linearCrossEntropy', 'weight', `[v, ${x.cols}]`, weight.shape);
  const { device } = x;
  const [rows, d, v] = [x.rows, x.cols, weight.shape[0]];
  const recording = willRecord(x, weight);
  const dx = recording && x.requiresGrad ? device.empty(x.shape, x.dtype) : null;
  const dw = recording && weight.requiresGrad ? device.zeros(weight.shape, weight.dtype) : null;
  const losses = device.empty([rows, 1], x.dtype === 'f64' ? 'f64' : 'f32');
  const gradScale = (options.gradScale ?? 1) / options.normalizer;
  const half = x.dtype === 'bf16' || x.dtype === 'f16';
  const { block, held } = blockRows(
    rows,
    v * (dtypeBytes(losses.dtype) + (half && recording ? dtypeBytes(x.dtype) : 0)),
  );
  device.noGrad(() =>
    device.scope(() => {
      const w = half && weight.dtype === 'f32' ? cast(weight, x.dtype) : weight;
      const logits = device.empty([held, v], losses.dtype);
      const dlogits = half && recording ? device.empty([held, v], x.dtype) : logits;
      for (let at = 0; at < rows; at += block) {
        const m = Math.min(block, rows - at);
        const part = (t: Tensor, cols: number) => t.alias([m, cols], t.offset + at * t.ld, t.ld);
        const xs = part(x, d);
        device.launch('matmul', { a: xs, b: w, c: logits }, productDims({ m, n: v, k: d, transB: true }), {
          alpha: 1,
          beta: 0,
        });
        const t = targets.alias([m, 1], targets.offset + at);
        const tensors = { logits, targets: t, losses: part(losses, 1), dlogits: recording ? dlogits : null };
        device.launch('cross_entropy', tensors, { rows: m, cols: v, ignore: IGNORE_INDEX }, { gradScale });
        if (dx)
          device.launch('matmul', { a: dlogits, b: w, c: part(dx, d) }, productDims({ m, n: d, k: v }), {
            alpha: 1,
            beta: 0,
          });
        if (dw)
          device.launch('matmul', { a: dlogits, b: xs, c: dw }, productDims({ m: v, n: d, k: m, transA: true }), {
            alpha: 1,
            beta: 1,
          });
      }
    }),
  );
  const loss = device.noGrad(() => device.scope(() => scale(sum(losses), 1 / options.normalizer)));
  losses.dispose();
  if (!recording) return loss;
  const kept = [dx, dw].filter((t) => t !== null);
  record('linearCrossEntropy', [x, weight], [loss], kept, ([dy], saved) => {
    const scaled = saved.map((g) => mul(g, cast(reshape(dy!, [1, 1]), g.dtype)));
    return [dx ? scaled.shift()! : null, dw ? scaled.shift()! : null];
  });
  for (const t of kept) t.dispose();
  return loss;
}
