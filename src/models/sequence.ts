/**
 * What holds for all layers of one forward pass, computed once: marks, ragged parts, positions and documents. Mixers read
 * from it what they need; what it carries to the next call is a part of the model's state.
 */
import {
  concat,
  type Device,
  FLAG_PAD,
  FLAG_RESET,
  type RaggedPart,
  sequencePositions,
  type Tensor,
} from '../tensor/index.ts';
import type { LayerState, StateKind } from './state/kinds.ts';

export { FLAG_PAD, FLAG_RESET };

/** Tensors of a sequence; null where the call has none. */
export interface SequenceTensors {
  /** i32 [b, l]: bit 0 starts a new document at the position, bit 1 marks padding (backend/kernels.ts). */
  readonly flags: Tensor | null;
  /** Place of each position within its document, f32 [b, l]. */
  readonly positions: Tensor | null;
  /** Document of each position, f32 [b, l]; -1 for padding. Null where all positions are of one document. */
  readonly documents: Tensor | null;
  /** Documents of the positions that are seen, those of the state first, f32 [b, p + l]; null as `documents`. */
  readonly seenDocuments: Tensor | null;
}

export interface Sequence extends SequenceTensors {
  /** Sequences of different lengths without padding, all positions one after the other; null for rows of one length. */
  readonly ragged: readonly RaggedPart[] | null;
}

export const SEQUENCE_TENSORS = [
  'flags',
  'positions',
  'documents',
  'seenDocuments',
] as const satisfies readonly (keyof SequenceTensors)[];

/** State of a sequence between calls, if any layer reads positions. */
export const SEQUENCE_STATE = {
  /** Document of each position that was read. */
  documents: { shape: [], grows: true },
  /** Place of the next position in its document, and the document now. */
  place: { shape: [2] },
} as const satisfies StateKind;

export interface SequenceInput {
  readonly flags?: Tensor | null;
  readonly ragged?: readonly RaggedPart[] | null;
  /** State from the previous call; empty for a fresh start. */
  readonly carried?: LayerState | null;
}

/**
 * The sequence of b rows of l positions, and what it carries to the next call.
 * @param readsPositions whether any layer asks for positions; otherwise none are computed
 */
export function sequenceOf(
  device: Device,
  [b, l]: readonly number[],
  { flags = null, ragged = null, carried = null }: SequenceInput,
  readsPositions: boolean,
): { sequence: Sequence; carried: LayerState } {
  const none = { positions: null, documents: null, seenDocuments: null };
  if (!readsPositions) return { sequence: { flags, ragged, ...none }, carried: {} };
  const { positions, documents, after } = sequencePositions(flags, b, l, carried?.place ?? null, device);
  const seen = carried ? concat([carried.documents, documents], 1) : documents; // [b, p + l]
  const isOne = !flags && !carried; // all positions are of one document
  const known = { documents: isOne ? null : documents, seenDocuments: isOne ? null : seen };
  return { sequence: { flags, ragged, positions, ...known }, carried: { documents: seen, place: after } };
}
