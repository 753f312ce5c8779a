// The blocked product. The smaller operand is packed whole, once, into shared scratch (phase 0, split over
// threads). The panels of the other one are the units of phase 1: each thread packs its own, a block of them and of k
// at a time, into its scratch, and multiplies it with all of the shared panels; sums wait aside for the next block of k.
//
// The order in which an element is summed depends on k and on how a lies in memory (blocks of at most STEPS), so neither
// the thread count nor the way a range is cut changes a bit.
#pragma once
#include "matmul-pack.h"
#include "matmul-tile.h"

namespace krait {
namespace KRAIT_VARIANT {
namespace {

// A panel of b, STEPS x TILE_COLS, stays in the first cache; a block of a, BLOCK_ROWS x STEPS, in the second. With tiles as
// large as those of AVX-512 the second cache is fast enough for both panels: blocks are long and narrow, few sums wait aside.
// Blocks are whole panels of every variant.
constexpr int64_t STEPS = LANES == 16 ? 768 : LANES == 8 ? 256 : 384;
constexpr int64_t BLOCK_ROWS = LANES == 16 ? 48 : 96, BLOCK_COLS = TILE_COLS == 32 && LANES == 16 ? 96 : 128;
static_assert(BLOCK_ROWS % TILE_ROWS == 0 && BLOCK_COLS % TILE_COLS == 0, "whole panels");
constexpr int64_t ASIDE_WORDS = 131072;  // of sums that wait: half a MiB
constexpr int64_t LINES = 64;            // of memory, of an operand packed whole that runs along its lanes, for a unit

/** One product, as plain numbers. */
struct Product {
  Operand a, b;  // lanes of a: rows of c; lanes of b: columns of c
  const char* bias;
  const float* scale;  // of each column of b, if that is I8
  char* c;
  int64_t batch, m, n, k, ldc, strideA, strideB, strideC;  // ldc in elements, strides in bytes
  int biasType, cType;
  float alpha, beta;
};

/** How the loops go; a pure function of the product. */
struct Blocking {
  bool pairs;       // bf16 stays bf16
  bool sharesB;     // b is the operand packed whole; else a is
  int64_t steps, blocks, blockSteps;  // words along k, and how they are cut
  int64_t sharedPanels, privatePanels;  // of one product of the batch
  int64_t sharedCopies;                 // products of the batch that need a packed operand of their own
  int64_t packUnits;                    // of phase 0, likewise: panels, or stretches of LINES words of k
  int64_t privateBlock, sharedBlock;    // panels that one block of the loops takes

  explicit Blocking(const Product& p) {
    pairs = KRAIT_DOT && p.a.dtype == BF16 && p.b.dtype == BF16;
    steps = pairs ? ceilDiv(p.k, 2) : p.k;
    sharesB = p.m >= p.n;
    const int64_t rows = ceilDiv(p.m, TILE_ROWS), cols = ceilDiv(p.n, TILE_COLS);
    sharedPanels = sharesB ? cols : rows;
    privatePanels = sharesB ? rows : cols;
    sharedCopies = (sharesB ? p.strideB : p.strideA) == 0 ? 1 : p.batch;
    packUnits = sharedOf(p).across ? sharedPanels : ceilDiv(steps, LINES);
    privateBlock = sharesB ? BLOCK_ROWS / TILE_ROWS : BLOCK_COLS / TILE_COLS;
    // Long k of narrow blocks that lie along the lanes is read in wider stripes.
    const int64_t wider = LANES == 16 && sharesB && !p.a.across && steps > STEPS ? 2 : 1;
    privateBlock *= wider;
    blocks = ceilDiv(steps, STEPS / wider);
    blockSteps = blocks ? ceilDiv(steps, blocks) : 0;
    // As many as there is room for: what meets all shared panels at once is packed once.
    const int64_t room = ASIDE_WORDS / (privateBlock * TILE_ROWS * TILE_COLS);
    sharedBlock = blocks > 1 ? smaller(sharedPanels, room) : sharedPanels;
  }
  const Operand& sharedOf(const Product& p) const { return sharesB ? p.b : p.a; }
  int64_t sharedWidth() const { return sharesB ? TILE_COLS : TILE_ROWS; }
  int64_t privateWidth() const { return sharesB ? TILE_ROWS : TILE_COLS; }
  /** Words from one shared panel to the next. */
  int64_t sharedStride() const { return sharedWidth() * steps; }
  int64_t privateWords() const { return privateBlock * privateWidth() * blockSteps; }
  /** When k takes several blocks, a block of c is summed aside, tile after tile, and c is written once. */
  int64_t asideWords() const { return blocks > 1 ? privateBlock * sharedBlock * TILE_ROWS * TILE_COLS : 0; }
};

template <int WIDTH>
void packOperand(const Operand& x, bool pairs, int64_t p0, int64_t p1, int64_t k0, int64_t k1, float* to,
                 int64_t stride) {
#if KRAIT_DOT
  if (pairs) return packPairs<WIDTH>(x, p0, p1, k0, k1, to, stride);
#endif
  (void)pairs;
  packPanels<WIDTH>(x, p0, p1, k0, k1, to, stride);
}

/** A rectangle of memory that will be packed next, fetched a few lines at a time while the tiles are busy. */
class Ahead {
 public:
  /** Lanes from `lane` on and steps k0..k1-1, in `times` goes. */
  Ahead(const Operand& x, int64_t lane, int64_t lanes, int64_t k0, int64_t k1, int64_t times) {
    lanes = smaller(lanes, x.lanes - lane);
    k1 = smaller(k1, x.k);
    if (lanes <= 0 || k0 >= k1) return;
    const int64_t size = bytesOf(x.dtype);
    line_ = x.data + (x.across ? lane * x.pitch + k0 * size : lane * size + k0 * x.pitch);
    pitch_ = x.pitch;
    lines_ = x.across ? lanes : k1 - k0;
    bytes_ = (x.across ? k1 - k0 : lanes) * size;
    each_ = ceilDiv(lines_ * ceilDiv(bytes_, 64), times > 0 ? times : 1);
  }
  void fetch() {
#if !defined(__wasm__)
    for (int64_t left = each_; left > 0 && lines_ > 0; left--) {
      __builtin_prefetch(line_ + at_, 0, 2);
      at_ += 64;
      if (at_ < bytes_) continue;
      at_ = 0;
      line_ += pitch_;
      lines_--;
    }
#endif
  }

 private:
  const char* line_ = nullptr;
  int64_t pitch_ = 0, lines_ = 0, bytes_ = 0, at_ = 0, each_ = 0;
};

/** Packed panels of both operands that meet in a block of c, for one block of k. */
struct Meeting {
  const float *a, *b;
  int64_t strideA, strideB;        // words from panel to panel
  int64_t row0, row1, col0, col1;  // of c
  int64_t steps;
  bool pairs, first, last;         // of the blocks of k
};

void loadBias(const Product& p, int64_t col, float* to) {
  for (int64_t j = 0; j < TILE_COLS; j++) {
    to[j] = col + j < p.n ? loadAny(p.bias, col + j, p.biasType) : 0.0f;
  }
}
void loadScale(const Product& p, int64_t col, float* to) {
  for (int64_t j = 0; j < TILE_COLS; j++) to[j] = col + j < p.n ? p.scale[col + j] * p.alpha : 0.0f;
}

typedef void (*TileRows)(int64_t rows, int64_t steps, const float* a, const float* b, TileEnds ends);
/** The tile for so many columns: vectors that have none are not computed. */
template <class Product, int VECTORS = 1>
TileRows tileFor(int64_t cols) {
  if constexpr (VECTORS < TILE_VECTORS) {
    if (cols > VECTORS * LANES) return tileFor<Product, VECTORS + 1>(cols);
  }
  return tileOf<Product, VECTORS>;
}
inline TileRows tileFor(bool pairs, int64_t cols) {
#if KRAIT_DOT
  if (pairs) return tileFor<ByPair>(cols);
#endif
  (void)pairs;
  return tileFor<ByElement>(cols);
}

/** Rows of c that are about to be written; a line that is fetched late holds up the tile after it. */
inline void fetchTile(const char* c, int64_t pitch, int64_t rows, int64_t bytes) {
#if !defined(__wasm__)
  for (int64_t r = 0; r < rows; r++, c += pitch) {
    for (int64_t at = 0; at < bytes; at += 64) __builtin_prefetch(c + at, 1);
  }
#endif
}

/** Multiplies one block; between blocks of k the sums wait in `aside`. */
void multiply(const Product& p, const Meeting& x, char* c, float* aside, Ahead& ahead) {
  alignas(64) float bias[TILE_COLS], scale[TILE_COLS], spill[TILE_ROWS * TILE_COLS];
  for (int64_t col = x.col0; col < x.col1; col += TILE_COLS) {
    const float* b = x.b + (col - x.col0) / TILE_COLS * x.strideB;
    const int64_t cols = smaller(TILE_COLS, p.n - col);
    const bool direct = p.cType == F32 && cols == TILE_COLS;  // whole vectors of c itself
    const bool biased = p.bias && x.first;
    const TileRows tileRows = tileFor(x.pairs, cols);
    if (biased) loadBias(p, col, bias);
    if (p.scale) loadScale(p, col, scale);
    for (int64_t row = x.row0; row < x.row1; row += TILE_ROWS, aside += TILE_ROWS * TILE_COLS) {
      const float* a = x.a + (row - x.row0) / TILE_ROWS * x.strideA;
      const int64_t rows = smaller(TILE_ROWS, p.m - row), size = bytesOf(p.cType);
      char* place = c + (row * p.ldc + col) * size;
      float* own = reinterpret_cast<float*>(place);
      TileEnds ends = {p.alpha, 1.0f,  p.scale ? scale : nullptr, biased ? bias : nullptr,
                       aside,   aside, TILE_COLS,                 TILE_COLS};
      if (x.first) {
        ends.beta = direct ? p.beta : 0.0f;
        ends.in = own;
        ends.ldIn = p.ldc;
      }
      if (x.last) {
        ends.out = direct ? own : spill;
        ends.ldOut = direct ? p.ldc : TILE_COLS;
        fetchTile(place, p.ldc * size, rows, cols * size);
      }
      ahead.fetch();
      tileRows(rows, x.steps, a, b, ends);
      if (!x.last || direct) continue;
      emit(spill, TILE_COLS, place, p.ldc, p.cType, rows, cols, p.beta);
    }
  }
}

/** Private panels p0..p1-1 (at most a block) of product `item` times all shared panels. */
void blockTimesShared(const Product& p, const Blocking& how, int64_t item, int64_t p0, int64_t p1, const float* shared,
                      float* own) {
  Operand mine = how.sharesB ? p.a : p.b;
  mine.data += item * (how.sharesB ? p.strideA : p.strideB);
  char* c = p.c + item * p.strideC;
  float* aside = own + how.privateWords();
  shared += how.sharedCopies > 1 ? item * how.sharedPanels * how.sharedStride() : 0;
  const int64_t width = how.privateWidth(), word = how.pairs ? 2 : 1;
  for (int64_t s0 = 0; s0 < how.sharedPanels; s0 += how.sharedBlock) {
    const int64_t s1 = smaller(s0 + how.sharedBlock, how.sharedPanels);
    Meeting x;
    x.row0 = (how.sharesB ? p0 : s0) * TILE_ROWS;
    x.row1 = smaller((how.sharesB ? p1 : s1) * TILE_ROWS, p.m);
    x.col0 = (how.sharesB ? s0 : p0) * TILE_COLS;
    x.col1 = smaller((how.sharesB ? s1 : p1) * TILE_COLS, p.n);
    for (int64_t block = 0; block < how.blocks; block++) {
      const int64_t k0 = block * how.blockSteps, k1 = smaller(k0 + how.blockSteps, how.steps);
      const int64_t stride = (k1 - k0) * width;
      if (how.sharesB) packOperand<TILE_ROWS>(mine, how.pairs, p0, p1, k0, k1, own, stride);
      else packOperand<TILE_COLS>(mine, how.pairs, p0, p1, k0, k1, own, stride);
      x.first = block == 0;
      x.last = block + 1 == how.blocks;
      // What is packed next is fetched meanwhile: more of k, or the panels after these, which most often this thread takes.
      const int64_t next = x.last ? 0 : k1, panel = x.last && s1 == how.sharedPanels ? p1 : p0;
      Ahead ahead(mine, panel * width, how.privateBlock * width, next * word, (next + how.blockSteps) * word,
                  (p1 - p0) * (s1 - s0));
      const float* theirs = shared + s0 * how.sharedStride() + k0 * how.sharedWidth();
      x.a = how.sharesB ? own : theirs;
      x.b = how.sharesB ? theirs : own;
      x.strideA = how.sharesB ? stride : how.sharedStride();
      x.strideB = how.sharesB ? how.sharedStride() : stride;
      x.steps = k1 - k0;
      x.pairs = how.pairs;
      multiply(p, x, c, aside, ahead);
    }
  }
}

void planBlocked(const Product& p, Plan* plan) {
  const Blocking how(p);
  plan->phases = 2;
  const int64_t words = how.sharedPanels * how.sharedStride();  // of a packed operand
  plan->units[0] = how.sharedCopies * how.packUnits;
  plan->grain[0] = 1 + 16384 * how.packUnits / (1 + words);
  plan->units[1] = p.batch * how.privatePanels;
  // Multiply-adds that are worth a thread: some microseconds.
  const double each = double(how.privateWidth()) * double(how.sharedPanels) * double(how.sharedStride());
  plan->grain[1] = 1 + int64_t(150000.0 / (1.0 + each));
  plan->shared_scratch = size_t(how.sharedCopies * words) * 4;
  plan->thread_scratch = size_t(how.privateWords() + how.asideWords()) * 4;
}

/** Units u0..u1-1 of phase 0 of product `item` of the batch, into its own part of the shared scratch. */
void packShared(const Product& p, const Blocking& how, int64_t item, int64_t u0, int64_t u1, float* shared) {
  Operand x = how.sharedOf(p);
  x.data += item * (how.sharesB ? p.strideB : p.strideA);
  const int64_t panel0 = x.across ? u0 : 0, panel1 = x.across ? u1 : how.sharedPanels;
  const int64_t k0 = x.across ? 0 : u0 * LINES, k1 = x.across ? how.steps : smaller(u1 * LINES, how.steps);
  float* to = shared + (item * how.sharedPanels + panel0) * how.sharedStride() + k0 * how.sharedWidth();
  if (how.sharesB) packOperand<TILE_COLS>(x, how.pairs, panel0, panel1, k0, k1, to, how.sharedStride());
  else packOperand<TILE_ROWS>(x, how.pairs, panel0, panel1, k0, k1, to, how.sharedStride());
}

void runBlocked(const Product& p, int phase, int64_t begin, int64_t end, void* threadScratch, void* sharedScratch) {
  const Blocking how(p);
  float* shared = static_cast<float*>(sharedScratch);
  const int64_t units = phase == 0 ? how.packUnits : how.privatePanels;
  while (begin < end) {  // a stretch within one product of the batch
    const int64_t item = begin / units, u0 = begin % units;
    int64_t u1 = smaller(units, u0 + end - begin);
    if (phase == 0) {
      packShared(p, how, item, u0, u1, shared);
    } else {
      u1 = smaller(u1, u0 + how.privateBlock);
      blockTimesShared(p, how, item, u0, u1, shared, static_cast<float*>(threadScratch));
    }
    begin += u1 - u0;
  }
}

}  // namespace
}  // namespace KRAIT_VARIANT
}  // namespace krait
