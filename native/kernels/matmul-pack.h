// Packing: one operand of a product, in any layout and dtype, becomes panels of f32 that the register tile reads
// from start to end: panel p holds, for every step of k, `WIDTH` lanes (rows of a or columns of b).
// Lanes beyond the end repeat a valid one or are zero; what they give is never stored.
#pragma once
#include "matmul-vector.h"

namespace krait {
namespace KRAIT_VARIANT {
namespace {

/** A matrix of `lanes` x `k` as the product sees it. */
struct Operand {
  const char* data;
  int64_t pitch;  // bytes from one line of memory to the next
  int64_t lanes, k;
  int dtype;
  bool across;  // memory is dense along k (else along the lanes)
};

inline void transpose4(Floats4 (&r)[4]) {
  const Floats4 a = __builtin_shufflevector(r[0], r[1], 0, 4, 1, 5), b = __builtin_shufflevector(r[2], r[3], 0, 4, 1, 5);
  const Floats4 c = __builtin_shufflevector(r[0], r[1], 2, 6, 3, 7), d = __builtin_shufflevector(r[2], r[3], 2, 6, 3, 7);
  r[0] = __builtin_shufflevector(a, b, 0, 1, 4, 5);
  r[1] = __builtin_shufflevector(a, b, 2, 3, 6, 7);
  r[2] = __builtin_shufflevector(c, d, 0, 1, 4, 5);
  r[3] = __builtin_shufflevector(c, d, 2, 3, 6, 7);
}

/** `count` lanes (2 or 4) from `lane` of a panel whose memory runs along k. */
template <int T, int WIDTH, int COUNT>
inline void packLanesAcross(const Operand& x, int64_t lane, int64_t k0, int64_t k1, float* to) {
  const char* row[4];
  for (int i = 0; i < 4; i++) {
    const int64_t at = lane + (i < COUNT ? i : 0);
    row[i] = x.data + (at < x.lanes ? at : x.lanes - 1) * x.pitch;
  }
  int64_t k = k0;
  for (; k + 4 <= k1; k += 4, to += 4 * WIDTH) {
    Floats4 r[4];
    for (int i = 0; i < 4; i++) r[i] = loadFloats<T, 4>(row[i], k);
    transpose4(r);
    for (int i = 0; i < 4; i++) __builtin_memcpy(to + i * WIDTH, &r[i], COUNT * sizeof(float));
  }
  for (; k < k1; k++, to += WIDTH) {
    for (int i = 0; i < COUNT; i++) to[i] = loadOne<T>(row[i], k);
  }
}

template <int T, int WIDTH>
inline void packPanelAcross(const Operand& x, int64_t panel, int64_t k0, int64_t k1, float* to) {
  const int64_t lane = panel * WIDTH;
  for (int at = 0; at + 4 <= WIDTH; at += 4) packLanesAcross<T, WIDTH, 4>(x, lane + at, k0, k1, to + at);
  if constexpr (WIDTH % 4 == 2) packLanesAcross<T, WIDTH, 2>(x, lane + WIDTH - 2, k0, k1, to + WIDTH - 2);
}

/** Panels whose memory runs along the lanes, row after row of memory. */
template <int T, int WIDTH>
inline void packPanelsAlong(const Operand& x, int64_t p0, int64_t p1, int64_t k0, int64_t k1, float* to, int64_t panelStride) {
  constexpr int STEP = WIDTH % LANES == 0 ? LANES : WIDTH % 4 == 0 ? 4 : 2;
  for (int64_t k = k0; k < k1; k++) {
    const char* row = x.data + k * x.pitch;
    for (int64_t p = p0; p < p1; p++) {
      float* out = to + (p - p0) * panelStride + (k - k0) * WIDTH;
      if ((p + 1) * WIDTH <= x.lanes) {
        for (int at = 0; at < WIDTH; at += STEP) {
          storeAs(out + at, loadFloats<T, STEP>(row, p * WIDTH + at));
        }
      } else {
        for (int at = 0; at < WIDTH; at++) out[at] = p * WIDTH + at < x.lanes ? loadOne<T>(row, p * WIDTH + at) : 0.0f;
      }
    }
  }
}

/** Panels p0..p1-1, steps k0..k1-1, into `to`: panel p starts at (p - p0) * panelStride. */
template <int WIDTH>
void packPanels(const Operand& x, int64_t p0, int64_t p1, int64_t k0, int64_t k1, float* to, int64_t panelStride) {
  constexpr int64_t STEPS = 128, GROUP = 8;  // what is read at a time stays in the first cache
  withDType(x.dtype, [&](auto dtype) {
    constexpr int T = decltype(dtype)::value;
    if (x.across) {
      for (int64_t p = p0; p < p1; p++) packPanelAcross<T, WIDTH>(x, p, k0, k1, to + (p - p0) * panelStride);
      return;
    }
    for (int64_t k = k0; k < k1; k += STEPS) {
      const int64_t kEnd = k + STEPS < k1 ? k + STEPS : k1;
      for (int64_t p = p0; p < p1; p += GROUP) {
        const int64_t pEnd = p + GROUP < p1 ? p + GROUP : p1;
        packPanelsAlong<T, WIDTH>(x, p, pEnd, k, kEnd, to + (p - p0) * panelStride + (k - k0) * WIDTH, panelStride);
      }
    }
  });
}

#if KRAIT_DOT
/** As packPanels, for bf16 that stays bf16: a word holds steps 2i and 2i+1 of a lane, and k0, k1 count words. */
template <int WIDTH>
void packPairs(const Operand& x, int64_t p0, int64_t p1, int64_t k0, int64_t k1, float* to, int64_t panelStride) {
  int64_t done = k0;
  if (x.across) {  // along k a whole pair is a word of memory already
    const Operand words = {x.data, x.pitch, x.lanes, x.k / 2, F32, true};
    done = k1 < words.k ? k1 : words.k;
    packPanels<WIDTH>(words, p0, p1, k0, done, to, panelStride);
  }
  const int64_t step = x.across ? 2 : x.pitch;
  for (int64_t p = p0; p < p1; p++) {
    for (int64_t k = done; k < k1; k++) {
      for (int at = 0; at < WIDTH; at++) {
        const int64_t lane = p * WIDTH + at < x.lanes ? p * WIDTH + at : x.lanes - 1;
        const char* first = x.data + (x.across ? lane * x.pitch : lane * 2) + 2 * k * step;
        const uint32_t low = loadAs<uint16_t>(first), high = 2 * k + 1 < x.k ? loadAs<uint16_t>(first + step) : 0;
        to[(p - p0) * panelStride + (k - k0) * WIDTH + at] = bitsAs<float>(low | high << 16);
      }
    }
  }
}
#endif

}  // namespace
}  // namespace KRAIT_VARIANT
}  // namespace krait
