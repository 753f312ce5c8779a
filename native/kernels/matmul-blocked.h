// The blocked product. The smaller operand is packed whole, once, into shared scratch (phase 0, split over
// threads). The panels of the other one are the units of phase 1: each thread packs its own, a block at a time,
// into its scratch, and multiplies it with all of the shared panels.
//
// The order in which an element is summed depends on k alone (blocks of at most STEPS), so neither the thread
// count nor the way a range is cut changes a bit.
#pragma once
#include "matmul-pack.h"
#include "matmul-tile.h"

namespace krait {
namespace KRAIT_VARIANT {
namespace {

constexpr int64_t STEPS = 256;       // a panel of b, STEPS x TILE_COLS, stays in the first cache
constexpr int64_t BLOCK_ROWS = 144;  // a block of a, BLOCK_ROWS x STEPS, stays in the second
constexpr int64_t BLOCK_COLS = 256;
constexpr int64_t RESIDENT_BYTES = int64_t(4) << 20;  // of a block packed for all of k at once

/** One product, as plain numbers. */
struct Product {
  Operand a, b;  // lanes of a: rows of c; lanes of b: columns of c
  const char* bias;
  char* c;
  int64_t batch, m, n, k, ldc, strideA, strideB, strideC;  // ldc in elements, strides in bytes
  int biasType, cType;
  float alpha, beta;
};

constexpr int64_t ceilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }
constexpr int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

/** How the loops go; a pure function of the product. */
struct Blocking {
  bool pairs;       // bf16 stays bf16
  bool sharesB;     // b is the operand packed whole; else a is
  int64_t steps, blocks, blockSteps;  // words along k, and how they are cut
  int64_t sharedPanels, privatePanels;  // of one product of the batch
  int64_t sharedCopies;                 // products of the batch that need a packed operand of their own
  int64_t privateBlock, sharedBlock;    // panels that one block of the loops takes
  bool resident;    // a private block keeps all of k, so it is packed once

  explicit Blocking(const Product& p) {
    pairs = KRAIT_DOT && p.a.dtype == BF16 && p.b.dtype == BF16;
    steps = pairs ? ceilDiv(p.k, 2) : p.k;
    blocks = ceilDiv(steps, STEPS);
    blockSteps = blocks ? ceilDiv(steps, blocks) : 0;
    sharesB = p.m >= p.n;
    const int64_t rows = ceilDiv(p.m, TILE_ROWS), cols = ceilDiv(p.n, TILE_COLS);
    sharedPanels = sharesB ? cols : rows;
    privatePanels = sharesB ? rows : cols;
    sharedCopies = (sharesB ? p.strideB : p.strideA) == 0 ? 1 : p.batch;
    privateBlock = sharesB ? BLOCK_ROWS / TILE_ROWS : BLOCK_COLS / TILE_COLS;
    sharedBlock = sharesB ? BLOCK_COLS / TILE_COLS : BLOCK_ROWS / TILE_ROWS;
    resident = privateBlock * privateWidth() * steps * 4 <= RESIDENT_BYTES;
    if (!resident) sharedBlock *= 4;  // what is packed again and again should at least be used more
  }
  int64_t sharedWidth() const { return sharesB ? TILE_COLS : TILE_ROWS; }
  int64_t privateWidth() const { return sharesB ? TILE_ROWS : TILE_COLS; }
  /** Words from one shared panel to the next. */
  int64_t sharedStride() const { return sharedWidth() * steps; }
  int64_t privateWords() const { return privateBlock * privateWidth() * (resident ? steps : blockSteps); }
  /** c is summed aside in f32 when it is a half type and k takes several blocks. */
  bool aside(const Product& p) const { return p.cType != F32 && blocks > 1; }
  int64_t asideWords() const {
    return (sharesB ? privateBlock : sharedBlock) * TILE_ROWS * (sharesB ? sharedBlock : privateBlock) * TILE_COLS;
  }
};

template <int WIDTH>
void packOperand(const Operand& x, bool pairs, int64_t p0, int64_t p1, int64_t k0, int64_t k1, float* to, int64_t stride) {
#if KRAIT_DOT
  if (pairs) return packPairs<WIDTH>(x, p0, p1, k0, k1, to, stride);
#endif
  (void)pairs;
  packPanels<WIDTH>(x, p0, p1, k0, k1, to, stride);
}

/** Packed panels of both operands that meet in a block of c, for one block of k. */
struct Meeting {
  const float *a, *b;
  int64_t strideA, strideB;  // words from panel to panel
  int64_t row0, row1, col0, col1;  // of c
  int64_t steps;
  float alpha, beta;
  bool first;  // of the blocks of k: the bias is added
};

void loadBias(const Product& p, int64_t col, float* to) {
  for (int64_t j = 0; j < TILE_COLS; j++) {
    to[j] = 0.0f;
    if (col + j >= p.n) continue;
    withDType(p.biasType, [&](auto dtype) { to[j] = loadOne<decltype(dtype)::value>(p.bias, col + j); });
  }
}

/** Multiplies one block into c, or into `aside` (f32, dense rows of `ldAside`) where that is given. */
void multiply(const Product& p, bool pairs, const Meeting& x, char* c, float* aside, int64_t ldAside) {
#if KRAIT_DOT
  const TileFn* tiles = pairs ? kTiles<ByPair>.byRows : kTiles<ByElement>.byRows;
#else
  (void)pairs;
  const TileFn* tiles = kTiles<ByElement>.byRows;
#endif
  alignas(64) float bias[TILE_COLS], spill[TILE_ROWS * TILE_COLS];
  for (int64_t col = x.col0; col < x.col1; col += TILE_COLS) {
    const float* b = x.b + (col - x.col0) / TILE_COLS * x.strideB;
    const int64_t cols = smaller(TILE_COLS, p.n - col);
    const bool biased = p.bias && x.first;
    if (biased) loadBias(p, col, bias);
    for (int64_t row = x.row0; row < x.row1; row += TILE_ROWS) {
      const float* a = x.a + (row - x.row0) / TILE_ROWS * x.strideA;
      const int64_t rows = smaller(TILE_ROWS, p.m - row);
      const TileFn tile = tiles[rows - 1];
      const TileScale scale = {x.alpha, x.beta, biased ? bias : nullptr};
      if (aside) {
        tile(x.steps, a, b, aside + (row - x.row0) * ldAside + (col - x.col0), ldAside, scale);
      } else if (p.cType == F32 && cols == TILE_COLS) {
        tile(x.steps, a, b, reinterpret_cast<float*>(c) + row * p.ldc + col, p.ldc, scale);
      } else {
        tile(x.steps, a, b, spill, TILE_COLS, {x.alpha, 0.0f, scale.bias});
        emit(spill, TILE_COLS, c + (row * p.ldc + col) * bytesOf(p.cType), p.ldc, p.cType, rows, cols, x.beta);
      }
    }
  }
}

/** Private panels p0..p1-1 (at most a block) of product `item` times all shared panels. */
void blockTimesShared(const Product& p, const Blocking& how, int64_t item, int64_t p0, int64_t p1, const float* shared,
                      float* own) {
  Operand mine = how.sharesB ? p.a : p.b;
  mine.data += item * (how.sharesB ? p.strideA : p.strideB);
  char* c = p.c + item * p.strideC;
  float* aside = how.aside(p) ? own + how.privateWords() : nullptr;
  shared += how.sharedCopies > 1 ? item * how.sharedPanels * how.sharedStride() : 0;
  for (int64_t s0 = 0; s0 < how.sharedPanels; s0 += how.sharedBlock) {
    const int64_t s1 = smaller(s0 + how.sharedBlock, how.sharedPanels);
    Meeting x;
    x.row0 = (how.sharesB ? p0 : s0) * TILE_ROWS;
    x.row1 = smaller((how.sharesB ? p1 : s1) * TILE_ROWS, p.m);
    x.col0 = (how.sharesB ? s0 : p0) * TILE_COLS;
    x.col1 = smaller((how.sharesB ? s1 : p1) * TILE_COLS, p.n);
    const int64_t ldAside = (how.sharesB ? s1 - s0 : p1 - p0) * TILE_COLS;
    for (int64_t block = 0; block < how.blocks; block++) {
      const int64_t k0 = block * how.blockSteps, k1 = smaller(k0 + how.blockSteps, how.steps);
      float* packed = own + (how.resident ? k0 * how.privateBlock * how.privateWidth() : 0);
      const int64_t stride = (k1 - k0) * how.privateWidth();
      if (!how.resident || s0 == 0) {
        if (how.sharesB) packOperand<TILE_ROWS>(mine, how.pairs, p0, p1, k0, k1, packed, stride);
        else packOperand<TILE_COLS>(mine, how.pairs, p0, p1, k0, k1, packed, stride);
      }
      const float* theirs = shared + s0 * how.sharedStride() + k0 * how.sharedWidth();
      x.a = how.sharesB ? packed : theirs;
      x.b = how.sharesB ? theirs : packed;
      x.strideA = how.sharesB ? stride : how.sharedStride();
      x.strideB = how.sharesB ? how.sharedStride() : stride;
      x.steps = k1 - k0;
      x.alpha = p.alpha;
      x.beta = block > 0 ? 1.0f : aside ? 0.0f : p.beta;
      x.first = block == 0;
      multiply(p, how.pairs, x, c, aside, ldAside);
    }
    if (aside) {
      emit(aside, ldAside, c + (x.row0 * p.ldc + x.col0) * bytesOf(p.cType), p.ldc, p.cType, x.row1 - x.row0, x.col1 - x.col0, p.beta);
    }
  }
}

void planBlocked(const Product& p, Plan* plan) {
  const Blocking how(p);
  plan->phases = 2;
  plan->units[0] = how.sharedCopies * how.sharedPanels;
  plan->grain[0] = 1 + 16384 / (1 + how.sharedStride());
  plan->units[1] = p.batch * how.privatePanels;
  plan->grain[1] = 1 + int64_t(150000.0 / (1.0 + double(how.privateWidth()) * double(how.sharedPanels) * double(how.sharedStride())));
  plan->shared_scratch = size_t(plan->units[0] * how.sharedStride()) * 4;
  plan->thread_scratch = size_t(how.privateWords() + (how.aside(p) ? how.asideWords() : 0)) * 4;
}

void runBlocked(const Product& p, int phase, int64_t begin, int64_t end, void* threadScratch, void* sharedScratch) {
  const Blocking how(p);
  float* shared = static_cast<float*>(sharedScratch);
  const int64_t panels = phase == 0 ? how.sharedPanels : how.privatePanels;
  while (begin < end) {  // a stretch within one product of the batch
    const int64_t item = begin / panels, p0 = begin % panels;
    int64_t p1 = smaller(panels, p0 + end - begin);
    if (phase == 0) {
      Operand x = how.sharesB ? p.b : p.a;
      x.data += item * (how.sharesB ? p.strideB : p.strideA);
      float* to = shared + begin * how.sharedStride();
      if (how.sharesB) packOperand<TILE_COLS>(x, how.pairs, p0, p1, 0, how.steps, to, how.sharedStride());
      else packOperand<TILE_ROWS>(x, how.pairs, p0, p1, 0, how.steps, to, how.sharedStride());
    } else {
      p1 = smaller(p1, p0 + how.privateBlock);
      blockTimesShared(p, how, item, p0, p1, shared, static_cast<float*>(threadScratch));
    }
    begin += p1 - p0;
  }
}

}  // namespace
}  // namespace KRAIT_VARIANT
}  // namespace krait
