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

#if defined(__AVX2__)
constexpr int SQUARE = 8;
#else
constexpr int SQUARE = 4;
#endif

// Lanes of two vectors by number; g++ before 12 has it under another name.
#if defined(__clang__) || __GNUC__ >= 12
#define MIX(x, y, ...) __builtin_shufflevector(x, y, __VA_ARGS__)
#else
#define MIX(x, y, ...) __builtin_shuffle(x, y, Vectors<sizeof(x) / 4>::I{__VA_ARGS__})
#endif

/** Rows to columns of a 4 x 4 or 8 x 8 square. */
inline void transpose(Vectors<4>::F (&r)[4]) {
  const auto a = MIX(r[0], r[1], 0, 4, 1, 5), b = MIX(r[2], r[3], 0, 4, 1, 5);
  const auto c = MIX(r[0], r[1], 2, 6, 3, 7), d = MIX(r[2], r[3], 2, 6, 3, 7);
  r[0] = MIX(a, b, 0, 1, 4, 5);
  r[1] = MIX(a, b, 2, 3, 6, 7);
  r[2] = MIX(c, d, 0, 1, 4, 5);
  r[3] = MIX(c, d, 2, 3, 6, 7);
}
#if defined(__AVX2__)
inline void transpose(Vectors<8>::F (&r)[8]) {
  Vectors<8>::F pairs[8], fours[8];
  for (int i = 0; i < 4; i++) {
    pairs[2 * i] = MIX(r[2 * i], r[2 * i + 1], 0, 8, 1, 9, 4, 12, 5, 13);
    pairs[2 * i + 1] = MIX(r[2 * i], r[2 * i + 1], 2, 10, 3, 11, 6, 14, 7, 15);
  }
  for (int i = 0; i < 8; i += 4) {
    for (int h = 0; h < 2; h++) {
      fours[i + 2 * h] = MIX(pairs[i + h], pairs[i + h + 2], 0, 1, 8, 9, 4, 5, 12, 13);
      fours[i + 2 * h + 1] = MIX(pairs[i + h], pairs[i + h + 2], 2, 3, 10, 11, 6, 7, 14, 15);
    }
  }
  for (int i = 0; i < 4; i++) {
    r[i] = MIX(fours[i], fours[i + 4], 0, 1, 2, 3, 8, 9, 10, 11);
    r[i + 4] = MIX(fours[i], fours[i + 4], 4, 5, 6, 7, 12, 13, 14, 15);
  }
}
#endif
#undef MIX

/** Steps k0..k1-1 of `count` lanes, one by one; lanes that are not there become 0. For edges, whatever the layout. */
KRAIT_OUTLINE void packEdge(const Operand& x, int64_t lane, int64_t count, int64_t k0, int64_t k1, int64_t width,
                            float* to) {
  for (int64_t k = k0; k < k1; k++, to += width) {
    for (int64_t i = 0; i < count; i++) {
      const int64_t line = x.across ? lane + i : k, at = x.across ? k : lane + i;
      to[i] = lane + i < x.lanes ? loadAny(x.data + line * x.pitch, at, x.dtype) : 0.0f;
    }
  }
}

/**
 * COUNT lanes from `lane` of a panel whose memory runs along k, a square at a time. With COUNT < SIDE each store
 * runs over into the next step, which is written after it; the last step is written by itself.
 */
template <int T, int WIDTH, int SIDE, int COUNT>
inline void packLanesAcross(const Operand& x, int64_t lane, int64_t k0, int64_t k1, float* to) {
  typedef typename Vectors<SIDE>::F Side;
  const char* row[COUNT];
  for (int i = 0; i < COUNT; i++) row[i] = x.data + smaller(lane + i, x.lanes - 1) * x.pitch;
  int64_t k = k0;
  for (; k + SIDE + (COUNT < SIDE) <= k1; k += SIDE, to += SIDE * WIDTH) {
    Side r[SIDE];
    for (int i = 0; i < SIDE; i++) r[i] = i < COUNT ? loadFloats<T, SIDE>(row[i < COUNT ? i : 0], k) : r[COUNT - 1];
    transpose(r);
    for (int i = 0; i < SIDE; i++) storeAs(to + i * WIDTH, r[i]);
  }
  if (k < k1) packEdge(x, lane, COUNT, k, k1, WIDTH, to);
}

template <int T, int WIDTH, int AT = 0>
inline void packPanelAcross(const Operand& x, int64_t panel, int64_t k0, int64_t k1, float* to) {
  if constexpr (AT < WIDTH) {
    constexpr int LEFT = WIDTH - AT, SIDE = LEFT > 4 ? SQUARE : 4, COUNT = LEFT < SIDE ? LEFT : SIDE;
    packLanesAcross<T, WIDTH, SIDE, COUNT>(x, panel * WIDTH + AT, k0, k1, to + AT);
    packPanelAcross<T, WIDTH, AT + COUNT>(x, panel, k0, k1, to);
  }
}

/**
 * A panel whose memory runs along the lanes. Whole vectors may run over into the next step, which is written after
 * it; `ends` says that the last step has none and must not.
 */
template <int T, int WIDTH>
inline void packPanelAlong(const Operand& x, int64_t panel, int64_t k0, int64_t k1, bool ends, float* to) {
  constexpr int WIDE = WIDTH % LANES == 0 ? LANES : SQUARE, TOUCHED = (WIDTH + WIDE - 1) / WIDE * WIDE;
  const int64_t lane = panel * WIDTH;
  int64_t k = k0;
  if (lane + TOUCHED <= x.lanes) {
    const int64_t last = TOUCHED > WIDTH && ends ? k1 - 1 : k1;
    const char* row = x.data + k * x.pitch + lane * bytesOf(T);
    for (; k < last; k++, row += x.pitch, to += WIDTH) {
#pragma GCC unroll 4
      for (int at = 0; at < WIDTH; at += WIDE) storeAs(to + at, loadFloats<T, WIDE>(row, at));
    }
  }
  if (k < k1) packEdge(x, lane, WIDTH, k, k1, WIDTH, to);
}

/** pack(panel, k, end) for a few lines of memory and panels at a time, in the order of memory. */
template <class Pack>
inline void eachStretch(int64_t p0, int64_t p1, int64_t k0, int64_t k1, Pack pack) {
  constexpr int64_t LINES = 8, GROUP = 32;  // few lines, so that a pitch of a power of two does not push them out
  for (int64_t group = p0; group < p1; group += GROUP) {
    for (int64_t k = k0; k < k1; k += LINES) {
      for (int64_t p = group; p < smaller(group + GROUP, p1); p++) pack(p, k, smaller(k + LINES, k1));
    }
  }
}

/** Panels p0..p1-1, steps k0..k1-1, into `to`: panel p starts at (p - p0) * panelStride. */
template <int WIDTH>
void packPanels(const Operand& x, int64_t p0, int64_t p1, int64_t k0, int64_t k1, float* to, int64_t panelStride) {
  withOperandType(x.dtype, [&](auto dtype) {
    constexpr int T = decltype(dtype)::value;
    if (x.across) {
      for (int64_t p = p0; p < p1; p++) packPanelAcross<T, WIDTH>(x, p, k0, k1, to + (p - p0) * panelStride);
      return;
    }
    eachStretch(p0, p1, k0, k1, [&](int64_t p, int64_t k, int64_t end) {
      packPanelAlong<T, WIDTH>(x, p, k, end, end == k1, to + (p - p0) * panelStride + (k - k0) * WIDTH);
    });
  });
}

#if KRAIT_DOT
/** Words k0..k1-1 of a panel, one by one; lanes and steps that are not there become 0. */
template <int WIDTH>
KRAIT_OUTLINE void packPairsEdge(const Operand& x, int64_t panel, int64_t k0, int64_t k1, float* to) {
  const int64_t step = x.across ? 2 : x.pitch;
  for (int64_t k = k0; k < k1; k++, to += WIDTH) {
    for (int at = 0; at < WIDTH; at++) {
      const int64_t lane = panel * WIDTH + at;
      const char* first = x.data + (x.across ? lane * x.pitch : lane * 2) + 2 * k * step;
      const bool isThere = lane < x.lanes;
      const uint32_t low = isThere ? loadAs<uint16_t>(first) : 0;
      const uint32_t high = isThere && 2 * k + 1 < x.k ? loadAs<uint16_t>(first + step) : 0;
      to[at] = bitsAs<float>(low | high << 16);
    }
  }
}

/** As packPanelAlong: of two lines of memory, the even one is the lower half of the words. */
template <int WIDTH>
inline void packPairsAlong(const Operand& x, int64_t panel, int64_t k0, int64_t k1, bool ends, float* to) {
  typedef Vectors<LANES>::U Words;
  constexpr int TOUCHED = (WIDTH + LANES - 1) / LANES * LANES;
  const int64_t lane = panel * WIDTH;
  int64_t k = k0;
  if (lane + TOUCHED <= x.lanes) {
    const int64_t last = smaller(TOUCHED > WIDTH && ends ? k1 - 1 : k1, x.k / 2);
    const char* even = x.data + 2 * k * x.pitch + lane * 2;
    for (; k < last; k++, even += 2 * x.pitch, to += WIDTH) {
#pragma GCC unroll 4
      for (int at = 0; at < TOUCHED; at += LANES) {
        // Both as f32 are words whose upper half is theirs.
        const auto low = bitsAs<Words>(loadFloats<BF16, LANES>(even, at));
        const auto high = bitsAs<Words>(loadFloats<BF16, LANES>(even + x.pitch, at));
        storeAs(to + at, low >> 16 | high);
      }
    }
  }
  if (k < k1) packPairsEdge<WIDTH>(x, panel, k, k1, to);
}

/** As packPanels, for bf16 that stays bf16: a word holds steps 2i and 2i+1 of a lane, and k0, k1 count words. */
template <int WIDTH>
void packPairs(const Operand& x, int64_t p0, int64_t p1, int64_t k0, int64_t k1, float* to, int64_t panelStride) {
  if (x.across) {  // along k a whole pair is a word of memory already
    const Operand words = {x.data, x.pitch, x.lanes, x.k / 2, F32, true};
    const int64_t done = smaller(k1, words.k);
    packPanels<WIDTH>(words, p0, p1, k0, done, to, panelStride);
    for (int64_t p = p0; p < p1 && done < k1; p++) {
      packPairsEdge<WIDTH>(x, p, done, k1, to + (p - p0) * panelStride + (done - k0) * WIDTH);
    }
    return;
  }
  eachStretch(p0, p1, k0, k1, [&](int64_t p, int64_t k, int64_t end) {
    packPairsAlong<WIDTH>(x, p, k, end, end == k1, to + (p - p0) * panelStride + (k - k0) * WIDTH);
  });
}
#endif

}  // namespace
}  // namespace KRAIT_VARIANT
}  // namespace krait
