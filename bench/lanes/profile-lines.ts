/** What a lane tells of a profile: the rows of its kernels, those of scans by two ways of counting. */
import {
  type Backend,
  EXP_FLOPS,
  kernelRows,
  type LaunchShape,
  type Profile,
  type Roofline,
  SOFTPLUS_FLOPS,
} from '../../src/backend/index.ts';
import type { ProfileLine } from '../suite/measurement.ts';

const isScan = (kernel: string): boolean => kernel === 'selective_scan' || kernel === 'selective_scan_bwd';

/** Operations of a scan with e^x and softplus as one each. A position has e^x for each state and one in the gate. */
export function plainFlops({ kernel, dims: { b, l, d, n, softplus }, flops }: LaunchShape): number {
  if (!isScan(kernel)) return flops;
  return flops - b * l * d * ((n + 1) * (EXP_FLOPS - 1) + softplus * (SOFTPLUS_FLOPS - 1));
}

/** Longest first; a scan's with the share of its roofline by `plainFlops` too. */
export function profileLines(profile: Profile, roofs: Roofline, device: Pick<Backend, 'variant'>): ProfileLine[] {
  const shapes = profile.shapes.map((shape) => ({ ...shape, flops: plainFlops(shape) }));
  const plain = kernelRows({ ...profile, shapes }, roofs, device);
  return kernelRows(profile, roofs, device).map((row, i) =>
    isScan(row.kernel) ? { ...row, plainShare: plain[i].roofShare } : row,
  );
}
