/** Native devices of every instruction set that this machine runs, not only of the one that a new device takes. */
import type { Backend } from '../backend.ts';
import { createNativeBackend, nativeAvailability } from '../native/index.ts';

/** The instruction sets besides the one that a new native device takes; none where there is no native device. */
export function otherVariants(): string[] {
  const { available, variant, variants } = nativeAvailability();
  return available ? variants.filter((name) => name !== variant) : [];
}

/** A native device of one instruction set, which this machine must have. */
export function createVariant(variant: string, threads: number): Backend {
  const before = process.env.KRAIT_ISA;
  process.env.KRAIT_ISA = variant;
  try {
    return createNativeBackend({ threads });
  } finally {
    if (before === undefined) delete process.env.KRAIT_ISA;
    else process.env.KRAIT_ISA = before;
  }
}
