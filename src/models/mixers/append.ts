/**
 * Memory that grows by positions, without copying all of it each time: a block has room to spare and is filled in place.
 * A tensor over it sees only what was there when it was made, so earlier states stay as they are; where two states go on
 * from one, the second finds the room taken and makes a block of its own.
 */
import { concat, type Tensor, willRecord } from '../../tensor/index.ts';

/** Room for this many positions more, at least. */
const LEAST_ROOM = 32;

/** Blocks that `append` made: positions in use, and positions that fit. */
const blocks = new WeakMap<Tensor['storage'], { used: number; room: number }>();

/** The positions from `start` on, of a block [1, p, width]. */
const rowsOf = (block: Tensor, start: number, count: number): Tensor => {
  const width = block.shape[2];
  return block.alias([1, count, width], block.offset + start * width);
};

function copyInto(block: Tensor, start: number, x: Tensor): void {
  const y = rowsOf(block, start, x.shape[1]);
  x.device.launch('copy', { x, y }, { rows: x.rows, cols: x.cols });
  y.dispose();
}

/** A block of twice the size, which makes copying a constant share of the work, with the positions of `before` in it. */
function roomier(before: Tensor, count: number): Tensor {
  const [, used, width] = before.shape;
  const room = used + Math.max(used, count + LEAST_ROOM);
  const block = before.device.empty([1, room, width], before.dtype);
  copyInto(block, 0, before);
  blocks.set(block.storage, { used, room });
  return block;
}

/**
 * The positions of `before` [b, p, width] and then those of `now` [b, l, width]: a new tensor; for one sequence without
 * gradients, in the memory of the old one where that has room.
 */
export function append(before: Tensor | null, now: Tensor): Tensor {
  if (!before) return now;
  const [b, p] = before.shape;
  if (b !== 1 || willRecord(before, now)) return concat([before, now], 1);
  const l = now.shape[1];
  const known = blocks.get(before.storage);
  const hasRoom = known?.used === p && known.room >= p + l;
  const block = hasRoom ? before.alias() : roomier(before, l);
  copyInto(block, p, now);
  blocks.get(block.storage)!.used = p + l;
  const all = rowsOf(block, 0, p + l);
  block.dispose();
  return all;
}
