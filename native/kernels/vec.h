// Vectors of f32 as wide as the variant's registers, and groups of 16 lanes for sums.
//
// Elementwise work is cut into vectors of LANES elements. What is summed across elements goes through 16 virtual
// lanes whatever the register width: element i belongs to lane i % 16, lanes are folded in halves. With contraction
// off, every variant therefore gives the same bits, but in files that ask for fused multiply-adds (`multiplyAdd`).
#pragma once
#include "abi.h"

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#define KRAIT_INLINE inline __attribute__((always_inline))

namespace krait {
namespace KRAIT_VARIANT {
namespace {

#if defined(__AVX512F__)
constexpr int LANES = 16;
#elif defined(__AVX2__)
constexpr int LANES = 8;
#else
constexpr int LANES = 4;
#endif

typedef float F __attribute__((vector_size(LANES * 4)));
typedef int32_t I __attribute__((vector_size(LANES * 4)));  // comparisons give lanes of 0 or -1
typedef uint32_t U __attribute__((vector_size(LANES * 4)));
typedef uint16_t H __attribute__((vector_size(LANES * 2)));

KRAIT_INLINE F splat(float x) { return x - F{}; }  // x - 0 is x for every x, and costs nothing
KRAIT_INLINE I splatInt(int32_t x) { return x - I{}; }
KRAIT_INLINE I laneNumbers() {
  I numbers = {};
  for (int i = 0; i < LANES; i++) numbers[i] = i;
  return numbers;
}

KRAIT_INLINE U splatBits(uint32_t x) { return x - U{}; }
/** Where mask is set a, else b. */
KRAIT_INLINE F select(I mask, F a, F b) { return mask ? a : b; }
/** The larger; a where either is NaN. */
KRAIT_INLINE F larger(F a, F b) {
#if defined(__AVX512F__)
  return (F)_mm512_max_ps((__m512)b, (__m512)a);
#elif defined(__AVX2__)
  return (F)_mm256_max_ps((__m256)b, (__m256)a);
#elif defined(__x86_64__)
  return (F)_mm_max_ps((__m128)b, (__m128)a);
#else
  return select(b > a, b, a);
#endif
}
/** The smaller; a where either is NaN. */
KRAIT_INLINE F smaller(F a, F b) {
#if defined(__AVX512F__)
  return (F)_mm512_min_ps((__m512)b, (__m512)a);
#elif defined(__AVX2__)
  return (F)_mm256_min_ps((__m256)b, (__m256)a);
#elif defined(__x86_64__)
  return (F)_mm_min_ps((__m128)b, (__m128)a);
#else
  return select(b < a, b, a);
#endif
}
/** The larger; NaN where either is NaN. */
KRAIT_INLINE F largest(F a, F b) { return select((b > a) | (b != b), b, a); }
KRAIT_INLINE F smallest(F a, F b) { return select((b < a) | (b != b), b, a); }
KRAIT_INLINE F absolute(F x) { return (F)((I)x & 0x7fffffff); }
/** The size of `size` with the sign of `sign`. */
KRAIT_INLINE F withSign(F size, F sign) { return (F)((I)size | ((I)sign & splatInt(int32_t(0x80000000u)))); }

KRAIT_INLINE F squareRoot(F x) {
#if defined(__AVX512F__)
  return (F)_mm512_sqrt_ps((__m512)x);
#elif defined(__AVX2__)
  return (F)_mm256_sqrt_ps((__m256)x);
#elif defined(__x86_64__)
  return (F)_mm_sqrt_ps((__m128)x);
#elif defined(__aarch64__)
  return (F)vsqrtq_f32((float32x4_t)x);
#elif defined(__wasm__)
#if __has_builtin(__builtin_elementwise_sqrt)
  return __builtin_elementwise_sqrt(x);
#else
  return (F)__builtin_wasm_sqrt_f32x4(x);
#endif
#else
  for (int i = 0; i < LANES; i++) x[i] = __builtin_sqrtf(x[i]);
  return x;
#endif
}

/**
 * a b + c. In files that define KRAIT_FUSE before they include this, it is one operation, rounded once, where the variant
 * has an instruction for it: faster, but other bits than on variants that have none.
 */
KRAIT_INLINE F multiplyAdd(F a, F b, F c) {
#if defined(KRAIT_FUSE) && defined(__AVX512F__)
  return (F)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(KRAIT_FUSE) && defined(__FMA__)
  return (F)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#elif defined(KRAIT_FUSE) && defined(__aarch64__)
  return (F)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
#else
  return a * b + c;
#endif
}

// ---- Places in memory: a whole vector, or the first elements of one -----------------------------------------------

/** Elements at..at+LANES-1. */
struct Whole {
  int64_t at;
};
/** Elements at..at+count-1, 0 < count < LANES; loads give 0 in the other lanes, stores leave them alone. */
struct Part {
  int64_t at;
  int count;
};

/** Mask of the lanes that the place has. */
KRAIT_INLINE I lanesOf(Whole) { return splatInt(-1); }
KRAIT_INLINE I lanesOf(Part where) { return laneNumbers() < where.count; }

template <class V>
KRAIT_INLINE V loadVector(const void* from) {
  V v;
  __builtin_memcpy(&v, from, sizeof v);
  return v;
}
KRAIT_INLINE F load(const float* from, Whole where) { return loadVector<F>(from + where.at); }
KRAIT_INLINE void store(float* to, Whole where, F x) { __builtin_memcpy(to + where.at, &x, sizeof x); }

KRAIT_INLINE F load(const float* from, Part where) {
#if defined(__AVX512F__)
  return (F)_mm512_maskz_loadu_ps(__mmask16((1u << where.count) - 1), from + where.at);
#elif defined(__AVX2__)
  return (F)_mm256_maskload_ps(from + where.at, (__m256i)lanesOf(where));
#else
  float lanes[LANES] = {};
  for (int i = 0; i < where.count; i++) lanes[i] = from[where.at + i];
  return loadVector<F>(lanes);
#endif
}
KRAIT_INLINE void store(float* to, Part where, F x) {
#if defined(__AVX512F__)
  _mm512_mask_storeu_ps(to + where.at, __mmask16((1u << where.count) - 1), (__m512)x);
#elif defined(__AVX2__)
  _mm256_maskstore_ps(to + where.at, (__m256i)lanesOf(where), (__m256)x);
#else
  float lanes[LANES];
  __builtin_memcpy(lanes, &x, sizeof x);
  for (int i = 0; i < where.count; i++) to[where.at + i] = lanes[i];
#endif
}

/** body(where) for elements 0..n-1, vector by vector, the last one perhaps in part. */
template <class Body>
KRAIT_INLINE void eachVector(int64_t n, Body body) {
  int64_t at = 0;
  for (; at + LANES <= n; at += LANES) body(Whole{at});
  if (at < n) body(Part{at, int(n - at)});
}

// ---- 16 lanes ------------------------------------------------------------------------------------------------------

constexpr int WIDTH = 16;
constexpr int PARTS = WIDTH / LANES;

struct Lanes16 {
  F part[PARTS];
};

KRAIT_INLINE Lanes16 splat16(float x) {
  Lanes16 lanes;
  for (int q = 0; q < PARTS; q++) lanes.part[q] = splat(x);
  return lanes;
}

/** Lane i + lane i+8, then +4, +2, +1. */
inline float foldLanes(const Lanes16& sum) {
  float lanes[WIDTH];
  __builtin_memcpy(lanes, &sum, sizeof lanes);
  for (int half = WIDTH / 2; half > 0; half /= 2) {
    for (int i = 0; i < half; i++) lanes[i] += lanes[i + half];
  }
  return lanes[0];
}

/** sum of term(where) over elements 0..n-1. */
template <class Term>
KRAIT_INLINE float sumOf(int64_t n, Term term) {
  Lanes16 sum = splat16(0);
  int64_t at = 0;
  for (; at + WIDTH <= n; at += WIDTH) {
    for (int q = 0; q < PARTS; q++) sum.part[q] += term(Whole{at + q * LANES});
  }
  for (int q = 0; q < PARTS && at < n; q++, at += LANES) {
    if (at + LANES <= n) {
      sum.part[q] += term(Whole{at});
    } else {
      const Part rest = {at, int(n - at)};
      sum.part[q] += (F)((I)term(rest) & lanesOf(rest));
    }
  }
  return foldLanes(sum);
}

/** The extreme of n elements by better(best so far, candidate), which must not care for order. */
template <class Better>
KRAIT_INLINE float extremeOf(const float* x, int64_t n, float start, Better better) {
  F best = splat(start);
  eachVector(n, [&](auto where) __attribute__((always_inline)) {
    best = better(best, select(lanesOf(where), load(x, where), best));
  });
  for (int i = 1; i < LANES; i++) best = better(best, splat(best[i]));
  return best[0];
}

// ---- 4 floats, to exchange lanes -----------------------------------------------------------------------------------

typedef float F4 __attribute__((vector_size(16)));

#if defined(__clang__) || __GNUC__ >= 12
#define KRAIT_SHUFFLE(a, b, i, j, k, l) __builtin_shufflevector(a, b, i, j, k, l)
#else
typedef int32_t I4 __attribute__((vector_size(16)));
#define KRAIT_SHUFFLE(a, b, i, j, k, l) __builtin_shuffle(a, b, I4{i, j, k, l})
#endif

/** Sum of each of four vectors of 4 lanes: lane i + lane i+2, then +1. */
KRAIT_INLINE F4 sumsOfFour(F4 a, F4 b, F4 c, F4 d) {
  const F4 ab = KRAIT_SHUFFLE(a, b, 0, 1, 4, 5) + KRAIT_SHUFFLE(a, b, 2, 3, 6, 7);
  const F4 cd = KRAIT_SHUFFLE(c, d, 0, 1, 4, 5) + KRAIT_SHUFFLE(c, d, 2, 3, 6, 7);
  return KRAIT_SHUFFLE(ab, cd, 0, 2, 4, 6) + KRAIT_SHUFFLE(ab, cd, 1, 3, 5, 7);
}

/** Transposes a block of 4 x 4 in memory: rows `fromStep` apart to rows `toStep` apart. */
KRAIT_INLINE void transposeFour(const float* from, int64_t fromStep, float* to, int64_t toStep) {
  const auto row = [&](int i) __attribute__((always_inline)) { return loadVector<F4>(from + i * fromStep); };
  const F4 a = row(0), b = row(1), c = row(2), d = row(3);
  const F4 lowAB = KRAIT_SHUFFLE(a, b, 0, 4, 1, 5), highAB = KRAIT_SHUFFLE(a, b, 2, 6, 3, 7);
  const F4 lowCD = KRAIT_SHUFFLE(c, d, 0, 4, 1, 5), highCD = KRAIT_SHUFFLE(c, d, 2, 6, 3, 7);
  const F4 columns[4] = {KRAIT_SHUFFLE(lowAB, lowCD, 0, 1, 4, 5), KRAIT_SHUFFLE(lowAB, lowCD, 2, 3, 6, 7),
                         KRAIT_SHUFFLE(highAB, highCD, 0, 1, 4, 5), KRAIT_SHUFFLE(highAB, highCD, 2, 3, 6, 7)};
  for (int i = 0; i < 4; i++) __builtin_memcpy(to + i * toStep, &columns[i], sizeof(F4));
}

}  // namespace
}  // namespace KRAIT_VARIANT
}  // namespace krait
