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

/** Numbers 4*block .. 4*(block+BLOCKS)-1 of a stream. The loops over lanes become vector instructions. */
inline void uniformBlocks(uint32_t seed, uint32_t stream, uint64_t block, float* out) {
  uint32_t x0[BLOCKS], x1[BLOCKS], x2[BLOCKS], x3[BLOCKS];
  for (int i = 0; i < BLOCKS; i++) {
    x0[i] = uint32_t(block + i);
    x1[i] = uint32_t((block + i) >> 32);
    x2[i] = stream;
    x3[i] = 0;
  }
  uint32_t key0 = seed, key1 = 0;
  for (int round = 0; round < 10; round++, key0 += 0x9e3779b9u, key1 += 0xbb67ae85u) {
    for (int i = 0; i < BLOCKS; i++) {
      const uint64_t a = uint64_t(x0[i]) * 0xd2511f53u, b = uint64_t(x2[i]) * 0xcd9e8d57u;
      x0[i] = uint32_t(b >> 32) ^ x1[i] ^ key0;
      x1[i] = uint32_t(b);
      x2[i] = uint32_t(a >> 32) ^ x3[i] ^ key1;
      x3[i] = uint32_t(a);
    }
  }
  for (int i = 0; i < BLOCKS; i++) {
    out[4 * i] = float(int32_t(x0[i] >> 8)) * 0x1p-24f;
    out[4 * i + 1] = float(int32_t(x1[i] >> 8)) * 0x1p-24f;
    out[4 * i + 2] = float(int32_t(x2[i] >> 8)) * 0x1p-24f;
    out[4 * i + 3] = float(int32_t(x3[i] >> 8)) * 0x1p-24f;
  }
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
