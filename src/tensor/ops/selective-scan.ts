/**
 * Selective scan (S6): h[t] = exp(delta[t] A) h[t-1] + delta[t] B[t] u[t];  y[t] = (C[t] h[t] + D u[t]) * silu(z[t])
 * with delta = softplus(dt + dtBias). B is Euler-discretised (not exact zero-order hold), as in the official kernel.
 *
 * The fused kernel keeps the state in registers: memory grows as length x channels. The backward pass computes
 * the states again, chunk by chunk, from those saved at chunk boundaries.
 * Source: Gu & Dao 2023, section 3.2, algorithm 2.
 */
import { ShapeError } from '../../core/index.ts';
import { record, willRecord } from '../autograd.ts';
import type { Device } from '../device.ts';
import type { Tensor } from '../tensor.ts';
import { checkFlags, type SequenceOptions } from './causal-conv.ts';
import { add, exp, mul, silu, softplus } from './elementwise.ts';
import { checkRagged, forEachPart, type RaggedPart, sequencesOf } from './ragged.ts';
import { sum } from './reduce.ts';
import { concat, narrow, permute, reshape } from './shape.ts';

/** Positions between saved states: memory b*l*d*n/64 against one more forward scan in the backward pass. */
const CHUNK = 64;

export interface ScanInputs {
  /** [b, l, d] */
  u: Tensor;
  /** Step before bias and softplus, [b, l, d]. */
  dt: Tensor;
  /** Decay rates, negative, [n, d]: transposed against `A_log` of checkpoints. */
  A: Tensor;
  /** [b, l, n] */
  B: Tensor;
  /** [b, l, n] */
  C: Tensor;
  /** Skip, [d]. */
  D?: Tensor | null;
  /** Gate, [b, l, d]. */
  z?: Tensor | null;
  /** [d] */
  dtBias?: Tensor | null;
}

export interface ScanOptions extends SequenceOptions {
  /** Whether the step goes through softplus; true unless given. */
  softplus?: boolean;
}

/** Shape of the scan's state. */
export const scanStateShape = (b: number, d: number, n: number): number[] => [b, n, d];

function check({ u, dt, A, B, C, D, z, dtBias }: ScanInputs, { flags, state, ragged }: ScanOptions) {
  if (u.rank !== 3) throw new ShapeError('selectiveScan', 'u', '[b, l, d]', u.shape);
  const [b, l, d] = u.shape;
  const n = A.shape[0];
  const expect = (name: string, t: Tensor | null | undefined, shape: number[]) => {
    if (t && (t.size !== shape.reduce((p, q) => p * q, 1) || t.cols !== shape.at(-1))) {
      throw new ShapeError('selectiveScan', name, `[${shape.join(', ')}]`, t.shape);
    }
  };
  expect('A', A, [n, d]);
  expect('dt', dt, [b, l, d]);
  expect('B', B, [b, l, n]);
  expect('C', C, [b, l, n]);
  expect('D', D, [d]);
  expect('z', z, [b, l, d]);
  expect('dtBias', dtBias, [d]);
  const given = [u, dt, A, B, C, D ?? null, z ?? null, dtBias ?? null, state ?? null];
  if (ragged) checkRagged('selectiveScan', b * l, ragged, given);
  const sequences = ragged ? sequencesOf(ragged) : b;
  expect('state', state, scanStateShape(sequences, d, n));
  checkFlags('selectiveScan', flags, b, l);
  return { b, l, d, n, sequences };
}

/** The forward kernel over all sequences at once, or once for each part of a ragged batch. */
function launchForward(
  device: Device,
  tensors: Readonly<Record<string, Tensor | null>>,
  dims: Record<string, number>,
  ragged: readonly RaggedPart[] | null,
): void {
  if (!ragged) {
    device.launch('selective_scan', tensors, dims);
    return;
  }
  const { u, dt, b, c, z, flags, y, stateIn, stateOut, ...rest } = tensors;
  forEachPart(ragged, ({ rows, length, positions, sequences }) => {
    const inputs = { u: positions(u), dt: positions(dt), b: positions(b), c: positions(c), z: positions(z) };
    const states = { stateIn: sequences(stateIn), stateOut: sequences(stateOut) };
    const own = { ...inputs, flags: positions(flags), y: positions(y), ...states };
    device.launch('selective_scan', { ...rest, ...own }, { ...dims, b: rows, l: length });
  });
}

/**
 * y [b, l, d] in u's dtype and, if wanted, the state after the last position, f32 [b, n, d].
 * Any of u, dt, B, C, z may be half types; A, D, dtBias and states are f32 (f64 on the reference device).
 * @throws ShapeError naming the argument that does not fit.
 */
export function selectiveScan(inputs: ScanInputs, options: ScanOptions = {}): { y: Tensor; state: Tensor | null } {
  const { b, l, d, n, sequences } = check(inputs, options);
  const { u, dt, A, B, C, D = null, z = null, dtBias = null } = inputs;
  const { flags = null, state: stateIn = null, wantState = false } = options;
  const { device } = u;
  const stateType = A.dtype;
  const dims = { b, l, d, n, chunk: CHUNK, softplus: Number(options.softplus ?? true) };
  const y = device.empty(u.shape, u.dtype);
  const stateOut = wantState ? device.empty(scanStateShape(sequences, d, n), stateType) : null;
  const differentiable = [u, dt, A, B, C, D, z, dtBias, stateIn];
  const checkpoints = willRecord(...differentiable) ? device.empty([b * Math.ceil(l / CHUNK) * n, d], stateType) : null;
  const tensors = { u, dt, a: A, b: B, c: C, d: D, z, dtBias, flags, stateIn, y, stateOut, checkpoints };
  launchForward(device, tensors, dims, options.ragged ?? null);
  if (!checkpoints) return { y, state: stateOut };
  const optional = [D, z, dtBias, flags];
  const saved = [u, dt, A, B, C, checkpoints, ...optional.filter((t) => t !== null)];
  const stateShape = stateIn?.shape;
  record('selectiveScan', differentiable, [y, stateOut], saved, ([dy, dstateOut], kept, needs) => {
    const [su, sdt, sA, sB, sC, points, ...rest] = kept;
    const [sD, sz, sBias, sFlags] = optional.map((t) => (t ? rest.shift()! : null));
    const like = (t: Tensor) => device.empty(t.shape, t.dtype);
    const [du, ddt, dB, dC] = [like(su), like(sdt), like(sB), like(sC)];
    const da = needs[2] ? device.zeros(sA.shape, sA.dtype) : null;
    const dd = needs[5] ? device.zeros(sD!.shape, sD!.dtype) : null;
    const dz = needs[6] ? like(sz!) : null;
    const ddtBias = needs[7] ? device.zeros(sBias!.shape, sBias!.dtype) : null;
    const dstateIn = needs[8] ? device.empty(stateShape!, stateType) : null;
    device.launch(
      'selective_scan_bwd',
      {
        u: su,
        dt: sdt,
        a: sA,
        b: sB,
        c: sC,
        d: sD,
        z: sz,
        dtBias: sBias,
        flags: sFlags,
        checkpoints: points,
        dy: dy ?? device.zeros(su.shape, su.dtype),
        dstateOut,
        du,
        ddt,
        da,
        db: dB,
        dc: dC,
        dd,
        dz,
        ddtBias,
        dstateIn,
      },
      dims,
    );
    const all = [du, ddt, da, dB, dC, dd, dz, ddtBias, dstateIn];
    return all.map((g, i) => (needs[i] ? g : null));
  });
  checkpoints.dispose();
  return { y, state: stateOut };
}

/** `selectiveScan` composed from primitives, one position after the other: its twin for tests. No flags. */
export function selectiveScanRef(inputs: ScanInputs, options: ScanOptions = {}): { y: Tensor; state: Tensor | null } {
  const { b, l, d, n } = check(inputs, options);
  const { u, A, B, C, D, z, dtBias } = inputs;
  const shifted = dtBias ? add(inputs.dt, reshape(dtBias, [1, 1, d])) : inputs.dt;
  const delta = (options.softplus ?? true) ? softplus(shifted) : shifted;
  const at = (t: Tensor, i: number, shape: number[]) => reshape(narrow(t, 1, i, 1), shape);
  const column = (t: Tensor, i: number) => reshape(permute(at(t, i, [b, 1, n]), [0, 2, 1]), [b, n, 1]);
  let h = options.state ? reshape(options.state, [b, n, d]) : u.device.zeros([b, n, d], A.dtype);
  const rows: Tensor[] = [];
  for (let i = 0; i < l; i++) {
    const step = at(delta, i, [b, 1, d]);
    const decay = exp(mul(step, reshape(A, [1, n, d]))); // [b, n, d]
    h = add(mul(decay, h), mul(mul(step, at(u, i, [b, 1, d])), column(B, i)));
    rows.push(reshape(sum(mul(h, column(C, i)), 1), [b, 1, d]));
  }
  let y = l > 0 ? concat(rows, 1) : u.device.zeros([b, 0, d], u.dtype);
  if (D) y = add(y, mul(u, reshape(D, [1, 1, d])));
  if (z) y = mul(y, silu(z));
  return { y, state: options.wantState ? h : null };
}
