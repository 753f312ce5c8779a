// Uniform numbers by Philox 4x32-10 (Salmon et al. 2011), numbered as in src/core/random.ts: number i of a stream is
// the top 24 bits of word i & 3 of the block with counter (i >> 2, stream, 0) and key (seed, 0), as a float in [0, 1).
#pragma once
#include "load.h"

namespace krait {
namespace KRAIT_VARIANT {
namespace {

/** Blocks that are computed side by side. */
constexpr int BLOCKS = 16;
/** Room for TILE numbers from anywhere inside a block, in whole rounds of BLOCKS. */
constexpr int UNIFORMS = TILE + 4 * BLOCKS;

typedef uint64_t U2 __attribute__((vector_size(LANES * 4)));  // LANES/2 of 64 bits

/** Products of the lower halves of 64-bit lanes. */
KRAIT_INLINE U2 multiplyEven(U2 x, uint32_t by) {
#if defined(__AVX512F__)
  return (U2)_mm512_mul_epu32((__m512i)x, _mm512_set1_epi64(by));
#elif defined(__AVX2__)
  return (U2)_mm256_mul_epu32((__m256i)x, _mm256_set1_epi64x(by));
#elif defined(__x86_64__)
  return (U2)_mm_mul_epu32((__m128i)x, _mm_set1_epi64x(by));
#else
  return (x & 0xffffffffull) * by;
#endif
}

/** Upper and lower halves of the products of 32-bit lanes. */
struct Product {
  U high, low;
};
KRAIT_INLINE Product multiply(U x, uint32_t by) {
  const U2 even = multiplyEven((U2)x, by), odd = multiplyEven((U2)x >> 32, by);
  const U2 low = U2{} + 0xffffffffull;  // the lower half of each lane
  return {(U)((even >> 32) | (odd & ~low)), (U)((even & low) | (odd << 32))};
}

/** Numbers 4*block .. 4*(block+LANES)-1 of a stream. */
KRAIT_INLINE void uniformVector(uint32_t seed, uint32_t stream, uint64_t block, float* out) {
  U x0 = {}, x1 = {}, x2 = splatBits(stream), x3 = {};
  for (int i = 0; i < LANES; i++) {
    x0[i] = uint32_t(block + uint64_t(i));
    x1[i] = uint32_t((block + uint64_t(i)) >> 32);
  }
  uint32_t key0 = seed, key1 = 0;
  for (int round = 0; round < 10; round++, key0 += 0x9e3779b9u, key1 += 0xbb67ae85u) {
    const Product a = multiply(x0, 0xd2511f53u), b = multiply(x2, 0xcd9e8d57u);
    x0 = b.high ^ x1 ^ key0;
    x1 = b.low;
    x2 = a.high ^ x3 ^ key1;
    x3 = a.low;
  }
  float words[4][LANES];
  const U all[4] = {x0, x1, x2, x3};
  for (int w = 0; w < 4; w++) {
    store(words[w], Whole{0}, __builtin_convertvector((I)(all[w] >> 8), F) * 0x1p-24f);
  }
  for (int i = 0; i < LANES; i += 4) transposeFour(words[0] + i, LANES, out + 4 * i, 4);
}
inline void uniformBlocks(uint32_t seed, uint32_t stream, uint64_t block, float* out) {
  for (int i = 0; i < BLOCKS; i += LANES) uniformVector(seed, stream, block + uint64_t(i), out + 4 * i);
}

/** Numbers first .. first+n-1 of a stream, n <= TILE; they lie somewhere in `room`, which holds UNIFORMS. */
inline const float* uniforms(uint32_t seed, uint32_t stream, uint64_t first, int64_t n, float* room) {
  const int64_t skipped = int64_t(first & 3);
  for (int64_t done = 0; done < skipped + n; done += 4 * BLOCKS) {
    uniformBlocks(seed, stream, (first >> 2) + uint64_t(done / 4), room + done);
  }
  return room + skipped;
}

}  // namespace
}  // namespace KRAIT_VARIANT
}  // namespace krait
