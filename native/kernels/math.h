// Elementary functions on vectors, in f32. Each gives the same bits in every variant, but where a file asks for fused
// multiply-adds (vec.h). Maximum errors against the true value were measured over all of their range (relative unless said otherwise).
#pragma once
#include "vec.h"

namespace krait {
namespace KRAIT_VARIANT {
namespace {

/** c[0] + c[1] x + ... by Horner's rule: the fewest operations. */
template <int N>
KRAIT_INLINE F horner(F x, const float (&c)[N]) {
  F y = splat(c[N - 1]);
  for (int i = N - 2; i >= 0; i--) y = multiplyAdd(y, x, splat(c[i]));
  return y;
}

/** The same with even and odd powers apart: half as many operations that wait for one another. */
template <int N>
KRAIT_INLINE F polynomial(F x, const float (&c)[N]) {
  const F square = x * x;
  F last = splat(c[N - 1]), other = splat(c[N - 2]);
  for (int i = N - 3; i >= 0; i--) {
    const F next = multiplyAdd(last, square, splat(c[i]));
    last = other;
    other = next;
  }
  return multiplyAdd(last, x, other);
}

/** 1.5 * 2^23: adding it rounds a small number to an integer, and leaves that in the lowest bits. */
constexpr float TO_INTEGER = 12582912.0f;

/** 2^k for -126 <= k <= 128; 2^128 is infinity. */
KRAIT_INLINE F powerOfTwo(I k) { return (F)((k + 127) << 23); }

/** ln(2) in two pieces; the first has so few bits that whole multiples up to 2^14 are exact. */
constexpr float LN2_HIGH = 0.693359375f, LN2_LOW = -2.12194440e-4f;
constexpr float LOG2E = 1.44269504f;

/** e^x = 2^k p with p = e^r, |r| <= ln(2)/2. `shifted` is k + TO_INTEGER. */
struct Exponential {
  F shifted, p;
};
KRAIT_INLINE Exponential reduce(F x) {
  const F shifted = multiplyAdd(x, splat(LOG2E), splat(TO_INTEGER)), k = shifted - TO_INTEGER;
  const F r = multiplyAdd(k, splat(-LN2_LOW), multiplyAdd(k, splat(-LN2_HIGH), x));
  const F tail = polynomial(r, {0.499999933f, 0.166665189f, 0.0416684076f, 0.00836892165f, 0.00138142024f});
  return {shifted, multiplyAdd(r * r, tail, r) + 1.0f};
}

/**
 * e^x. Error 8e-8; infinity above 88.73, subnormal results from -87.34, 0 from -103.98; NaN stays.
 * 2^k is applied in two halves, so that neither factor overflows.
 */
KRAIT_INLINE F exponential(F x) {
  const Exponential e = reduce(larger(smaller(x, splat(89.0f)), splat(-104.0f)));
  const I k = (I)e.shifted - (I)splat(TO_INTEGER), half = k >> 1;
  return e.p * powerOfTwo(half) * powerOfTwo(k - half);
}

/** e^x for x <= 0, a fifth faster: 0 below -87.3. */
KRAIT_INLINE F decayingExponential(F x) {
  const Exponential e = reduce(x);
  return select(x < -87.3f, splat(0), e.p * (F)(((I)e.shifted << 23) + (127 << 23)));
}

#if defined(KRAIT_FUSE) && defined(__AVX512F__)
/** The bits of 2^(j/32) less j << 18: adding the whole number 32 x << 18 takes that back, and puts what is above j into the exponent. */
alignas(64) constexpr uint32_t ROOTS[32] = {
    0x3f800000, 0x3f7ecd87, 0x3f7daac3, 0x3f7c980f, 0x3f7b95c2, 0x3f7aa43a, 0x3f79c3d3, 0x3f78f4f0,
    0x3f7837f0, 0x3f778d3a, 0x3f76f532, 0x3f767043, 0x3f75fed7, 0x3f75a15b, 0x3f75583f, 0x3f7523f6,
    0x3f7504f3, 0x3f74fbaf, 0x3f7508a4, 0x3f752c4d, 0x3f75672a, 0x3f75b9be, 0x3f76248c, 0x3f76a81e,
    0x3f7744fd, 0x3f77fbb8, 0x3f78ccdf, 0x3f79b907, 0x3f7ac0c7, 0x3f7be4ba, 0x3f7d257d, 0x3f7e83b3,
};
/**
 * 2^x for the decays of scans, for |x| <= 126: cheaper than `exponential`. Error 2e-7; NaN stays. With a table in two registers
 * the rest of x is so small that two of its powers do.
 */
KRAIT_INLINE F powerOf2Near(F x) {
  constexpr float TO_PART = 0x1.8p18f;  // as TO_INTEGER, for multiples of 1/32
  const F shifted = x + TO_PART, f = x - (shifted - TO_PART);
  const __m512i lower = _mm512_load_si512(ROOTS), upper = _mm512_load_si512(ROOTS + 16);
  const F power = (F)((I)_mm512_permutex2var_epi32(lower, (__m512i)shifted, upper) + ((I)shifted << 18));
  return multiplyAdd(power, f * multiplyAdd(f, splat(0.24022654f), splat(0.6931573f)), power);
}
/** The same for every x: 2^-126 instead of anything smaller, infinity above 127.5. */
KRAIT_INLINE F powerOf2(F x) {
  const F near = powerOf2Near(larger(smaller(x, splat(127.5f)), splat(-126.0f)));
  return select(x > 127.5f, splat(__builtin_inff()), near);
}
#else
/** 2^x for the decays of scans, for |x| <= 126: cheaper than `exponential`. Error 2e-7. NaN stays if the lower half of its bits is 0. */
KRAIT_INLINE F powerOf2Near(F x) {
  const F shifted = x + TO_INTEGER, f = x - (shifted - TO_INTEGER);
  const F tail = horner(f, {0.693146974f, 0.240222388f, 0.0555073767f, 0.00967173019f, 0.00132641561f});
  const F p = multiplyAdd(f, tail, splat(1));
  return (F)((I)p + ((I)shifted << 23));
}
/** The same for every x: 2^-126 instead of anything smaller, infinity from 128. */
KRAIT_INLINE F powerOf2(F x) { return powerOf2Near(larger(smaller(x, splat(128.0f)), splat(-126.0f))); }
#endif

/** Natural logarithm. Error 8e-8, also of subnormals; -infinity at 0, NaN below. */
KRAIT_INLINE F logarithm(F x) {
  const I isTiny = x < 0x1p-126f;
  const F scaled = select(isTiny, x * 0x1p23f, x);
  const I k = ((I)scaled - 0x3f3504f3) >> 23;  // scaled = 2^k (1 + f), 1 + f from sqrt(1/2) to sqrt(2)
  const F f = (F)((I)scaled - (k << 23)) - 1.0f;
  const F e = __builtin_convertvector(k - (isTiny & 23), F);
  const F tail = polynomial(f, {0.333333317f, -0.250008209f, 0.20001226f, -0.166233613f, 0.142017812f, -0.13160169f,
                                0.127614139f, -0.0763432953f});
  const F square = f * f;
  const F fraction = e * LN2_LOW + f * square * tail - 0.5f * square + f;
  F result = fraction + e * LN2_HIGH;
  result = select(x == __builtin_inff(), x, result);
  result = select(x == 0.0f, splat(-__builtin_inff()), result);
  return select((x < 0.0f) | (x != x), splat(__builtin_nanf("")), result);
}

/** log(1 + u) for 0 <= u <= 1: 2 artanh(s) with s = u/(2+u). Error 2e-7. */
KRAIT_INLINE F logOnePlus(F u) {
  const F s = u / (u + 2.0f), square = s * s;
  const F tail = polynomial(square, {0.666664165f, 0.400215217f, 0.280018409f, 0.280119913f});
  return multiplyAdd(s * square, tail, 2.0f * s);
}

/** log(1 + e^x). Error 2e-7 above -87.3. Above 20 it is x: what the sum adds is below half a unit of x. */
KRAIT_INLINE F softplus(F x, F decayed) { return larger(x, splat(0)) + logOnePlus(decayed); }
/** softplus and its slope, 1/(1 + e^-x), with one division for both. Errors 3e-7. */
struct Softplus {
  F value, slope;
};
KRAIT_INLINE Softplus softplusWithSlope(F x, F decayed) {
  const F one = decayed + 1.0f, two = decayed + 2.0f, quotient = 1.0f / (one * two);
  const F s = decayed * one * quotient, more = two * quotient, square = s * s;
  const F tail = polynomial(square, {0.666664165f, 0.400215217f, 0.280018409f, 0.280119913f});
  const F log = multiplyAdd(s * square, tail, 2.0f * s);
  return {larger(x, splat(0)) + log, select(x < 0.0f, decayed * more, more)};
}
/** The argument that these functions take beside x: e^-|x|. */
KRAIT_INLINE F decayedSize(F x) { return decayingExponential(-absolute(x)); }
KRAIT_INLINE F softplus(F x) { return softplus(x, decayedSize(x)); }

/** 1/(1 + e^-x) and its distance from 1, both with error 2e-7. */
struct Sigmoid {
  F value, rest;
};
KRAIT_INLINE Sigmoid sigmoids(F x, F decayed) {
  const F more = 1.0f / (decayed + 1.0f), less = decayed * more;
  const I isNegative = x < 0.0f;
  return {select(isNegative, less, more), select(isNegative, more, less)};
}
KRAIT_INLINE Sigmoid sigmoids(F x) { return sigmoids(x, decayedSize(x)); }
KRAIT_INLINE F sigmoid(F x) {
  const F decayed = decayedSize(x);
  return select(x < 0.0f, decayed, splat(1)) / (decayed + 1.0f);
}
KRAIT_INLINE F silu(F x, F decayed) { return select(x < 0.0f, x * decayed, x) / (decayed + 1.0f); }
KRAIT_INLINE F silu(F x) { return silu(x, decayedSize(x)); }
KRAIT_INLINE F siluSlope(F x, F decayed) {
  const Sigmoid s = sigmoids(x, decayed);
  return s.value + x * s.value * s.rest;
}
KRAIT_INLINE F siluSlope(F x) { return siluSlope(x, decayedSize(x)); }

/** Hyperbolic tangent. Error 1.4e-7. */
KRAIT_INLINE F tangentH(F x) {
  const F size = absolute(x), square = x * x;
  const F near = x * square * polynomial(square, {-0.33333282f, 0.133314434f, -0.0537397894f, 0.0206392597f,
                                                  -0.00570511917f}) + x;
  const F far = 1.0f - 2.0f / (exponential(size * 2.0f) + 1.0f);
  return select(size < 0.625f, near, withSign(far, x));
}

/**
 * Normal distribution function (1 + erf(x/sqrt(2)))/2, absolute error 2.4e-7.
 * Phi(-v) = t P(t) e^(-v^2/2) with t = 1/(1 + 0.35 v) for v >= 0; the other side is 1 minus that.
 */
KRAIT_INLINE F normalCdf(F x) {
  const F t = 1.0f / (absolute(x) * 0.35f + 1.0f);
  const F scale = t * polynomial(t, {0.139621405f, 0.139861863f, 0.119832916f, 0.105507809f, -0.0231093789f,
                                     0.159173516f, -0.255713714f, 0.14397145f, -0.0291458824f});
  const F tail = scale * exponential(x * x * -0.5f);
  return select(x < 0.0f, tail, 1.0f - tail);
}

/** 1/sqrt(2 pi) e^(-x^2/2) */
KRAIT_INLINE F normalDensity(F x) { return exponential(x * x * -0.5f) * 0.398942280f; }

/**
 * decayedSize of n numbers. Loops that compute it in a pass of its own are faster: two short chains of operations keep
 * the processor busier than a long one.
 */
inline void decaySizes(const float* x, int64_t n, float* y) {
  eachVector(n, [&](auto where) { store(y, where, decayedSize(load(x, where))); });
}

// ---- One number ----------------------------------------------------------------------------------------------------

inline float logarithm(float x) { return logarithm(splat(x))[0]; }
inline float exponential(float x) { return exponential(splat(x))[0]; }
inline float squareRoot(float x) { return squareRoot(splat(x))[0]; }

}  // namespace
}  // namespace KRAIT_VARIANT
}  // namespace krait
