// The register tile: out = alpha * (panel of a) (panel of b) * scale + beta * in + bias for up to TILE_ROWS x TILE_COLS
// elements in f32, and the rounding of finished rows into c's dtype.
#pragma once
#include "matmul-vector.h"

namespace krait {
namespace KRAIT_VARIANT {
namespace {

/** One f32 product a step. */
struct ByElement {
  static inline Floats add(Floats sum, Floats a, Floats b) { return sum + a * b; }
};
#if KRAIT_DOT
/** Two bf16 products a step, summed in f32. */
struct ByPair {
  static inline Floats add(Floats sum, Floats a, Floats b) {
    return bitsAs<Floats>(_mm512_dpbf16_ps(bitsAs<__m512>(sum), bitsAs<__m512bh>(a), bitsAs<__m512bh>(b)));
  }
};
#endif

struct TileEnds {
  float alpha, beta;  // beta 0 does not read `in`
  const float* scale;  // TILE_COLS values in place of alpha, or null
  const float* bias;  // TILE_COLS values or null
  const float* in;
  float* out;
  int64_t ldIn, ldOut;
};

template <class Product, int ROWS, int VECTORS>
KRAIT_OUTLINE void tile(int64_t steps, const float* a, const float* b, const TileEnds& ends) {
  Floats sum[ROWS][VECTORS];
#pragma GCC unroll 16
  for (int r = 0; r < ROWS; r++) {
#pragma GCC unroll 4
    for (int v = 0; v < VECTORS; v++) sum[r][v] = Floats{};
  }
#pragma GCC unroll 2
  for (int64_t k = 0; k < steps; k++) {
    Floats column[VECTORS];
#pragma GCC unroll 4
    for (int v = 0; v < VECTORS; v++) column[v] = loadAs<Floats>(b + v * LANES);
#pragma GCC unroll 16
    for (int r = 0; r < ROWS; r++) {
      const Floats row = splat(a[r]);
#pragma GCC unroll 4
      for (int v = 0; v < VECTORS; v++) sum[r][v] = Product::add(sum[r][v], row, column[v]);
    }
    a += TILE_ROWS;
    b += TILE_COLS;
  }
  const float beta = ends.beta;
#pragma GCC unroll 4
  for (int v = 0; v < VECTORS; v++) {
    const Floats factor = ends.scale ? loadAs<Floats>(ends.scale + v * LANES) : splat(ends.alpha);
#pragma GCC unroll 16
    for (int r = 0; r < ROWS; r++) sum[r][v] *= factor;
  }
  if (beta != 0.0f) {
#pragma GCC unroll 16
    for (int r = 0; r < ROWS; r++) {
#pragma GCC unroll 4
      for (int v = 0; v < VECTORS; v++) sum[r][v] += loadAs<Floats>(ends.in + r * ends.ldIn + v * LANES) * beta;
    }
  }
  if (ends.bias) {
#pragma GCC unroll 4
    for (int v = 0; v < VECTORS; v++) {
      const Floats bias = loadAs<Floats>(ends.bias + v * LANES);
#pragma GCC unroll 16
      for (int r = 0; r < ROWS; r++) sum[r][v] += bias;
    }
  }
  float* out = ends.out;
  const int64_t ldOut = ends.ldOut;
#pragma GCC unroll 16
  for (int r = 0; r < ROWS; r++) {
#pragma GCC unroll 4
    for (int v = 0; v < VECTORS; v++) storeAs(out + r * ldOut + v * LANES, sum[r][v]);
  }
}

/** A tile of 1 to TILE_ROWS rows: whole, or in pieces, so that a short last panel costs little more than it holds. */
template <class Product, int VECTORS>
void tileOf(int64_t rows, int64_t steps, const float* a, const float* b, TileEnds ends) {
  if (rows == TILE_ROWS) return tile<Product, TILE_ROWS, VECTORS>(steps, a, b, ends);
  while (rows > 0) {
    const int64_t piece = rows >= 4 ? 4 : rows >= 2 ? 2 : 1;
    if (piece == 4) tile<Product, 4, VECTORS>(steps, a, b, ends);
    if (piece == 2) tile<Product, 2, VECTORS>(steps, a, b, ends);
    if (piece == 1) tile<Product, 1, VECTORS>(steps, a, b, ends);
    a += piece;
    ends.in += piece * ends.ldIn;
    ends.out += piece * ends.ldOut;
    rows -= piece;
  }
}

/** c = from + beta * c for rows x cols elements, in c's dtype. */
void emit(const float* from, int64_t ldFrom, void* c, int64_t ldc, int dtype, int64_t rows, int64_t cols, float beta) {
  withDType(dtype, [&](auto constant) {
    constexpr int T = decltype(constant)::value;
    for (int64_t r = 0; r < rows; r++) {
      const float* x = from + r * ldFrom;
      const int64_t start = r * ldc;
      int64_t j = 0;
      for (; j + LANES <= cols; j += LANES) {
        Floats value = loadAs<Floats>(x + j);
        if (beta != 0.0f) value += loadFloats<T, LANES>(c, start + j) * beta;
        storeFloats<T, LANES>(c, start + j, value);
      }
      for (; j < cols; j++) {
        float value = x[j];
        if (beta != 0.0f) value += loadOne<T>(c, start + j) * beta;
        storeOne<T>(c, start + j, value);
      }
    }
  });
}

}  // namespace
}  // namespace KRAIT_VARIANT
}  // namespace krait
