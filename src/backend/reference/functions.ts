/**
 * Scalar functions of the reference kernels, in f64.
 *   sigmoid(x)  = 1/(1 + e^-x)
 *   silu(x)     = x sigmoid(x)                     silu'(x) = s + x s (1 - s), s = sigmoid(x)
 *   softplus(x) = log(1 + e^x) for x <= 20, else x  softplus'(x) = sigmoid(x), else 1
 *   erf(x)      = 2/sqrt(pi) * integral of e^(-t^2) from 0 to x
 */

export const sigmoid = (x: number): number => (x >= 0 ? 1 / (1 + Math.exp(-x)) : Math.exp(x) / (1 + Math.exp(x)));

export const silu = (x: number): number => x * sigmoid(x);

export function siluSlope(x: number): number {
  const s = sigmoid(x);
  return s + x * s * (1 - s);
}

export const softplus = (x: number): number => (x <= 20 ? Math.log1p(Math.exp(x)) : x);

export const softplusSlope = (x: number): number => (x <= 20 ? sigmoid(x) : 1);

/**
 * The error function, to about 1e-15. Up to 2.5 the Maclaurin series
 *   erf(x) = 2/sqrt(pi) sum_i (-1)^i x^(2i+1) / (i! (2i+1)),
 * from there the continued fraction of erfc (Abramowitz and Stegun 7.1.14), evaluated from a depth of 60.
 */
export function erf(x: number): number {
  if (Number.isNaN(x)) return x;
  if (x < 0) return -erf(-x);
  if (x > 6) return 1;
  if (x <= 2.5) {
    let power = x;
    let sum = x;
    for (let i = 1; i < 60; i++) {
      power *= (-x * x) / i;
      sum += power / (2 * i + 1);
    }
    return (2 / Math.sqrt(Math.PI)) * sum;
  }
  let fraction = x;
  for (let i = 60; i >= 1; i--) fraction = x + i / 2 / fraction;
  return 1 - Math.exp(-x * x) / (Math.sqrt(Math.PI) * fraction);
}

/** gelu(x) = x Phi(x), Phi the normal distribution function: the exact form, not the tanh one. */
export const gelu = (x: number): number => 0.5 * x * (1 + erf(x * Math.SQRT1_2));

export const geluSlope = (x: number): number =>
  0.5 * (1 + erf(x * Math.SQRT1_2)) + (x * Math.exp(-0.5 * x * x)) / Math.sqrt(2 * Math.PI);
