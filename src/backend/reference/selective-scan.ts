/**
 * Selective scan (S6), for each batch and channel, with a state h of n numbers:
 *   raw = dt[t] + dtBias;  delta = softplus(raw) or raw
 *   h[t] = exp(delta a) h[t-1] + delta u[t] b[t]
 *   y[t] = (sum_n c[t] h[t] + d u[t]) silu(z[t])
 * Before the first position h is `stateIn` or 0. A reset sets h to 0 before its position; a padded position is
 * skipped as if it were not there (also its reset), and gets 0. A checkpoint is the state that the first position
 * of a chunk is handed, before its own reset.
 * The backward pass walks the chunks from the last to the first, recomputes h inside each from its checkpoint and
 * carries dh = dL/dh:
 *   dh += c dpre;  dc = dpre h;  ddelta = sum_n dh (a e h[t-1] + u b);  da += dh delta e h[t-1];
 *   db = dh delta u;  du = dpre d + sum_n dh delta b;  dh = dh e      with e = exp(delta a), dpre = dy silu(z).
 * Sums over channels and positions are taken in f64 and rounded once.
 * Source: Gu and Dao 2023, "Mamba", algorithm 2; b is discretised by Euler's rule as in the authors' kernel.
 */
import { FLAG_PAD, FLAG_RESET } from '../kernels.ts';
import { silu, siluSlope, softplus, softplusSlope } from './functions.ts';
import type { Numbers, Tensors } from './view.ts';

type Inputs = Tensors<'u' | 'dt' | 'a' | 'b' | 'c', 'd' | 'z' | 'dtBias' | 'flags'>;

function vector(n: number, value: (i: number) => number): Float64Array {
  const values = new Float64Array(n);
  for (let i = 0; i < n; i++) values[i] = value(i);
  return values;
}

/** One position of one channel, read from the tensors. */
function position(t: Inputs, dims: Numbers, batch: number, time: number, channel: number) {
  const row = batch * dims.l + time;
  const raw = t.dt.get(row, channel) + (t.dtBias?.get(0, channel) ?? 0);
  const flag = t.flags?.get(batch, time) ?? 0;
  const delta = dims.softplus ? softplus(raw) : raw;
  return {
    row,
    raw,
    delta,
    isPad: (flag & FLAG_PAD) !== 0,
    isReset: (flag & FLAG_RESET) !== 0,
    u: t.u.get(row, channel),
    gate: t.z ? silu(t.z.get(row, channel)) : 1,
    skip: t.d?.get(0, channel) ?? 0,
    decay: vector(dims.n, (i) => Math.exp(delta * t.a.get(i, channel))),
    b: vector(dims.n, (i) => t.b.get(row, i)),
    c: vector(dims.n, (i) => t.c.get(row, i)),
  };
}

type Position = ReturnType<typeof position>;

/** The state after a position that is not padding. */
const step = (h: Float64Array, p: Position): Float64Array =>
  vector(h.length, (i) => (p.isReset ? 0 : p.decay[i] * h[i]) + p.delta * p.u * p.b[i]);

/** y before the gate. */
function output(h: Float64Array, p: Position): number {
  let sum = p.skip * p.u;
  for (let i = 0; i < h.length; i++) sum += p.c[i] * h[i];
  return sum;
}

export function selectiveScan(t: Inputs & Tensors<'y', 'stateIn' | 'stateOut' | 'checkpoints'>, dims: Numbers): void {
  const { b, l, d, n, chunk } = dims;
  const chunks = Math.ceil(l / chunk);
  for (let batch = 0; batch < b; batch++) {
    for (let channel = 0; channel < d; channel++) {
      let h = vector(n, (i) => t.stateIn?.get(batch * n + i, channel) ?? 0);
      for (let time = 0; time < l; time++) {
        if (time % chunk === 0) {
          const row = (batch * chunks + time / chunk) * n;
          h.forEach((value, i) => void t.checkpoints?.set(row + i, channel, value));
        }
        const p = position(t, dims, batch, time, channel);
        if (!p.isPad) h = step(h, p);
        t.y.set(p.row, channel, p.isPad ? 0 : output(h, p) * p.gate);
      }
      h.forEach((value, i) => void t.stateOut?.set(batch * n + i, channel, value));
    }
  }
}

type Gradients = Tensors<'du' | 'ddt' | 'db' | 'dc', 'da' | 'dd' | 'dz' | 'ddtBias' | 'dstateIn'>;
type BwdTensors = Inputs & Tensors<'checkpoints' | 'dy', 'dstateOut'> & Gradients;

/** Gradients that are summed over channels or positions. */
interface Sums {
  /** Over batches and positions: [n, d], [d], [d]. */
  readonly da: Float64Array;
  readonly dd: Float64Array;
  readonly ddtBias: Float64Array;
  /** Over channels: [b*l, n]. */
  readonly db: Float64Array;
  readonly dc: Float64Array;
}

/** A position with the states around it. */
interface Moment {
  readonly p: Position;
  readonly before: Float64Array;
  readonly after: Float64Array;
}

/** Gradients of one position; turns `dh`, the gradient of the state after it, into that of the state before it. */
function stepBack(t: BwdTensors, dims: Numbers, channel: number, moment: Moment, dh: Float64Array, sums: Sums): void {
  const { p, after } = moment;
  const { n } = dims;
  const dy = t.dy.get(p.row, channel);
  const dpre = dy * p.gate;
  let du = dpre * p.skip;
  let ddelta = 0;
  for (let i = 0; i < n; i++) {
    const before = p.isReset ? 0 : moment.before[i];
    dh[i] += dpre * p.c[i];
    sums.dc[p.row * n + i] += dpre * after[i];
    sums.db[p.row * n + i] += dh[i] * p.delta * p.u;
    sums.da[i * dims.d + channel] += dh[i] * p.delta * p.decay[i] * before;
    ddelta += dh[i] * (t.a.get(i, channel) * p.decay[i] * before + p.u * p.b[i]);
    du += dh[i] * p.delta * p.b[i];
    dh[i] = p.isReset ? 0 : dh[i] * p.decay[i];
  }
  const ddt = ddelta * (dims.softplus ? softplusSlope(p.raw) : 1);
  sums.dd[channel] += dpre * p.u;
  sums.ddtBias[channel] += ddt;
  t.du.set(p.row, channel, du);
  t.ddt.set(p.row, channel, ddt);
  if (t.z) t.dz?.set(p.row, channel, dy * output(after, p) * siluSlope(t.z.get(p.row, channel)));
}

/** The positions start..end-1 of a chunk with their states, recomputed from its checkpoint. */
function recompute(t: BwdTensors, dims: Numbers, batch: number, channel: number, start: number, end: number): Moment[] {
  const checkpoint = (batch * Math.ceil(dims.l / dims.chunk) + start / dims.chunk) * dims.n;
  let h = vector(dims.n, (i) => t.checkpoints.get(checkpoint + i, channel));
  const moments: Moment[] = [];
  for (let time = start; time < end; time++) {
    const p = position(t, dims, batch, time, channel);
    const after = p.isPad ? h : step(h, p);
    moments.push({ p, before: h, after });
    h = after;
  }
  return moments;
}

function channelBack(t: BwdTensors, dims: Numbers, batch: number, channel: number, sums: Sums): void {
  const { l, n, chunk } = dims;
  const dh = vector(n, (i) => t.dstateOut?.get(batch * n + i, channel) ?? 0);
  for (let start = (Math.ceil(l / chunk) - 1) * chunk; start >= 0; start -= chunk) {
    const end = Math.min(start + chunk, l);
    for (const moment of recompute(t, dims, batch, channel, start, end).reverse()) {
      if (!moment.p.isPad) stepBack(t, dims, channel, moment, dh, sums);
      else for (const gradient of [t.du, t.ddt, t.dz]) gradient?.set(moment.p.row, channel, 0);
    }
  }
  for (let i = 0; i < n; i++) t.dstateIn?.set(batch * n + i, channel, dh[i]);
}

export function selectiveScanBwd(t: BwdTensors, dims: Numbers): void {
  const { b, l, d, n } = dims;
  const sums: Sums = {
    da: new Float64Array(n * d),
    dd: new Float64Array(d),
    ddtBias: new Float64Array(d),
    db: new Float64Array(b * l * n),
    dc: new Float64Array(b * l * n),
  };
  for (let batch = 0; batch < b; batch++) {
    for (let channel = 0; channel < d; channel++) channelBack(t, dims, batch, channel, sums);
  }
  for (let channel = 0; channel < d; channel++) {
    for (let i = 0; i < n; i++) t.da?.add(i, channel, sums.da[i * d + channel]);
    t.dd?.add(0, channel, sums.dd[channel]);
    t.ddtBias?.add(0, channel, sums.ddtBias[channel]);
  }
  for (let row = 0; row < b * l; row++) {
    for (let i = 0; i < n; i++) {
      t.db.set(row, i, sums.db[row * n + i]);
      t.dc.set(row, i, sums.dc[row * n + i]);
    }
  }
}
