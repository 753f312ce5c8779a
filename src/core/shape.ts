/** Shapes are plain arrays of sizes, outermost first; every tensor is dense along its last axis. */
export type Shape = readonly number[];

/** Number of elements of a shape; 1 for a scalar `[]`. */
export const sizeOf = (shape: Shape): number => shape.reduce((n, d) => n * d, 1);

export const sameShape = (a: Shape, b: Shape): boolean => a.length === b.length && a.every((d, i) => d === b[i]);

/** `[2, 3]` */
export const formatShape = (shape: Shape): string => `[${shape.join(', ')}]`;

/** Axis counted from the front; negative axes count from the back. */
export const normalizeAxis = (axis: number, rank: number): number => (axis < 0 ? axis + rank : axis);

/** A shape seen as a matrix: all leading axes are rows, the last axis is columns. A scalar is 1 x 1. */
export function asMatrix(shape: Shape): { rows: number; cols: number } {
  const cols = shape.length ? shape[shape.length - 1] : 1;
  return { rows: shape.slice(0, -1).reduce((n, d) => n * d, 1), cols };
}

/** NumPy broadcasting of two shapes, or undefined where they do not fit. */
export function broadcastShapes(a: Shape, b: Shape): number[] | undefined {
  const rank = Math.max(a.length, b.length);
  const out = new Array<number>(rank);
  for (let i = 1; i <= rank; i++) {
    const x = a[a.length - i] ?? 1;
    const y = b[b.length - i] ?? 1;
    if (x !== y && x !== 1 && y !== 1) return undefined;
    out[rank - i] = x === 1 ? y : x;
  }
  return out;
}
