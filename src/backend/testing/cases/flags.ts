/** Flags of sequence kernels: document starts and padding in every position. */
import { FLAG_PAD, FLAG_RESET } from '../../kernels.ts';
import type { Draw, Operand } from '../operands.ts';

export const FLAG_MODES = ['none', 'zero', 'resets', 'left', 'right', 'mixed', 'all pads', 'every reset'] as const;
export type FlagMode = (typeof FLAG_MODES)[number];

/** Flags of one position: `batch` and `time` count from 0 in [b, l]. */
function flagAt(draw: Draw, mode: FlagMode, l: number, batch: number, time: number): number {
  const chance = (p: number) => draw.random.uniform() < p;
  const padding = (batch * 3 + 2) % (l + 1);
  switch (mode) {
    case 'resets':
      return chance(0.3) ? FLAG_RESET : 0;
    case 'left':
      return time < padding ? FLAG_PAD : 0;
    case 'right':
      return time >= l - padding ? FLAG_PAD : 0;
    case 'mixed':
      // Both at once is allowed: such a position is padding, and its reset counts for nothing.
      return (chance(0.3) ? FLAG_PAD : 0) | (chance(0.3) ? FLAG_RESET : 0);
    case 'all pads':
      return batch % 2 === 0 ? FLAG_PAD : chance(0.5) ? FLAG_PAD : 0;
    case 'every reset':
      return FLAG_RESET;
    default:
      return 0;
  }
}

/** i32 [b, l], or null for `none`. */
export function flagsFor(draw: Draw, mode: FlagMode, b: number, l: number): Operand | null {
  if (mode === 'none') return null;
  return draw.values(b, l, (i) => flagAt(draw, mode, l, Math.floor(i / l), i % l), 'i32');
}
