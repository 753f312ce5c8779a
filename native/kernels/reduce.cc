// Reductions, and softmax with its gradient.
//   reduce: x dense [outer, n, inner] to y dense [outer, inner] by sum, max, min or sum of squares
//   softmax: y = e^(x - m) / sum e^(x - m), m the row's maximum; its logarithm: y = x - m - log sum e^(x - m)
//   gradient from y: dx = y (dy - sum y dy); of the logarithm: dx = dy - e^y sum dy
// Long sums are cut into blocks that depend on the shape alone; blocks are added in order, in f64.
#include "kernels.h"
#include "load.h"
#include "math.h"

namespace krait {
namespace KRAIT_VARIANT {
namespace {

enum ReduceOp { SUM, MAX, MIN, SUM_SQUARES };

float startOf(int op) { return op == MAX ? -__builtin_inff() : op == MIN ? __builtin_inff() : 0.0f; }

/** The reduction of n elements, n <= TILE. */
float reduceTile(int op, const float* x, int64_t n) {
  switch (op) {
    case MAX: return extremeOf(x, n, startOf(op), [](F a, F b) { return largest(a, b); });
    case MIN: return extremeOf(x, n, startOf(op), [](F a, F b) { return smallest(a, b); });
    case SUM: return sumOf(n, [&](auto where) { return load(x, where); });
    default:
      return sumOf(n, [&](auto where) {
        const F v = load(x, where);
        return v * v;
      });
  }
}

/** Two partial results of an op. */
double combine(int op, double a, double b) {
  if (op == MAX) return b > a || b != b ? b : a;
  if (op == MIN) return b < a || b != b ? b : a;
  return a + b;
}

/** acc[i] = acc[i] op x[i] */
void reduceInto(int op, float* acc, const float* x, int64_t n) {
  const auto each = [&](auto step) __attribute__((always_inline)) {
    eachVector(n, [&](auto where) { store(acc, where, step(load(acc, where), load(x, where))); });
  };
  switch (op) {
    case SUM: return each([](F a, F b) { return a + b; });
    case MAX: return each([](F a, F b) { return largest(a, b); });
    case MIN: return each([](F a, F b) { return smallest(a, b); });
    case SUM_SQUARES: return each([](F a, F b) { return a + b * b; });
  }
}

/** How a reduction is cut: along n into blocks, along inner into tiles. */
struct Reduction {
  int64_t outer, n, inner;
  int op;
  int64_t blockSize, blocks, tiles;

  explicit Reduction(const Command& cmd) {
    outer = dim(cmd, 0);
    n = dim(cmd, 1);
    inner = dim(cmd, 2);
    op = int(cmd.dims[3]);
    const int64_t sixtyFourth = ceilDiv(n, 64);
    blockSize = inner == 1 ? 8192 : sixtyFourth > 128 ? sixtyFourth : 128;
    blocks = n > blockSize ? ceilDiv(n, blockSize) : 1;
    tiles = ceilDiv(inner, TILE);
  }
};

int planReduce(const Command& cmd, Plan* plan) {
  const Reduction r(cmd);
  *plan = Plan();
  const int64_t rows = r.n < r.blockSize ? r.n : r.blockSize;
  planUnits(plan, 0, r.outer * r.blocks * r.tiles, rows * (r.inner < TILE ? r.inner : TILE));
  if (r.blocks > 1) {
    planUnits(plan, 1, r.outer * r.tiles, r.blocks * TILE);
    plan->shared_scratch = size_t(r.outer * r.blocks * r.inner) * 4;
  }
  return checkTypes(cmd, "hh");
}

/** One block of one outer index: rows of n elements of tile `tile`, reduced to `acc`. */
void reduceBlock(const Reduction& r, const Matrix& x, int64_t outer, int64_t block, int64_t tile, float* acc) {
  alignas(64) float room[TILE];
  const int64_t from = block * r.blockSize, to = from + r.blockSize < r.n ? from + r.blockSize : r.n;
  if (r.inner == 1) {
    double total = startOf(r.op);
    for (int64_t i = from; i < to; i += TILE) {
      const int64_t n = to - i < TILE ? to - i : int64_t(TILE);
      total = combine(r.op, total, reduceTile(r.op, read(x, 0, outer * r.n + i, n, room), n));
    }
    *acc = float(total);
    return;
  }
  const int64_t col = tile * TILE, n = r.inner - col < TILE ? r.inner - col : int64_t(TILE);
  for (int64_t i = 0; i < n; i++) acc[i] = startOf(r.op);
  for (int64_t i = from; i < to; i++) {
    reduceInto(r.op, acc, read(x, 0, (outer * r.n + i) * r.inner + col, n, room), n);
  }
}

void runReduce(const Command& cmd, int phase, int64_t begin, int64_t end, void*, void* shared) {
  const Reduction r(cmd);
  const Matrix x = matrix(cmd, 0), y = matrix(cmd, 1);
  float* partial = static_cast<float*>(shared);  // [outer, blocks, inner]
  alignas(64) float acc[TILE];
  for (int64_t unit = begin; unit < end; unit++) {
    const int64_t tile = unit % r.tiles, col = tile * TILE;
    const int64_t n = r.inner - col < TILE ? r.inner - col : int64_t(TILE);
    if (phase == 0 && r.blocks > 1) {
      const int64_t row = unit / r.tiles;
      reduceBlock(r, x, row / r.blocks, row % r.blocks, tile, partial + row * r.inner + col);
      continue;
    }
    const int64_t outer = unit / r.tiles;
    if (phase == 0) {
      reduceBlock(r, x, outer, 0, tile, acc);
    } else {
      for (int64_t i = 0; i < n; i++) {
        double total = startOf(r.op);
        const float* column = partial + outer * r.blocks * r.inner + col + i;
        for (int64_t block = 0; block < r.blocks; block++) total = combine(r.op, total, column[block * r.inner]);
        acc[i] = float(total);
      }
    }
    fromFloats(y.type, acc, n, y.at(0, outer * r.inner + col));
  }
}

// ---- argmax --------------------------------------------------------------------------------------------------------

int planRows(const Command& cmd, Plan* plan, const char* types) {
  *plan = Plan();
  planUnits(plan, 0, dim(cmd, 0), dim(cmd, 1));
  return checkTypes(cmd, types);
}

int planArgmax(const Command& cmd, Plan* plan) { return planRows(cmd, plan, "hi"); }

/** The first of the largest; NaN is never larger, and 0 stands for nothing found. */
void runArgmax(const Command& cmd, int, int64_t begin, int64_t end, void*, void*) {
  const Matrix x = matrix(cmd, 0), y = matrix(cmd, 1);
  const int64_t cols = dim(cmd, 1);
  alignas(64) float room[TILE];
  for (int64_t row = begin; row < end; row++) {
    float best = -__builtin_inff();
    int64_t found = 0;
    for (int64_t col = 0; col < cols; col += TILE) {
      const int64_t n = cols - col < TILE ? cols - col : int64_t(TILE);
      const float* values = read(x, row, col, n, room);
      const float top = extremeOf(values, n, best, [](F a, F b) { return larger(a, b); });
      if (!(top > best)) continue;
      best = top;
      for (found = col; values[found - col] != top;) found++;
    }
    y.ints(0, 0)[row] = int32_t(found);
  }
}

// ---- softmax -------------------------------------------------------------------------------------------------------

int planSoftmax(const Command& cmd, Plan* plan) { return planRows(cmd, plan, "hh"); }

void runSoftmax(const Command& cmd, int, int64_t begin, int64_t end, void*, void*) {
  const Matrix x = matrix(cmd, 0), y = matrix(cmd, 1);
  const int64_t cols = dim(cmd, 1);
  const bool isLog = cmd.dims[2] != 0;
  alignas(64) float xRoom[TILE], yRoom[TILE];
  for (int64_t row = begin; row < end; row++) {
    const auto eachPart = [&](auto body) {
      eachTile(cols, [&](int64_t col, int64_t n) { body(col, n, read(x, row, col, n, xRoom)); });
    };
    float top = -__builtin_inff();
    eachPart([&](int64_t, int64_t n, const float* v) {
      top = extremeOf(v, n, top, [](F a, F b) { return largest(a, b); });
    });
    double total = 0;
    eachPart([&](int64_t, int64_t n, const float* v) {
      total += double(sumOf(n, [&](auto where) { return decayingExponential(load(v, where) - top); }));
    });
    const float inverse = float(1 / total), logarithmOfSum = isLog ? logarithm(float(total)) : 0;
    eachPart([&](int64_t col, int64_t n, const float* v) {
      float* to = target(y, row, col, yRoom);
      eachVector(n, [&](auto where) {
        const F shifted = load(v, where) - top;
        store(to, where, isLog ? shifted - logarithmOfSum : decayingExponential(shifted) * inverse);
      });
      write(y, row, col, n, to);
    });
  }
}

int planSoftmaxBwd(const Command& cmd, Plan* plan) { return planRows(cmd, plan, "hhh"); }

void runSoftmaxBwd(const Command& cmd, int, int64_t begin, int64_t end, void*, void*) {
  const Matrix y = matrix(cmd, 0), dy = matrix(cmd, 1), dx = matrix(cmd, 2);
  const int64_t cols = dim(cmd, 1);
  const bool isLog = cmd.dims[2] != 0;
  alignas(64) float yRoom[TILE], dyRoom[TILE], dxRoom[TILE];
  for (int64_t row = begin; row < end; row++) {
    const auto eachPart = [&](auto body) {
      eachTile(cols, [&](int64_t col, int64_t n) {
        body(col, n, read(y, row, col, n, yRoom), read(dy, row, col, n, dyRoom));
      });
    };
    double total = 0;
    eachPart([&](int64_t, int64_t n, const float* v, const float* g) {
      total += double(sumOf(n, [&](auto where) { return isLog ? load(g, where) : load(g, where) * load(v, where); }));
    });
    const float sum = float(total);
    eachPart([&](int64_t col, int64_t n, const float* v, const float* g) {
      float* to = target(dx, row, col, dxRoom);
      eachVector(n, [&](auto where) {
        const F value = load(v, where), gradient = load(g, where);
        store(to, where, isLog ? gradient - exponential(value) * sum : value * (gradient - sum));
      });
      write(dx, row, col, n, to);
    });
  }
}

// ---- sum_squares ---------------------------------------------------------------------------------------------------

Pieces piecesOfSquares(const Command& cmd) {
  return Pieces(dim(cmd, 0), dim(cmd, 1), areDense(cmd, 1, dim(cmd, 1)));
}

int planSumSquares(const Command& cmd, Plan* plan) {
  *plan = Plan();
  const Pieces pieces = piecesOfSquares(cmd);
  pieces.plan(plan);
  const int64_t units = plan->units[0];
  planUnits(plan, 1, 1, units);
  plan->shared_scratch = size_t(units) * 8;
  return checkTypes(cmd, "hf");
}

/** Sum of squares in f64, in 16 lanes. */
double squares(const float* x, int64_t n) {
  double lanes[WIDTH] = {};
  int64_t i = 0;
  for (; i + WIDTH <= n; i += WIDTH) {
    for (int j = 0; j < WIDTH; j++) lanes[j] += double(x[i + j]) * double(x[i + j]);
  }
  for (int j = 0; i + j < n; j++) lanes[j] += double(x[i + j]) * double(x[i + j]);
  for (int half = WIDTH / 2; half > 0; half /= 2) {
    for (int j = 0; j < half; j++) lanes[j] += lanes[j + half];
  }
  return lanes[0];
}

void runSumSquares(const Command& cmd, int phase, int64_t begin, int64_t end, void*, void* shared) {
  const Matrix x = matrix(cmd, 0), acc = matrix(cmd, 1);
  const Pieces pieces = piecesOfSquares(cmd);
  double* partial = static_cast<double*>(shared);
  if (phase == 1) {
    double total = double(*acc.floats(0, 0));
    for (int64_t i = 0; i < pieces.rows * pieces.perRow; i++) total += partial[i];
    *acc.floats(0, 0) = float(total);
    return;
  }
  alignas(64) float room[TILE];
  for (int64_t unit = begin; unit < end; unit++) {
    double sum = 0;
    pieces.eachTile(unit, unit + 1, [&](int64_t row, int64_t col, int64_t n) {
      sum += squares(read(x, row, col, n, room), n);
    });
    partial[unit] = sum;
  }
}

}  // namespace

const Kernel kReduce = {"reduce", planReduce, runReduce};
const Kernel kArgmax = {"argmax", planArgmax, runArgmax};
const Kernel kSoftmax = {"softmax", planSoftmax, runSoftmax};
const Kernel kSoftmaxBwd = {"softmax_bwd", planSoftmaxBwd, runSoftmaxBwd};
const Kernel kSumSquares = {"sum_squares", planSumSquares, runSumSquares};

}  // namespace KRAIT_VARIANT
}  // namespace krait
