// Vectors, element types and register-tile sizes of the matrix product, chosen by instruction set.
// Included by matmul.cc alone.
#pragma once
#include "abi.h"

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace krait {
namespace KRAIT_VARIANT {
namespace {

// The tile is TILE_ROWS x TILE_COLS accumulators that stay in registers: 12 of 16 with AVX2, 24 of 32 with AVX-512,
// 16 of 32 on NEON; SSE2 and WASM have 16 and no fused multiply-add, so they need some for products. Processors with dot products
// of bf16 reach their peak with narrow tiles, which fit more shapes; older Intel ones are often two guests to a core, which
// leaves two instructions a cycle: the tile with the fewest loads and broadcasts is 13 % faster then.
#if defined(__AVX512BF16__)
constexpr int LANES = 16, TILE_ROWS = 12, TILE_VECTORS = 2;
#elif defined(__AVX512F__)
constexpr int LANES = 16, TILE_ROWS = 6, TILE_VECTORS = 4;
#elif defined(__AVX2__) && defined(__FMA__)
constexpr int LANES = 8, TILE_ROWS = 6, TILE_VECTORS = 2;
#elif defined(__aarch64__)
constexpr int LANES = 4, TILE_ROWS = 8, TILE_VECTORS = 2;
#else
constexpr int LANES = 4, TILE_ROWS = 4, TILE_VECTORS = 2;
#endif
constexpr int TILE_COLS = LANES * TILE_VECTORS;

#if defined(__AVX512BF16__)
#define KRAIT_DOT 1
#else
#define KRAIT_DOT 0
#endif

template <int N>
struct Vectors {
  typedef float F __attribute__((vector_size(N * 4)));
  typedef uint32_t U __attribute__((vector_size(N * 4)));
  typedef int32_t I __attribute__((vector_size(N * 4)));
  typedef uint16_t H __attribute__((vector_size(N * 2)));
  typedef int8_t B __attribute__((vector_size(N)));
};
typedef Vectors<LANES>::F Floats;

/** All lanes x; x - 0 is x whatever its sign, so no instruction is spent on it. */
inline Floats splat(float x) { return x - Floats{}; }

#define KRAIT_OUTLINE __attribute__((noinline))

template <class V>
inline V loadAs(const void* from) {
  V v;
  __builtin_memcpy(&v, from, sizeof v);
  return v;
}
template <class V>
inline void storeAs(void* to, V v) {
  __builtin_memcpy(to, &v, sizeof v);
}
template <class V, class W>
inline V bitsAs(W w) {
  static_assert(sizeof(V) == sizeof(W), "same size");
  V v;
  __builtin_memcpy(&v, &w, sizeof v);
  return v;
}

constexpr int64_t ceilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }
constexpr int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
constexpr int bytesOf(int dtype) { return dtype == F32 ? 4 : dtype == I8 ? 1 : 2; }

// ---- N elements of a dtype as f32, and back, rounded to nearest even --------------------------------------------

template <int N>
inline typename Vectors<N>::F fromBf16(typename Vectors<N>::H half) {
  typedef typename Vectors<N>::F F;
#if defined(__AVX2__)  // g++ 12 does not find these for a conversion
  if constexpr (N == 8) return bitsAs<F>(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bitsAs<__m128i>(half)), 16));
#endif
#if defined(__AVX512F__)
  if constexpr (N == 16) return bitsAs<F>(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bitsAs<__m256i>(half)), 16));
#endif
  return bitsAs<F>(__builtin_convertvector(half, typename Vectors<N>::U) << 16);
}

template <int N>
inline typename Vectors<N>::F fromF16(typename Vectors<N>::H half) {
  typedef typename Vectors<N>::F F;
  typedef typename Vectors<N>::U U;
#if defined(__F16C__)
  if constexpr (N == 8) return bitsAs<F>(_mm256_cvtph_ps(bitsAs<__m128i>(half)));
  if constexpr (N < 8) {
    __m128i bits = {};
    __builtin_memcpy(&bits, &half, sizeof half);
    const __m128 four = _mm_cvtph_ps(bits);
    F out;
    __builtin_memcpy(&out, &four, sizeof out);
    return out;
  }
#endif
#if defined(__F16C__) && defined(__AVX512F__)
  if constexpr (N == 16) return bitsAs<F>(_mm512_cvtph_ps(bitsAs<__m256i>(half)));
#endif
  const U wide = __builtin_convertvector(half, U);
  const U sign = (wide & 0x8000u) << 16, magnitude = (wide & 0x7fffu) << 13;
  const F scaled = bitsAs<F>(magnitude) * 0x1p112f;  // moves the exponent, and makes subnormals normal
  const U special = (U)(magnitude >= 0x0f800000u);   // infinity and NaN keep the largest exponent
  return bitsAs<F>(sign | (special & (magnitude | 0x7f800000u)) | (~special & bitsAs<U>(scaled)));
}

template <int N>
inline typename Vectors<N>::H toF16(typename Vectors<N>::F x) {
  typedef typename Vectors<N>::F F;
  typedef typename Vectors<N>::U U;
  typedef typename Vectors<N>::H H;
#if defined(__F16C__)
  if constexpr (N == 8) return bitsAs<H>(_mm256_cvtps_ph(bitsAs<__m256>(x), _MM_FROUND_TO_NEAREST_INT));
#endif
#if defined(__F16C__) && defined(__AVX512F__)
  if constexpr (N == 16) return bitsAs<H>(_mm512_cvtps_ph(bitsAs<__m512>(x), _MM_FROUND_TO_NEAREST_INT));
#endif
  const U bits = bitsAs<U>(x), sign = (bits >> 16) & 0x8000u, magnitude = bits & 0x7fffffffu;
  // Below the smallest normal number an addition of 0.5 leaves the rounded fraction at the bottom.
  const U small = bitsAs<U>(bitsAs<F>(magnitude) + 0.5f) - 0x3f000000u;
  const U normal = (magnitude - 0x38000000u + 0xfffu + ((magnitude >> 13) & 1u)) >> 13;
  const U isSmall = (U)(magnitude < 0x38800000u), isLarge = (U)(magnitude >= 0x47800000u);
  const U isNaN = (U)(magnitude > 0x7f800000u);
  const U finite = (isSmall & small) | (~isSmall & normal);
  const U result = (isNaN & 0x7e00u) | (~isNaN & ((isLarge & 0x7c00u) | (~isLarge & finite)));
  return __builtin_convertvector(sign | result, H);
}

template <int N>
inline typename Vectors<N>::H toBf16(typename Vectors<N>::F x) {
  typedef typename Vectors<N>::U U;
  const U bits = bitsAs<U>(x);
#if KRAIT_DOT  // numbers below 2^-126 become 0, as in the dot products
  if constexpr (N == 16) return bitsAs<typename Vectors<N>::H>(_mm512_cvtneps_pbh(bitsAs<__m512>(x)));
#elif defined(__AVX512F__)
  if constexpr (N == 16) {
    const __m512i whole = bitsAs<__m512i>(x), upper = _mm512_srli_epi32(whole, 16);
    const __m512i odd = _mm512_and_si512(upper, _mm512_set1_epi32(1));
    const __m512i sum = _mm512_add_epi32(_mm512_add_epi32(whole, _mm512_set1_epi32(0x7fff)), odd);
    const __mmask16 isNaN = _mm512_cmp_ps_mask(bitsAs<__m512>(x), bitsAs<__m512>(x), _CMP_UNORD_Q);
    const __m512i near = _mm512_srli_epi32(sum, 16), quiet = _mm512_or_si512(upper, _mm512_set1_epi32(0x40));
    return bitsAs<typename Vectors<N>::H>(_mm512_cvtepi32_epi16(_mm512_mask_mov_epi32(near, isNaN, quiet)));
  }
#endif
#if defined(__AVX2__)  // one pack: g++ 12 shuffles bytes for a conversion
  if constexpr (N == 8) {
    const U odd = (bits >> 16) & 1u, near = (bits + 0x7fffu + odd) >> 16, quiet = (bits | 0x400000u) >> 16;
    const __m256i isNaN = _mm256_castps_si256(_mm256_cmp_ps(bitsAs<__m256>(x), bitsAs<__m256>(x), _CMP_UNORD_Q));
    const __m256i words = _mm256_blendv_epi8(bitsAs<__m256i>(near), bitsAs<__m256i>(quiet), isNaN);
    const __m128i packed = _mm_packus_epi32(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
    return bitsAs<typename Vectors<N>::H>(packed);
  }
#endif
  const U isNaN = (U)((bits & 0x7fffffffu) > 0x7f800000u);
  const U rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  return __builtin_convertvector((isNaN & ((bits >> 16) | 0x40u)) | (~isNaN & rounded), typename Vectors<N>::H);
}

/** Whole numbers of a quantised weight, which f32 holds as they are. */
template <int N>
inline typename Vectors<N>::F fromI8(const int8_t* from) {
  typedef typename Vectors<N>::F F;
#if defined(__AVX512F__)
  if constexpr (N == 16) return bitsAs<F>(_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(loadAs<__m128i>(from))));
#endif
#if defined(__AVX2__)
  if constexpr (N == 8) {
    const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(from));
    return bitsAs<F>(_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes)));
  }
#endif
  return __builtin_convertvector(loadAs<typename Vectors<N>::B>(from), F);
}

template <int T, int N>
inline typename Vectors<N>::F loadFloats(const void* base, int64_t index) {
  typedef typename Vectors<N>::F F;
  if constexpr (T == F32) return loadAs<F>(static_cast<const float*>(base) + index);
  if constexpr (T == I8) return fromI8<N>(static_cast<const int8_t*>(base) + index);
  typedef typename Vectors<N>::H H;
  const H half = loadAs<H>(static_cast<const uint16_t*>(base) + index);
  if constexpr (T == BF16) return fromBf16<N>(half);
  return fromF16<N>(half);
}

template <int T, int N>
inline void storeFloats(void* base, int64_t index, typename Vectors<N>::F x) {
  if constexpr (T == F32) storeAs(static_cast<float*>(base) + index, x);
  if constexpr (T == BF16) storeAs(static_cast<uint16_t*>(base) + index, toBf16<N>(x));
  if constexpr (T == F16) storeAs(static_cast<uint16_t*>(base) + index, toF16<N>(x));
}

// Single elements, for edges: not inlined, so that the many places that have edges stay small.
template <int T>
KRAIT_OUTLINE float halfToFloat(uint16_t bits) {
  Vectors<LANES>::H half = {};
  half[0] = bits;
  return T == BF16 ? fromBf16<LANES>(half)[0] : fromF16<LANES>(half)[0];
}
template <int T>
KRAIT_OUTLINE uint16_t floatToHalf(float x) {
  return T == BF16 ? toBf16<LANES>(splat(x))[0] : toF16<LANES>(splat(x))[0];
}

template <int T>
inline float loadOne(const void* base, int64_t index) {
  if constexpr (T == F32) return loadAs<float>(static_cast<const char*>(base) + 4 * index);  // packed pairs may lie at any byte
  if constexpr (T == I8) return float(static_cast<const int8_t*>(base)[index]);
  return halfToFloat<T>(static_cast<const uint16_t*>(base)[index]);
}
template <int T>
inline void storeOne(void* base, int64_t index, float x) {
  if constexpr (T == F32) static_cast<float*>(base)[index] = x;
  else static_cast<uint16_t*>(base)[index] = floatToHalf<T>(x);
}
inline float loadAny(const void* base, int64_t index, int dtype) {
  if (dtype == F32) return loadOne<F32>(base, index);
  if (dtype == I8) return loadOne<I8>(base, index);
  return dtype == BF16 ? loadOne<BF16>(base, index) : loadOne<F16>(base, index);
}
inline void storeAny(void* base, int64_t index, int dtype, float x) {
  if (dtype == F32) return storeOne<F32>(base, index, x);
  return dtype == BF16 ? storeOne<BF16>(base, index, x) : storeOne<F16>(base, index, x);
}

/** Calls body with the dtype as a constant: withDType(t, [&](auto dtype) { f<dtype.value>(); }). Not of I8. */
template <int T>
struct Constant {
  static constexpr int value = T;
};
template <class Body>
inline void withDType(int dtype, Body body) {
  if (dtype == F32) body(Constant<F32>());
  if (dtype == BF16) body(Constant<BF16>());
  if (dtype == F16) body(Constant<F16>());
}
/** The same for an operand, which may be I8. */
template <class Body>
inline void withOperandType(int dtype, Body body) {
  if (dtype == I8) body(Constant<I8>());
  else withDType(dtype, body);
}

}  // namespace
}  // namespace KRAIT_VARIANT
}  // namespace krait
