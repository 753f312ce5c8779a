// Products with at most THIN rows or columns: decoding, single vectors. They run at the speed of memory, so
// nothing is packed: the wide operand is read once, in its own dtype.
//
// Seen as thin [t, k] times wide [w, k] -> out [t, w]. Memory of the wide operand runs along k (dot products) or
// along w (sums of scaled rows). A long k is cut in pieces of fixed size whose sums are added in order afterwards,
// so the result does not depend on the thread count.
#pragma once
#include "matmul-dots.h"

namespace krait {
namespace KRAIT_VARIANT {
namespace {

constexpr int THIN = 8;           // rows or columns that count as few
constexpr int64_t SUM_COLS = 256;  // columns of the wide operand that one unit sums
constexpr int64_t SHORT_K = 128, SHORT_ROWS = 64;  // rows so short that a unit of a single thin row takes as many

/** The product turned so that the thin side comes first. */
struct Thin {
  Operand thin, wide;
  int64_t t, w, k, batch, strideThin, strideWide;
  int64_t outT, outW;      // elements of c from one t, one w to the next
  bool biasAlongW;
  int64_t pieces, pieceSteps;  // cuts of k
  int64_t group, unitsOfW;     // groups of w: at most DOT_ROWS, SHORT_ROWS or SUM_COLS of them
  bool pairs;                  // both are bf16 and stay it
  bool converts;               // the thin operand goes to f32 rows in shared scratch first
  bool fixes;                  // and, from f32, to whole numbers beside them

  explicit Thin(const Product& p) {
    const bool flat = p.m <= p.n;
    thin = flat ? p.a : p.b;
    wide = flat ? p.b : p.a;
    t = thin.lanes;
    w = wide.lanes;
    k = p.k;
    batch = p.batch;
    strideThin = flat ? p.strideA : p.strideB;
    strideWide = flat ? p.strideB : p.strideA;
    outT = flat ? p.ldc : 1;
    outW = flat ? 1 : p.ldc;
    biasAlongW = flat;
    group = wide.across ? (w < 32 * DOT_ROWS ? 4 : DOT_ROWS) : SUM_COLS;
    if (wide.across && t == 1 && k <= SHORT_K && w >= 16 * SHORT_ROWS) group = SHORT_ROWS;
    unitsOfW = ceilDiv(w, group);
    const int64_t shortest = wide.across ? 4096 : 256;
    // Enough units for many threads, but no piece shorter than is worth the addition of its sums.
    pieces = unitsOfW >= 32 ? 1 : smaller(ceilDiv(32, unitsOfW), ceilDiv(k, shortest));
    if (pieces < 1) pieces = 1;
    pieceSteps = ceilDiv(ceilDiv(k, pieces), 64) * 64;
    pieces = pieceSteps ? ceilDiv(k, pieceSteps) : 1;
    pairs = KRAIT_DOT && wide.across && thin.across && wide.dtype == BF16 && thin.dtype == BF16;
    converts = !pairs && (thin.dtype != F32 || !thin.across);
    fixes = KRAIT_FIXED && wide.across && wide.dtype == I8;
  }
  /** Scratch: f32 rows of all products, then whole numbers, each product's with a word before them that says if they serve. */
  int64_t floatBytes() const { return converts ? ceilDiv(batch * t * k, 16) * 64 : 0; }
#if KRAIT_FIXED
  int64_t fixedBytes() const { return fixes ? 64 + t * ByFixed::rowBytes(k) : 0; }
#else
  int64_t fixedBytes() const { return 0; }
#endif
  int64_t thinBytes() const { return floatBytes() + batch * fixedBytes(); }
};

void storeThin(const Product& p, const Thin& x, int64_t item, int64_t t, int64_t w, float sum) {
  char* c = p.c + item * p.strideC;
  const int64_t at = t * x.outT + w * x.outW;
  float value = p.scale ? sum * (p.alpha * p.scale[x.biasAlongW ? w : t]) : sum * p.alpha;
  if (p.beta != 0.0f) value += loadAny(c, at, p.cType) * p.beta;
  if (p.bias) value += loadAny(p.bias, x.biasAlongW ? w : t, p.biasType);
  storeAny(c, at, p.cType, value);
}

/** storeThin of row t for columns w0 .. w0+count-1, a vector at a time where they lie side by side. */
template <int T>
void storeThinRow(const Product& p, const Thin& x, int64_t item, int64_t t, int64_t w0, int64_t count, const float* sums) {
  char* c = p.c + item * p.strideC;
  const Floats alpha = splat(p.alpha), beta = splat(p.beta);
  int64_t j = 0;
  for (; x.outW == 1 && j + LANES <= count; j += LANES) {
    const int64_t w = w0 + j, at = t * x.outT + w;
    Floats factor = alpha;
    if (p.scale) factor *= x.biasAlongW ? loadAs<Floats>(p.scale + w) : splat(p.scale[t]);
    Floats value = loadAs<Floats>(sums + j) * factor;
    if (p.beta != 0.0f) value += loadFloats<T, LANES>(c, at) * beta;
    if (p.bias) {
      Floats bias;
      for (int i = 0; i < LANES; i++) bias[i] = loadAny(p.bias, x.biasAlongW ? w + i : t, p.biasType);
      value += bias;
    }
    storeFloats<T, LANES>(c, at, value);
  }
  for (; j < count; j++) storeThin(p, x, item, t, w0 + j, sums[j]);
}

/** sums[i][j] += thin[i][k] * row k of memory[j], one by one, for the columns and steps that do not fill vectors. */
KRAIT_OUTLINE void scaledEdge(const float* thin, int64_t thinPitch, int64_t t, const char* row, int64_t pitch, int dtype,
                              int64_t steps, int64_t col, int64_t j0, int64_t cols, float* sums) {
  for (int64_t i = 0; i < t; i++) {
    for (int64_t r = 0; r < steps; r++) {
      for (int64_t j = j0; j < cols; j++) {
        sums[i * SUM_COLS + j] += thin[i * thinPitch + r] * loadAny(row + r * pitch, col + j, dtype);
      }
    }
  }
}

/** sums[i][j] += thin[i][k] * wide[k][col + j] for TS thin rows, four steps of k and `cols` columns. */
template <int T, int TS>
void scaledRows(const float* thin, int64_t thinPitch, const char* row, int64_t pitch, int64_t col, int64_t cols,
                float* sums) {
  Floats scale[TS][4];
  for (int i = 0; i < TS; i++) {
    for (int r = 0; r < 4; r++) scale[i][r] = splat(thin[i * thinPitch + r]);
  }
  int64_t j = 0;
  for (; j + LANES <= cols; j += LANES) {
    Floats y[4];
#pragma GCC unroll 4
    for (int r = 0; r < 4; r++) y[r] = loadFloats<T, LANES>(row + r * pitch, col + j);
#pragma GCC unroll 4
    for (int i = 0; i < TS; i++) {
      Floats sum = loadAs<Floats>(sums + i * SUM_COLS + j);
#pragma GCC unroll 4
      for (int r = 0; r < 4; r++) sum += y[r] * scale[i][r];
      storeAs(sums + i * SUM_COLS + j, sum);
    }
  }
  if (j < cols) scaledEdge(thin, thinPitch, TS, row, pitch, T, 4, col, j, cols, sums);
}

/** A group of columns of the wide operand against all thin rows: sums [t][SUM_COLS]. */
template <int T>
void sumsOfGroup(const float* thin, int64_t pitch, int64_t t, const Operand& wide, int64_t col, int64_t cols,
                 int64_t k0, int64_t k1, float* sums) {
  int64_t k = k0;
  for (; k + 4 <= k1; k += 4) {
    const char* row = wide.data + k * wide.pitch;
    if (k + 8 <= k1) {  // rows lie too far apart for the hardware to foresee the next ones
      for (int r = 4; r < 8; r++) {
        const char* next = row + r * wide.pitch + col * bytesOf(T);
        for (int64_t at = 0; at < cols * bytesOf(T); at += 64) __builtin_prefetch(next + at);
      }
    }
    const float* x = thin + k;
    float* to = sums;
    int64_t i = 0;
    for (; i + 2 <= t; i += 2, x += 2 * pitch, to += 2 * SUM_COLS) {
      scaledRows<T, 2>(x, pitch, row, wide.pitch, col, cols, to);
    }
    if (i < t) scaledRows<T, 1>(x, pitch, row, wide.pitch, col, cols, to);
  }
  if (k < k1) scaledEdge(thin + k, pitch, t, wide.data + k * wide.pitch, wide.pitch, T, k1 - k, col, 0, cols, sums);
}

void planThin(const Product& p, Plan* plan) {
  const Thin x(p);
  plan->phases = x.pieces > 1 ? 3 : 2;
  plan->units[0] = x.converts || x.fixes ? x.batch : 0;
  plan->grain[0] = 1 + 65536 / (1 + x.t * x.k);
  plan->units[1] = x.batch * x.pieces * x.unitsOfW;
  plan->grain[1] = 1 + 32768 / (1 + x.group * x.pieceSteps);  // elements of the wide operand: a few microseconds
  plan->units[2] = x.batch * x.t;
  plan->grain[2] = 1 + 16384 / (1 + x.w * x.pieces);
  plan->shared_scratch = size_t(x.thinBytes() + (x.pieces > 1 ? x.batch * x.pieces * x.t * x.w : 0) * 4);
}

/** The thin rows of one product as f32, dense. */
void convertThin(const Thin& x, int64_t item, float* to) {
  const char* data = x.thin.data + item * x.strideThin;
  withOperandType(x.thin.dtype, [&](auto dtype) {
    constexpr int T = decltype(dtype)::value;
    for (int64_t i = 0; i < x.t; i++, to += x.k) {
      int64_t k = 0;
      if (x.thin.across) {
        const char* row = data + i * x.thin.pitch;
        for (; k + LANES <= x.k; k += LANES) storeAs(to + k, loadFloats<T, LANES>(row, k));
        for (; k < x.k; k++) to[k] = loadOne<T>(row, k);
      } else {
        for (; k < x.k; k++) to[k] = loadOne<T>(data + k * x.thin.pitch, i);
      }
    }
  });
}

/** The thin rows of product `item` in f32, and the bytes from one to the next. */
struct Rows {
  const char* data;
  int64_t pitch;
};
Rows floatRows(const Thin& x, int64_t item, const char* scratch) {
  if (x.converts) return {scratch + item * x.t * x.k * 4, x.k * 4};
  return {x.thin.data + item * x.strideThin, x.thin.pitch};
}

/** What phase 0 leaves in scratch for product `item`. */
void prepareThin(const Thin& x, int64_t item, char* scratch) {
  if (x.converts) convertThin(x, item, reinterpret_cast<float*>(scratch) + item * x.t * x.k);
#if KRAIT_FIXED
  if (!x.fixes) return;
  const Rows rows = floatRows(x, item, scratch);
  char* fixed = scratch + x.floatBytes() + item * x.fixedBytes();
  int32_t serve = 1;
  for (int64_t i = 0; i < x.t && serve; i++) {
    const float* row = reinterpret_cast<const float*>(rows.data + i * rows.pitch);
    serve = fixRow(row, x.k, fixed + 64 + i * ByFixed::rowBytes(x.k));
  }
  storeAs(fixed, serve);
#endif
}

/** Group w0.. of the wide operand against the thin rows of product `item`, over k0..k1-1. */
void sumGroup(const Thin& x, const Operand& wide, int64_t item, int64_t w0, int64_t ws, int64_t k0, int64_t k1,
              const char* scratch, float* sums) {
#if KRAIT_DOT
  if (x.pairs) {
    return dotsOfGroup<ByPairs>(x.thin.data + item * x.strideThin, x.thin.pitch, x.t, wide, w0, ws, k0, k1, sums);
  }
#endif
#if KRAIT_FIXED
  const char* fixed = scratch + x.floatBytes() + item * x.fixedBytes();
  if (x.fixes && loadAs<int32_t>(fixed)) {
    return dotsOfGroup<ByFixed>(fixed + 64, ByFixed::rowBytes(x.k), x.t, wide, w0, ws, k0, k1, sums);
  }
#endif
  const Rows rows = floatRows(x, item, scratch);
  withOperandType(wide.dtype, [&](auto dtype) {
    constexpr int T = decltype(dtype)::value;
    if (wide.across) return dotsOfGroup<ByFloats<T>>(rows.data, rows.pitch, x.t, wide, w0, ws, k0, k1, sums);
    const float* thin = reinterpret_cast<const float*>(rows.data);
    sumsOfGroup<T>(thin, rows.pitch / 4, x.t, wide, w0, ws, k0, k1, sums);
  });
}

/** One unit of phase 1: a group of w, one piece of k. */
void multiplyThin(const Product& p, const Thin& x, int64_t unit, const char* scratch, float* partial) {
  const int64_t item = unit / (x.pieces * x.unitsOfW), rest = unit % (x.pieces * x.unitsOfW);
  const int64_t piece = rest / x.unitsOfW, line = x.wide.across ? DOT_ROWS : SUM_COLS;
  const int64_t w0 = rest % x.unitsOfW * x.group, ws = smaller(x.group, x.w - w0);
  const int64_t k0 = piece * x.pieceSteps, k1 = smaller(k0 + x.pieceSteps, x.k);
  Operand wide = x.wide;
  wide.data += item * x.strideWide;
  alignas(64) float sums[THIN * SUM_COLS];
  __builtin_memset(sums, 0, sizeof(float) * size_t(x.t == 1 ? x.group : x.t * line));
  sumGroup(x, wide, item, w0, ws, k0, k1, scratch, sums);
  for (int64_t i = 0; i < x.t; i++) {
    const float* row = sums + i * line;
    if (x.pieces > 1) {
      float* to = partial + ((item * x.pieces + piece) * x.t + i) * x.w + w0;
      for (int64_t j = 0; j < ws; j++) to[j] = row[j];
    } else {
      withDType(p.cType, [&](auto dtype) { storeThinRow<decltype(dtype)::value>(p, x, item, i, w0, ws, row); });
    }
  }
}

void runThin(const Product& p, int phase, int64_t begin, int64_t end, void* sharedScratch) {
  const Thin x(p);
  char* scratch = static_cast<char*>(sharedScratch);
  float* partial = reinterpret_cast<float*>(scratch + x.thinBytes());
  for (int64_t unit = begin; unit < end; unit++) {
    if (phase == 0) {
      prepareThin(x, unit, scratch);
    } else if (phase == 1) {
      multiplyThin(p, x, unit, scratch, partial);
    } else {
      const int64_t item = unit / x.t, i = unit % x.t;
      for (int64_t j = 0; j < x.w; j++) {
        float sum = 0.0f;
        for (int64_t piece = 0; piece < x.pieces; piece++) {
          sum += partial[((item * x.pieces + piece) * x.t + i) * x.w + j];
        }
        storeThin(p, x, item, i, j, sum);
      }
    }
  }
}

}  // namespace
}  // namespace KRAIT_VARIANT
}  // namespace krait
