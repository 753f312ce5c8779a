/**
 * Gradient check of a kernel by central differences, in f64 on the reference device. With cotangents w of the
 * outputs, L = sum over outputs of w * output; every element of every input must have the derivative
 *   (L(x + h) - L(x - h)) / 2h
 * that the backward kernel, given the same w, says it has.
 */
import { fail } from 'node:assert/strict';
import type { Operand } from './operands.ts';
import { evaluate, type Launch, type Outputs } from './runner.ts';

export interface GradientCheck {
  readonly forward: Launch;
  readonly backward: Launch;
  /** Output of `forward`: its cotangent, an input of `backward`. */
  readonly cotangents: Readonly<Record<string, string>>;
  /** Input of `forward`: its gradient, an output of `backward`. */
  readonly gradients: Readonly<Record<string, string>>;
  /** Factor of the cotangents, if the backward kernel multiplies them. */
  readonly scale?: number;
}

/** Truncation is of the order of STEP^2, rounding of 1e-16 / STEP. */
const STEP = 1e-5;
const TOLERANCE = 1e-6;
/** Gradients below this size are compared absolutely. */
const SMALLEST = 1e-2;

function project(outputs: Outputs, { backward, cotangents, scale = 1 }: GradientCheck): number {
  let sum = 0;
  for (const [output, cotangent] of Object.entries(cotangents)) {
    const weights = backward.tensors[cotangent]?.values;
    if (!weights) continue;
    for (let i = 0; i < weights.length; i++) sum += scale * weights[i] * outputs[output][i];
  }
  return sum;
}

async function derivative(check: GradientCheck, name: string, x: Operand, index: number): Promise<number> {
  const values = x.values!;
  const at = async (value: number) => {
    const moved = { ...x, values: values.with(index, value) };
    const { forward } = check;
    return project(await evaluate({ ...forward, tensors: { ...forward.tensors, [name]: moved } }), check);
  };
  const step = STEP * Math.max(1, Math.abs(values[index]));
  return ((await at(values[index] + step)) - (await at(values[index] - step))) / (2 * step);
}

/** Gradient of the backward kernel: its output, minus the earlier value where it adds. */
function claimed(check: GradientCheck, gradients: Outputs, name: string): Float64Array {
  const target = check.backward.tensors[name]!;
  return gradients[name].map((value, i) => value - (target.values?.[i] ?? 0));
}

/** Fails at the first derivative that differs. Returns how many were compared. */
export async function checkGradients(check: GradientCheck): Promise<number> {
  const outputs = await evaluate(check.backward);
  let compared = 0;
  for (const [input, gradient] of Object.entries(check.gradients)) {
    const x = check.forward.tensors[input];
    if (!x || !check.backward.tensors[gradient]) continue;
    const got = claimed(check, outputs, gradient);
    const expected = new Float64Array(got.length);
    for (let i = 0; i < got.length; i++) expected[i] = await derivative(check, input, x, i);
    const largest = expected.reduce((m, value) => Math.max(m, Math.abs(value)), SMALLEST);
    const worst = got.findIndex((value, i) => !(Math.abs(value - expected[i]) <= TOLERANCE * largest));
    if (worst >= 0) {
      const at = `${gradient}[${Math.floor(worst / x.cols)}, ${worst % x.cols}]`;
      fail(`[${check.backward.kernel}] ${at}: differences say ${expected[worst]}, the kernel says ${got[worst]}`);
    }
    compared += got.length;
  }
  return compared;
}
