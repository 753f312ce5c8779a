// The two walks of the scan's gradient along the positions of a chunk, for a block of states of a vector of channels
// that stays in registers: forward again for decays and states, and back with the gradient of the state.
// Arrays of positions are [count, 16] from the vector's first channel on; arrays of states are rows of 16 likewise.
#pragma once
#include "scan-common.h"

namespace krait {
namespace KRAIT_VARIANT {
namespace {

/** Arrays of a group for each position of the chunk, [positions, 16]. */
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

/** Decays and states of every position, and c h on top of the sums. The entry after the last has the last states. */
template <bool isNear>
void recomputeBlock(const Positions& positions, int64_t block, const float* rates, const float* state,
                    const Steps& steps, int q, float* kept) {
  F rate[BLOCK], h[BLOCK];
  for (int s = 0; s < BLOCK; s++) {
    rate[s] = load(rates, Whole{s * WIDTH});
    h[s] = load(state, Whole{s * WIDTH});
    store(kept, Whole{(BLOCK + s) * LANES}, h[s]);
  }
  const float *b = positions.b + block, *c = positions.c + block;
  for (int64_t i = 0; i < positions.count; i++, b += positions.states, c += positions.states, kept += KEPT) {
    const Whole where = {i * WIDTH + q};
    const F step = load(steps.delta, where), input = load(steps.input, where);
    const bool isReset = positions.isReset[i];
    F total = load(steps.sum, where);
    for (int s = 0; s < BLOCK; s++) {
      F decay = decayOf<isNear>(step * rate[s]);
      if (isReset) decay = h[s] = splat(0);
      store(kept, Whole{s * LANES}, decay);
      h[s] = multiplyAdd(decay, h[s], input * b[s]);
      store(kept, Whole{KEPT + (BLOCK + s) * LANES}, h[s]);
      total = multiplyAdd(h[s], splat(c[s]), total);
    }
    store(steps.sum, where, total);
  }
}

/**
 * dh from the last position to the first, and what follows from it: da, on top of the sums over states ddelta and dinput,
 * and on top of the sums over channels, [positions, 2, BLOCK, LANES], the terms of db and dc.
 */
inline void walkBlock(const Positions& positions, int64_t block, const float* slopes, const float* kept,
                      const Steps& steps, int q, float* dhAt, float* daAt, float* products) {
  F dh[BLOCK], da[BLOCK];
  for (int s = 0; s < BLOCK; s++) {
    dh[s] = load(dhAt, Whole{s * WIDTH});
    da[s] = splat(0);
  }
  for (int64_t i = positions.count - 1; i >= 0; i--) {
    const float *b = positions.b + i * positions.states + block, *c = positions.c + i * positions.states + block;
    const float *entry = kept + i * KEPT, *after = entry + KEPT;
    float* product = products + i * KEPT;
    const Whole where = {i * WIDTH + q};
    const F step = load(steps.delta, where), input = load(steps.input, where), dpre = load(steps.dpre, where);
    F ddelta = load(steps.ddelta, where), dinput = load(steps.dinput, where);
    for (int s = 0; s < BLOCK; s++) {
      const Whole lower = {s * LANES}, upper = {(BLOCK + s) * LANES};
      const F gradient = multiplyAdd(dpre, splat(c[s]), dh[s]);
      store(product, lower, multiplyAdd(gradient, input, load(product, lower)));
      store(product, upper, multiplyAdd(dpre, load(after, upper), load(product, upper)));
      dinput = multiplyAdd(gradient, splat(b[s]), dinput);
      dh[s] = gradient * load(entry, lower);
      const F weighted = dh[s] * load(entry, upper);
      ddelta = multiplyAdd(weighted, load(slopes, Whole{s * WIDTH}), ddelta);
      da[s] = multiplyAdd(weighted, step, da[s]);
    }
    store(steps.ddelta, where, ddelta);
    store(steps.dinput, where, dinput);
  }
  for (int s = 0; s < BLOCK; s++) {
    const Whole where = {s * WIDTH};
    store(dhAt, where, dh[s]);
    store(daAt, where, load(daAt, where) + da[s]);
  }
}

/** Sums of the lanes of one vector of each state of a block. */
KRAIT_INLINE F4 laneSums(const float* vectors) {
  const auto row = [&](int s) __attribute__((always_inline)) { return foldToFour(vectors + s * LANES); };
  static_assert(BLOCK == 4, "four vectors are summed at a time");
  return sumsOfFour(row(0), row(1), row(2), row(3));
}

}  // namespace
}  // namespace KRAIT_VARIANT
}  // namespace krait
