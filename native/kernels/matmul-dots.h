// Dot products of a few thin rows with many wide ones: three ways to multiply a vector of them, and the loop over rows.
// Included by matmul-thin.h alone.
#pragma once
#include "matmul-blocked.h"

#if defined(__AVX512BW__) || defined(__AVX2__)
#define KRAIT_FIXED 1
#else
#define KRAIT_FIXED 0
#endif

namespace krait {
namespace KRAIT_VARIANT {
namespace {

constexpr int64_t DOT_ROWS = 16;  // rows of the wide operand that one unit multiplies
constexpr int64_t DOT_WORDS = 6144;  // of all thin rows at a time, so that they stay in the first cache
// Bytes of the wide rows that are fetched before they are read: processors look less far ahead themselves the more they compute for
// each, and not beyond a page (Cascade Lake decodes 10 % faster in f32 and bf16, 16 % in int8).
constexpr int64_t DOT_AHEAD = 2048;

// TURN: bytes of a wide row that a single thin row takes in a turn of its loop. Hardware fetches ahead at full speed in turns of
// eight to twelve lines of memory, at half of it in turns of two (Zen 4).

/** Thin rows in f32, wide rows of any type T, widened. */
template <int T>
struct ByFloats {
  typedef Floats Sum;
  static constexpr int WIDTH = LANES, BYTES = WIDTH * bytesOf(T);  // elements of a step, and what the wide ones take
  static constexpr int CHAINS = 4, TURN = 768;                     // steps in flight, which hide the latency of one
  static constexpr int64_t LONGEST = DOT_WORDS;                    // run of elements that may be summed in one go
  static constexpr bool TAKES_PARTS = false;  // of a step, at the end of a row
  static inline Floats wide(const char* row, int64_t k) { return loadFloats<T, LANES>(row, k); }
  static inline void add(Sum& sum, const char* thin, int64_t k, Floats y) { sum += loadAs<Floats>(thin + 4 * k) * y; }
  static inline Floats total(const Sum& sum, const char*) { return sum; }
  static float one(const char* thin, const char* row, int64_t k) { return loadOne<F32>(thin, k) * loadOne<T>(row, k); }
};

#if KRAIT_DOT
/** Both in bf16, two elements a lane, summed in f32. */
struct ByPairs {
  typedef Floats Sum;
  static constexpr int WIDTH = 2 * LANES, BYTES = 4 * LANES, CHAINS = 4, TURN = 768;
  static constexpr int64_t LONGEST = DOT_WORDS;
  static constexpr bool TAKES_PARTS = false;
  static inline Floats wide(const char* row, int64_t k) { return loadAs<Floats>(row + 2 * k); }
  static inline void add(Sum& sum, const char* thin, int64_t k, Floats y) {
    sum = ByPair::add(sum, loadAs<Floats>(thin + 2 * k), y);
  }
  static inline Floats total(const Sum& sum, const char*) { return sum; }
  static float one(const char* thin, const char* row, int64_t k) {
    return loadOne<BF16>(thin, k) * loadOne<BF16>(row, k);
  }
};
#endif

#if KRAIT_FIXED
/**
 * Wide rows in I8, thin rows as whole numbers (`fixRow`) of 31 bits in two halves of 16: a vector of products takes half of
 * the instructions that widening to f32 does, sums of each step are exact, and what is rounded is what f32 rounds.
 */
struct ByFixed {
#if defined(__AVX512BW__)
  typedef __m512i Ints;
#else
  typedef __m256i Ints;
#endif
  struct Sum {
    Ints high, low;
    inline void operator+=(const Sum& other) {
      high = plus(high, other.high);
      low = plus(low, other.low);
    }
  };
  static constexpr int WIDTH = sizeof(Ints) / 2, BYTES = WIDTH, CHAINS = 2, TURN = 512;
  // Elements that sums hold whatever they are: a lane gets two products of each step, of at most 32,767 by 128.
  static constexpr int64_t LONGEST = 256 * WIDTH;
  static_assert(LONGEST / WIDTH * 2 * 32767 * 128 <= INT32_MAX, "sums of whole numbers are exact");
  static constexpr int HEAD = 64;  // bytes before the numbers: what they are multiples of
  static constexpr float SMALL = 1.0f / 32767.0f;  // of low against high
  static int64_t rowBytes(int64_t k) { return HEAD + ceilDiv(k, WIDTH) * WIDTH * 4; }

  static inline Ints plus(Ints a, Ints b) {
#if defined(__AVX512BW__)
    return _mm512_add_epi32(a, b);
#else
    return _mm256_add_epi32(a, b);
#endif
  }
  static inline Ints addPairs(Ints sum, Ints a, Ints b) {
#if defined(__AVX512VNNI__)
    return _mm512_dpwssd_epi32(sum, a, b);
#elif defined(__AVX512BW__)
    return plus(sum, _mm512_madd_epi16(a, b));
#else
    return plus(sum, _mm256_madd_epi16(a, b));
#endif
  }
  static inline Ints wide(const char* row, int64_t k) {
#if defined(__AVX512BW__)
    return _mm512_cvtepi8_epi16(loadAs<__m256i>(row + k));
#else
    return _mm256_cvtepi8_epi16(loadAs<__m128i>(row + k));
#endif
  }
#if defined(__AVX512BW__)
  static constexpr bool TAKES_PARTS = true;
  static inline Ints part(const char* row, int64_t k, int64_t count) {
    return _mm512_cvtepi8_epi16(_mm256_maskz_loadu_epi8(__mmask32((1u << count) - 1), row + k));
  }
#else
  static constexpr bool TAKES_PARTS = false;
#endif
  static inline void add(Sum& sum, const char* thin, int64_t k, Ints y) {
    sum.high = addPairs(sum.high, loadAs<Ints>(thin + HEAD + 4 * k), y);
    sum.low = addPairs(sum.low, loadAs<Ints>(thin + HEAD + 4 * k + 2 * WIDTH), y);
  }
  static inline Floats total(const Sum& sum, const char* thin) {
    typedef Vectors<LANES>::I I;
    const Floats high = __builtin_convertvector(bitsAs<I>(sum.high), Floats);
    const Floats low = __builtin_convertvector(bitsAs<I>(sum.low), Floats);
    return (high + low * SMALL) * loadAs<float>(thin);
  }
  static inline Floats rounded(Floats x) {
#if defined(__AVX512F__)
    return bitsAs<Floats>(_mm512_roundscale_ps(bitsAs<__m512>(x), _MM_FROUND_TO_NEAREST_INT));
#else
    return bitsAs<Floats>(_mm256_round_ps(bitsAs<__m256>(x), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
#endif
  }
  /** Whole numbers as int16. */
  static inline void storeWords(void* to, Floats x) {
#if defined(__AVX512F__)
    storeAs(to, _mm512_cvtepi32_epi16(_mm512_cvtps_epi32(bitsAs<__m512>(x))));
#else
    const __m256i wide = _mm256_cvtps_epi32(bitsAs<__m256>(x));
    storeAs(to, _mm_packs_epi32(_mm256_castsi256_si128(wide), _mm256_extracti128_si256(wide, 1)));
#endif
  }
  static float one(const char* thin, const char* row, int64_t k) {
    const char* step = thin + HEAD + k / WIDTH * WIDTH * 4 + k % WIDTH * 2;
    const float x = float(loadAs<int16_t>(step)) + float(loadAs<int16_t>(step + 2 * WIDTH)) * SMALL;
    return x * loadAs<float>(thin) * loadOne<I8>(row, k);
  }
};

/**
 * f32 row to the whole numbers that ByFixed reads: multiples of 2^-30 of the largest. False, and nothing is written, where they
 * do not serve: for values that are not finite, or all so small that their unit is no normal number.
 */
bool fixRow(const float* x, int64_t n, char* to) {
  typedef Vectors<LANES>::I I;
  const auto valuesAt = [&](int64_t k) __attribute__((always_inline)) {  // 0 beyond the end
    if (k + LANES <= n) return loadAs<Floats>(x + k);
    Floats rest = {};
    for (int i = 0; k + i < n; i++) rest[i] = x[k + i];
    return rest;
  };
  I most = {};  // bits of the sizes, whose order is that of the sizes; NaN comes last
  for (int64_t k = 0; k < n; k += LANES) {
    const I size = bitsAs<I>(valuesAt(k)) & 0x7fffffff;
    most = size > most ? size : most;
  }
  int32_t bits = 0;
  for (int i = 0; i < LANES; i++) bits = most[i] > bits ? most[i] : bits;
  const float largest = bitsAs<float>(bits);
  if (!(largest <= 3.0e38f) || (largest > 0.0f && largest < 1.0e-32f)) return false;
  const float unit = largest / 32767.0f, inverse = unit > 0.0f ? 1.0f / unit : 0.0f;
  storeAs(to, unit);
  to += ByFixed::HEAD;
  for (int64_t k = 0; k < n; k += ByFixed::WIDTH, to += 4 * ByFixed::WIDTH) {
    for (int i = 0; i < ByFixed::WIDTH; i += LANES) {
      const Floats scaled = valuesAt(k + i) * inverse, high = ByFixed::rounded(scaled);
      ByFixed::storeWords(to + 2 * i, high);
      ByFixed::storeWords(to + 2 * (i + ByFixed::WIDTH), ByFixed::rounded((scaled - high) * 32767.0f));
    }
  }
  return true;
}
#endif

/** Lanes of each of four vectors, summed: halves onto halves down to four, then in pairs. */
inline Vectors<4>::F sumsOfFour(const Floats (&rows)[4]) {
  typedef Vectors<4>::F Four;
  Four r[4];
  for (int i = 0; i < 4; i++) {
    alignas(64) float lanes[LANES];
    storeAs(lanes, rows[i]);
    r[i] = loadAs<Four>(lanes);
    if constexpr (LANES == 8) r[i] += loadAs<Four>(lanes + 4);
    if constexpr (LANES == 16) r[i] = (r[i] + loadAs<Four>(lanes + 8)) + (loadAs<Four>(lanes + 4) + loadAs<Four>(lanes + 12));
  }
  transpose(r);
  return (r[0] + r[2]) + (r[1] + r[3]);
}

/** As dots, for the elements that do not fill a step. */
template <class Step>
KRAIT_OUTLINE float dotEdge(const char* thin, const char* row, int64_t k0, int64_t k1) {
  float sum = 0.0f;
  for (int64_t k = k0; k < k1; k++) sum += Step::one(thin, row, k);
  return sum;
}

/**
 * sums[i * DOT_ROWS + r] += thin row i . wide row r, over k0..k1-1, for TS thin rows and four or fewer wide rows. These are
 * read one after the other: memory gives one stream about twice what it gives four side by side.
 */
template <class Step, int TS>
void dots(const char* thin, int64_t thinPitch, const char* memory, int64_t pitch, int64_t rows, int64_t k0, int64_t k1,
          float* sums) {
  constexpr int CHAINS = TS < Step::CHAINS ? Step::CHAINS / TS : 1;
  Floats total[TS][4] = {};
  for (int r = 0; r < rows; r++) {
    const char* row = memory + r * pitch;
    typename Step::Sum sum[TS][CHAINS] = {};
    int64_t k = k0;
    const auto steps = [&](auto constant) __attribute__((always_inline)) {
      constexpr int COUNT = decltype(constant)::value;
      for (; k + COUNT * Step::WIDTH <= k1; k += COUNT * Step::WIDTH) {
#pragma GCC unroll 32
        for (int v = 0; v < COUNT; v++) {
          const int64_t at = k + v * Step::WIDTH;
          if (v * Step::BYTES % 64 == 0) __builtin_prefetch(row + at * (Step::BYTES / Step::WIDTH) + DOT_AHEAD);
          const auto y = Step::wide(row, at);
#pragma GCC unroll 4
          for (int i = 0; i < TS; i++) Step::add(sum[i][v % CHAINS], thin + i * thinPitch, at, y);
        }
      }
    };
    if constexpr (TS == 1) steps(Constant<Step::TURN / Step::BYTES>());
    steps(Constant<CHAINS>());
    steps(Constant<1>());
    if constexpr (Step::TAKES_PARTS) {
      if (k < k1) {
        const auto y = Step::part(row, k, k1 - k);
        for (int i = 0; i < TS; i++) Step::add(sum[i][0], thin + i * thinPitch, k, y);
        k = k1;
      }
    }
#pragma GCC unroll 4
    for (int i = 0; i < TS; i++) {
      for (int v = 1; v < CHAINS; v++) sum[i][0] += sum[i][v];
      total[i][r] = Step::total(sum[i][0], thin + i * thinPitch);
      if (k < k1) sums[i * DOT_ROWS + r] += dotEdge<Step>(thin + i * thinPitch, row, k, k1);
    }
  }
  for (int i = 0; i < TS; i++) {
    const Vectors<4>::F four = sumsOfFour(total[i]);
    for (int r = 0; r < rows; r++) sums[i * DOT_ROWS + r] += four[r];
  }
}

/** A group of wide rows against all thin rows: sums [t][DOT_ROWS]. */
template <class Step>
void dotsOfGroup(const char* thin, int64_t pitch, int64_t t, const Operand& wide, int64_t row, int64_t rows, int64_t k0,
                 int64_t k1, float* sums) {
  const int64_t steps = smaller(DOT_WORDS / t / 64 * 64, Step::LONGEST);
  for (int64_t k = k0; k < k1; k += steps) {
    const int64_t end = smaller(k + steps, k1);
    for (int64_t r = 0; r < rows; r += 4) {
      const char* memory = wide.data + (row + r) * wide.pitch;
      const auto few = [&](auto constant, int64_t i) {
        constexpr int TS = decltype(constant)::value;
        dots<Step, TS>(thin + i * pitch, pitch, memory, wide.pitch, smaller(4, rows - r), k, end, sums + i * DOT_ROWS + r);
      };
      int64_t i = 0;
      for (; i + 4 <= t; i += 4) few(Constant<4>(), i);
      if (i + 2 <= t) {
        few(Constant<2>(), i);
        i += 2;
      }
      if (i < t) few(Constant<1>(), i);
    }
  }
}

}  // namespace
}  // namespace KRAIT_VARIANT
}  // namespace krait
