// Rows of any dtype as f32 and back: kernels compute on f32 alone, in tiles that stay in the first-level cache.
// Rounding is to nearest even. f16 goes through F16C where the variant has it, through integers elsewhere: the bits
// are the same, subnormals, infinities and NaN (quiet, of the same sign) included.
#pragma once
#include "vec.h"

namespace krait {
namespace KRAIT_VARIANT {
namespace {

/** Elements that kernels convert at a time. */
constexpr int TILE = 256;

// ---- LANES elements ------------------------------------------------------------------------------------------------

KRAIT_INLINE F fromBf16(H half) {
#if defined(__AVX2__) && !defined(__AVX512F__)  // g++ 12 shuffles bytes for a conversion, here and below
  return (F)_mm256_slli_epi32(_mm256_cvtepu16_epi32((__m128i)half), 16);
#else
  return (F)(__builtin_convertvector(half, U) << 16);
#endif
}

KRAIT_INLINE H toBf16(F x) {
  const U bits = (U)x;
  const U rounded = bits + 0x7fffu + ((bits >> 16) & 1u);
  const U words = ((x != x) ? (bits | 0x400000u) : rounded) >> 16;
#if defined(__AVX2__) && !defined(__AVX512F__)
  const __m256i wide = (__m256i)words;
  return (H)_mm_packus_epi32(_mm256_castsi256_si128(wide), _mm256_extracti128_si256(wide, 1));
#else
  return __builtin_convertvector(words, H);
#endif
}

KRAIT_INLINE F fromF16(H half) {
#if defined(__AVX512F__)
  return (F)_mm512_cvtph_ps((__m256i)half);
#elif defined(__F16C__)
  return (F)_mm256_cvtph_ps((__m128i)half);
#else
  const U wide = __builtin_convertvector(half, U);
  const U sign = (wide & 0x8000u) << 16, magnitude = (wide & 0x7fffu) << 13;
  const F scaled = (F)magnitude * 0x1p112f;  // moves the exponent, and makes subnormals normal
  const U special = magnitude | 0x7f800000u | ((magnitude > 0x0f800000u) & splatBits(0x400000u));
  return (F)(sign | (magnitude >= 0x0f800000u ? special : (U)scaled));
#endif
}

KRAIT_INLINE H toF16(F x) {
  // NaN becomes the one quiet NaN of its sign: hardware would keep its payload.
  const U bits = (U)x, sign = bits & 0x80000000u;
#if defined(__AVX512F__)
  return (H)_mm512_cvtps_ph((__m512)(x != x ? (F)(sign | 0x7fc00000u) : x), _MM_FROUND_TO_NEAREST_INT);
#elif defined(__F16C__)
  return (H)_mm256_cvtps_ph((__m256)(x != x ? (F)(sign | 0x7fc00000u) : x), _MM_FROUND_TO_NEAREST_INT);
#else
  const U magnitude = bits & 0x7fffffffu;
  // Below the smallest normal number, adding 0.5 leaves the rounded fraction in the lowest bits.
  const U small = (U)((F)magnitude + 0.5f) - 0x3f000000u;
  const U normal = (magnitude - 0x38000000u + 0xfffu + ((magnitude >> 13) & 1u)) >> 13;
  const U finite = magnitude < 0x38800000u ? small : normal;
  const U large = x != x ? splatBits(0x7e00u) : splatBits(0x7c00u);
  return __builtin_convertvector((sign >> 16) | (magnitude >= 0x47800000u ? large : finite), H);
#endif
}

template <int T>
KRAIT_INLINE F loadAs(const void* from, Whole where) {
  if constexpr (T == F32) return load(static_cast<const float*>(from), where);
  const H half = loadVector<H>(static_cast<const uint16_t*>(from) + where.at);
  return T == BF16 ? fromBf16(half) : fromF16(half);
}
template <int T>
KRAIT_INLINE void storeAs(void* to, Whole where, F x) {
  if constexpr (T == F32) return store(static_cast<float*>(to), where, x);
  const H half = T == BF16 ? toBf16(x) : toF16(x);
  __builtin_memcpy(static_cast<uint16_t*>(to) + where.at, &half, sizeof half);
}
template <int T>
KRAIT_INLINE F loadAs(const void* from, Part where) {
  if constexpr (T == F32) return load(static_cast<const float*>(from), where);
  uint16_t lanes[LANES] = {};
  for (int i = 0; i < where.count; i++) lanes[i] = static_cast<const uint16_t*>(from)[where.at + i];
  return loadAs<T>(lanes, Whole{0});
}
template <int T>
KRAIT_INLINE void storeAs(void* to, Part where, F x) {
  if constexpr (T == F32) return store(static_cast<float*>(to), where, x);
  uint16_t lanes[LANES];
  storeAs<T>(lanes, Whole{0}, x);
  for (int i = 0; i < where.count; i++) static_cast<uint16_t*>(to)[where.at + i] = lanes[i];
}

// ---- Runs of elements ----------------------------------------------------------------------------------------------

inline void toFloats(int type, const void* from, int64_t n, float* to) {
  if (type == BF16) eachVector(n, [&](auto where) { store(to, where, loadAs<BF16>(from, where)); });
  if (type == F16) eachVector(n, [&](auto where) { store(to, where, loadAs<F16>(from, where)); });
  if (type == F32) __builtin_memcpy(to, from, size_t(n) * 4);
  if (type == I32) {
    for (int64_t i = 0; i < n; i++) to[i] = float(static_cast<const int32_t*>(from)[i]);
  }
  if (type == I8) {
    for (int64_t i = 0; i < n; i++) to[i] = float(static_cast<const int8_t*>(from)[i]);
  }
}

/** Towards zero, saturating; NaN gives 0. */
KRAIT_INLINE int32_t toInt(float x) {
  if (!(x > -2147483648.0f)) return x == x ? INT32_MIN : 0;
  return x < 2147483648.0f ? int32_t(x) : INT32_MAX;
}

inline void fromFloats(int type, const float* from, int64_t n, void* to) {
  if (type == BF16) eachVector(n, [&](auto where) { storeAs<BF16>(to, where, load(from, where)); });
  if (type == F16) eachVector(n, [&](auto where) { storeAs<F16>(to, where, load(from, where)); });
  if (type == F32) __builtin_memcpy(to, from, size_t(n) * 4);
  if (type == I32) {
    for (int64_t i = 0; i < n; i++) static_cast<int32_t*>(to)[i] = toInt(from[i]);
  }
}

// ---- Tensor arguments ----------------------------------------------------------------------------------------------

constexpr int bytesOf(int type) { return type == I8 ? 1 : type == BF16 || type == F16 ? 2 : 4; }

/** Bits of the flags of sequence kernels. */
enum Flag { RESET = 1, PAD = 2 };

/** A tensor argument: rows of dense columns, `ld` elements apart. */
struct Matrix {
  char* data;
  int64_t ld;
  int type;

  explicit operator bool() const { return data != nullptr; }
  char* at(int64_t row, int64_t col) const { return data + (row * ld + col) * bytesOf(type); }
  float* floats(int64_t row, int64_t col) const { return reinterpret_cast<float*>(at(row, col)); }
  int32_t* ints(int64_t row, int64_t col) const { return reinterpret_cast<int32_t*>(at(row, col)); }
};

inline Matrix matrix(const Command& cmd, int i) {
  const TensorArg& t = cmd.tensors[i];
  return {reinterpret_cast<char*>(uintptr_t(t.address)), int64_t(t.ld), int(t.dtype)};
}

inline int64_t dim(const Command& cmd, int i) { return int64_t(cmd.dims[i]); }

/** Columns col..col+n-1 of a row as f32: the memory itself where it holds f32, else `tile` with a copy. */
inline const float* read(const Matrix& m, int64_t row, int64_t col, int64_t n, float* tile) {
  if (m.type == F32) return m.floats(row, col);
  toFloats(m.type, m.at(row, col), n, tile);
  return tile;
}
/** Where to compute these columns: the memory itself where it holds f32, else `tile`; then `write` them. */
inline float* target(const Matrix& m, int64_t row, int64_t col, float* tile) {
  return m.type == F32 ? m.floats(row, col) : tile;
}
inline void write(const Matrix& m, int64_t row, int64_t col, int64_t n, const float* tile) {
  if (m.type != F32) fromFloats(m.type, tile, n, m.at(row, col));
}

/**
 * Checks dtypes against one letter a tensor: h any float but f64, q as h or i8, f f32, i i32, a as h or i32. Absent
 * tensors pass.
 * Returns what a plan returns: 0, or 1 + the index of the first that does not fit.
 */
inline int checkTypes(const Command& cmd, const char* letters) {
  for (int i = 0; letters[i]; i++) {
    const int type = int(cmd.tensors[i].dtype);
    const bool isHalf = type == BF16 || type == F16;
    const bool isTaken = letters[i] == 'h'   ? type == F32 || isHalf
                         : letters[i] == 'q' ? type == F32 || isHalf || type == I8
                         : letters[i] == 'f' ? type == F32
                         : letters[i] == 'i' ? type == I32
                                             : type == F32 || isHalf || type == I32;
    if (cmd.tensors[i].address != 0 && !isTaken) return 1 + i;
  }
  return 0;
}

// ---- Cutting the work ----------------------------------------------------------------------------------------------

constexpr int64_t ceilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }
constexpr size_t rounded64(size_t bytes) { return (bytes + 63) & ~size_t(63); }

/** A plan of one phase whose units hold `work` elements each; a thread should have at least 16,384. */
inline void planUnits(Plan* plan, int phase, int64_t units, int64_t work) {
  plan->phases = phase + 1;
  plan->units[phase] = units;
  plan->grain[phase] = work > 0 ? ceilDiv(16384, work) : 16384;
}

/** A matrix in pieces of one row and at most PIECE columns: the units of elementwise kernels. */
struct Pieces {
  static constexpr int64_t PIECE = 4096;
  int64_t rows, cols, perRow;

  /** Tensors that are dense throughout are taken as one long row. */
  Pieces(int64_t rowCount, int64_t colCount, bool isDense) {
    rows = isDense ? 1 : rowCount;
    cols = isDense ? rowCount * colCount : colCount;
    perRow = ceilDiv(cols, PIECE);
  }
  void plan(Plan* plan) const { planUnits(plan, 0, rows * perRow, cols < PIECE ? cols : PIECE); }

  /** body(row, col, n) for every tile of the units, n <= TILE. */
  template <class Body>
  KRAIT_INLINE void eachTile(int64_t begin, int64_t end, Body body) const {
    for (int64_t unit = begin; unit < end; unit++) {
      const int64_t row = unit / perRow, from = unit % perRow * PIECE;
      const int64_t to = from + PIECE < cols ? from + PIECE : cols;
      for (int64_t col = from; col < to; col += TILE) body(row, col, to - col < TILE ? to - col : int64_t(TILE));
    }
  }
};

/** body(col, n) for every tile of a row, n <= TILE. */
template <class Body>
KRAIT_INLINE void eachTile(int64_t cols, Body body) {
  for (int64_t col = 0; col < cols; col += TILE) body(col, cols - col < TILE ? cols - col : int64_t(TILE));
}

/** Whether the first `count` tensors of the command (absent ones aside) have rows without gaps. */
inline bool areDense(const Command& cmd, int count, int64_t cols) {
  for (int i = 0; i < count; i++) {
    if (cmd.tensors[i].address != 0 && int64_t(cmd.tensors[i].ld) != cols) return false;
  }
  return true;
}

}  // namespace
}  // namespace KRAIT_VARIANT
}  // namespace krait
