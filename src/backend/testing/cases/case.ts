/** A row of the contract: how to make the launch, and the error allowed. */
import type { KernelName } from '../../kernels.ts';
import type { Tolerance } from '../comparison.ts';
import { ALL_TYPES, DENSE, type Draw, type Layout, STRIDED, type Types } from '../operands.ts';
import type { Launch } from '../runner.ts';

export interface ContractCase {
  /** Says what is special about it. */
  readonly label: string;
  readonly types: Types;
  readonly layout: Layout;
  readonly tolerance: Tolerance;
  /** May run kernels on the reference device to get at inputs such as checkpoints. */
  readonly make: (draw: Draw) => Launch | Promise<Launch>;
}

export type CaseTable<Names extends KernelName> = Readonly<Record<Names, readonly ContractCase[]>>;

/** Rows x columns around vector widths, nothing at all, and enough to be cut into pieces for threads. */
export const SHAPES: readonly (readonly [rows: number, cols: number])[] = [
  [0, 5],
  [3, 0],
  [1, 1],
  [2, 7],
  [3, 16],
  [5, 33],
  [1, 130],
  [70, 515],
];
export const SMALL_SHAPES = SHAPES.slice(2, 7);

type Make = ContractCase['make'];

/** One case for each combination of types and layouts; two of them where `elements` are many. */
export const sized = (elements: number, label: string, tolerance: Tolerance, make: Make): ContractCase[] =>
  elements > 2000
    ? [...single(label, tolerance, make), ...single(label, tolerance, make, 'mixed')]
    : variants(label, tolerance, make);

/** One case for each combination of types and layouts. */
export function variants(label: string, tolerance: Tolerance, make: Make, types = ALL_TYPES): ContractCase[] {
  return types.flatMap((t) =>
    [DENSE, STRIDED].map((layout) => ({
      label: `${label} ${t} ${layout === DENSE ? 'dense' : 'strided'}`,
      types: t,
      layout,
      tolerance,
      make,
    })),
  );
}

/** One case, strided. */
export const single = (label: string, tolerance: Tolerance, make: Make, types: Types = 'f32'): ContractCase[] => [
  { label: `${label} ${types}`, types, layout: STRIDED, tolerance, make },
];
