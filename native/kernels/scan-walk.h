// The two walks of the scan's gradient along the positions of a chunk, for a block of states of a vector of channels
// that stays in registers: forward again for decays and states, and back with the gradient of the state.
// Arrays of positions are [count, 16] from the vector's first channel on; arrays of states are rows of 16 likewise.
#pragma once
#include "scan-common.h"

namespace krait {
namespace KRAIT_VARIANT {
namespace {

/** Arrays of a group for each position of the chunk, [positions, 16], one after the other from `from`. */
struct Steps {
  float *delta, *input, *u, *dpre, *stepSlope, *dgate;
  float *sum, *ddelta, *dinput;  // sums over states

  static constexpr int64_t ARRAYS = 9;
  Steps(float* from, int64_t most) {
    float** arrays[ARRAYS] = {&delta, &input, &u, &dpre, &stepSlope, &dgate, &sum, &ddelta, &dinput};
    for (int i = 0; i < ARRAYS; i++) *arrays[i] = from + i * most * WIDTH;
  }
};

/** What recomputing leaves of a position: decays, and the states that it is handed, [BLOCK, LANES] each. */
constexpr int64_t KEPT = 2 * BLOCK * LANES;

/** Sums of the lanes of one vector of each state of a block, without a way through memory. */
KRAIT_INLINE F4 laneSums(const F (&x)[BLOCK]) {
  static_assert(BLOCK == 4, "four vectors are summed at a time");
#if defined(__AVX512F__)
  const __m512 ab = _mm512_add_ps(_mm512_unpacklo_ps((__m512)x[0], (__m512)x[1]), _mm512_unpackhi_ps((__m512)x[0], (__m512)x[1]));
  const __m512 cd = _mm512_add_ps(_mm512_unpacklo_ps((__m512)x[2], (__m512)x[3]), _mm512_unpackhi_ps((__m512)x[2], (__m512)x[3]));
  const __m512 each = _mm512_add_ps(_mm512_shuffle_ps(ab, cd, 0x44), _mm512_shuffle_ps(ab, cd, 0xee));
  const __m256 half = _mm256_add_ps(_mm512_castps512_ps256(each), _mm512_extractf32x8_ps(each, 1));
  return (F4)_mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
#elif defined(__AVX2__)
  const __m256 ab = _mm256_add_ps(_mm256_unpacklo_ps((__m256)x[0], (__m256)x[1]), _mm256_unpackhi_ps((__m256)x[0], (__m256)x[1]));
  const __m256 cd = _mm256_add_ps(_mm256_unpacklo_ps((__m256)x[2], (__m256)x[3]), _mm256_unpackhi_ps((__m256)x[2], (__m256)x[3]));
  const __m256 each = _mm256_add_ps(_mm256_shuffle_ps(ab, cd, 0x44), _mm256_shuffle_ps(ab, cd, 0xee));
  return (F4)_mm_add_ps(_mm256_castps256_ps128(each), _mm256_extractf128_ps(each, 1));
#else
  return sumsOfFour((F4)x[0], (F4)x[1], (F4)x[2], (F4)x[3]);
#endif
}
/** sums [BLOCK] += those. */
KRAIT_INLINE void addLaneSums(float* sums, const F (&x)[BLOCK]) {
  const F4 total = loadVector<F4>(sums) + laneSums(x);
  __builtin_memcpy(sums, &total, sizeof total);
}

/** Sums over channels that a position has: [2, BLOCK], of db and of dc. */
constexpr int64_t SUMS = 2 * BLOCK;

/**
 * Decays and states of every position; on top of the sums over states, c h, and on top of the sums over channels,
 * [positions, SUMS], those of dc, which come second.
 */
template <bool isNear>
void recomputeBlock(const Positions& positions, int64_t block, const float* rates, const float* state,
                    const Steps& steps, int q, float* kept, float* channelSums, Lines ahead) {
  F h[BLOCK];
  for (int s = 0; s < BLOCK; s++) h[s] = load(state, Whole{s * WIDTH});
  const float *b = positions.b + block, *c = positions.c + block, *delta = steps.delta + q, *input = steps.input + q;
  const float* dpre = steps.dpre + q;
  const uint8_t* isReset = positions.isReset;
  const int64_t count = positions.count, states = positions.states;
  float* sum = steps.sum + q;
  for (int64_t from = 0; from < count; from += AT_ONCE) {
    const int64_t to = from + AT_ONCE < count ? from + AT_ONCE : count;
    computeDecays<isNear>(delta + from * WIDTH, to - from, rates, kept, KEPT);
    for (int64_t i = from; i < to; i++, b += states, c += states, kept += KEPT, channelSums += SUMS) {
      if (isReset[i]) {
        __builtin_memset(kept, 0, BLOCK * LANES * 4);
        for (int s = 0; s < BLOCK; s++) h[s] = splat(0);
      }
      ahead.fetch(i);
      const F added = load(input, Whole{i * WIDTH}), weight = load(dpre, Whole{i * WIDTH});
      F total = load(sum, Whole{i * WIDTH}), terms[BLOCK];
      for (int s = 0; s < BLOCK; s++) {
        store(kept, Whole{(BLOCK + s) * LANES}, h[s]);
        h[s] = multiplyAdd(load(kept, Whole{s * LANES}), h[s], added * b[s]);
        terms[s] = weight * h[s];
        total = multiplyAdd(h[s], splat(c[s]), total);
      }
      addLaneSums(channelSums + BLOCK, terms);
      store(sum, Whole{i * WIDTH}, total);
    }
  }
}

/**
 * dh from the last position to the first, and what follows from it: da, on top of the sums over states ddelta and dinput,
 * and on top of the sums over channels those of db, which come first. Without `hasRates` no da: nobody asks where a is frozen.
 */
template <bool hasRates>
void walkBlock(const Positions& positions, int64_t block, const float* slopes, const float* kept,
                      const Steps& steps, int q, float* dhAt, float* daAt, float* channelSums) {
  F dh[BLOCK], da[BLOCK];
  for (int s = 0; s < BLOCK; s++) {
    dh[s] = load(dhAt, Whole{s * WIDTH});
    da[s] = splat(0);
  }
  const float *deltas = steps.delta + q, *inputs = steps.input + q, *dpres = steps.dpre + q;
  float *ddeltas = steps.ddelta + q, *dinputs = steps.dinput + q;
  const int64_t last = positions.count - 1, states = positions.states;
  const float *b = positions.b + last * states + block, *c = positions.c + last * states + block;
  for (int64_t i = last; i >= 0; i--, b -= states, c -= states) {
    const float* entry = kept + i * KEPT;
    const Whole where = {i * WIDTH};
    const F step = load(deltas, where), input = load(inputs, where), dpre = load(dpres, where);
    F ddelta = load(ddeltas, where), dinput = load(dinputs, where), terms[BLOCK];
    for (int s = 0; s < BLOCK; s++) {
      const Whole lower = {s * LANES}, upper = {(BLOCK + s) * LANES};
      const F gradient = multiplyAdd(dpre, splat(c[s]), dh[s]);
      terms[s] = gradient * input;
      dinput = multiplyAdd(gradient, splat(b[s]), dinput);
      dh[s] = gradient * load(entry, lower);
      const F weighted = dh[s] * load(entry, upper);
      ddelta = multiplyAdd(weighted, load(slopes, Whole{s * WIDTH}), ddelta);
      if (hasRates) da[s] = multiplyAdd(weighted, step, da[s]);
    }
    store(ddeltas, where, ddelta);
    store(dinputs, where, dinput);
    addLaneSums(channelSums + i * SUMS, terms);
  }
  for (int s = 0; s < BLOCK; s++) {
    const Whole where = {s * WIDTH};
    store(dhAt, where, dh[s]);
    if (hasRates) store(daAt, where, load(daAt, where) + da[s]);
  }
}

}  // namespace
}  // namespace KRAIT_VARIANT
}  // namespace krait
