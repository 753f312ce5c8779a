// Root-mean-square and layer normalisation over columns, with an optional residual that is added first.
//   s = x + residual,  n = (s - center) rstd,  y = n weight + bias,
//   rms: center = 0, rstd = 1/sqrt(mean(s^2) + eps); layer: center = mean(s), rstd = 1/sqrt(var(s) + eps)
// Gradients with respect to s, with g = dy weight:
//   dx = rstd (g - [layer: mean(g)] - n mean(g n)) + dsum;  dweight += sum over rows of dy n,  dbias += sum of dy
// Sums over rows are taken in blocks of rows that depend on the shape alone, then over blocks in f64, in order.
#include "kernels.h"
#include "load.h"
#include "math.h"

namespace krait {
namespace KRAIT_VARIANT {
namespace {

/** The arguments of both norms by name; what one of them lacks is absent. */
struct Forward {
  Matrix x, residual, weight, bias, y, sum, mean, rstd;
};
struct Backward {
  Matrix s, weight, mean, rstd, dy, dsum, dx, dweight, dbias;
};

constexpr Matrix ABSENT = {nullptr, 0, F32};

Forward rmsForward(const Command& cmd) {
  const auto m = [&](int i) { return matrix(cmd, i); };
  return {m(0), m(1), m(2), ABSENT, m(3), m(4), ABSENT, m(5)};
}
Forward layerForward(const Command& cmd) {
  const auto m = [&](int i) { return matrix(cmd, i); };
  return {m(0), m(1), m(2), m(3), m(4), m(5), m(6), m(7)};
}
Backward rmsBackward(const Command& cmd) {
  const auto m = [&](int i) { return matrix(cmd, i); };
  return {m(0), m(1), ABSENT, m(2), m(3), m(4), m(5), m(6), ABSENT};
}
Backward layerBackward(const Command& cmd) {
  const auto m = [&](int i) { return matrix(cmd, i); };
  return {m(0), m(1), m(2), m(3), m(4), m(5), m(6), m(7), m(8)};
}

/** The values of a row vector, or `otherwise` if it is absent. */
const float* vectorOr(const Matrix& m, float otherwise, int64_t col, int64_t n, float* room) {
  if (m) return read(m, 0, col, n, room);
  for (int64_t i = 0; i < n; i++) room[i] = otherwise;
  return room;
}

// ---- forward -------------------------------------------------------------------------------------------------------

const float* sumTile(const Forward& t, int64_t row, int64_t col, int64_t n, float* room) {
  const float* x = read(t.x, row, col, n, room);
  if (!t.residual) return x;
  alignas(64) float residualRoom[TILE];
  const float* residual = read(t.residual, row, col, n, residualRoom);
  eachVector(n, [&](auto where) { store(room, where, load(x, where) + load(residual, where)); });
  return room;
}

void normRow(const Forward& t, int64_t row, int64_t cols, bool isCentered, double eps) {
  alignas(64) float room[TILE], weightRoom[TILE], biasRoom[TILE], yRoom[TILE];
  double total = 0, squares = 0;
  eachTile(cols, [&](int64_t col, int64_t n) {
    const float* s = sumTile(t, row, col, n, room);
    if (t.sum) fromFloats(t.sum.type, s, n, t.sum.at(row, col));
    if (isCentered) total += double(sumOf(n, [&](auto where) { return load(s, where); }));
  });
  const float center = float(total / double(cols));
  eachTile(cols, [&](int64_t col, int64_t n) {
    const float* s = sumTile(t, row, col, n, room);
    squares += double(sumOf(n, [&](auto where) {
      const F v = load(s, where) - center;
      return v * v;
    }));
  });
  const float rstd = float(1 / __builtin_sqrt(squares / double(cols) + eps));
  eachTile(cols, [&](int64_t col, int64_t n) {
    const float* s = sumTile(t, row, col, n, room);
    const float* weight = vectorOr(t.weight, 1, col, n, weightRoom);
    float* to = target(t.y, row, col, yRoom);
    if (t.bias) {
      const float* bias = read(t.bias, 0, col, n, biasRoom);
      eachVector(n, [&](auto where) {
        store(to, where, (load(s, where) - center) * rstd * load(weight, where) + load(bias, where));
      });
    } else {
      eachVector(n, [&](auto where) { store(to, where, (load(s, where) - center) * rstd * load(weight, where)); });
    }
    write(t.y, row, col, n, to);
  });
  if (t.mean) *t.mean.floats(row, 0) = center;
  if (t.rstd) *t.rstd.floats(row, 0) = rstd;
}

int planNorm(const Command& cmd, Plan* plan, const char* types) {
  *plan = Plan();
  planUnits(plan, 0, dim(cmd, 0), dim(cmd, 1));
  return checkTypes(cmd, types);
}

int planRmsNorm(const Command& cmd, Plan* plan) { return planNorm(cmd, plan, "hhhhhf"); }
int planLayerNorm(const Command& cmd, Plan* plan) { return planNorm(cmd, plan, "hhhhhhff"); }

void runRmsNorm(const Command& cmd, int, int64_t begin, int64_t end, void*, void*) {
  const Forward t = rmsForward(cmd);
  for (int64_t row = begin; row < end; row++) normRow(t, row, dim(cmd, 1), false, cmd.scalars[0]);
}
void runLayerNorm(const Command& cmd, int, int64_t begin, int64_t end, void*, void*) {
  const Forward t = layerForward(cmd);
  for (int64_t row = begin; row < end; row++) normRow(t, row, dim(cmd, 1), true, cmd.scalars[0]);
}

// ---- backward ------------------------------------------------------------------------------------------------------

/** Blocks of rows: their sums of dy n, then of dy, lie in shared scratch as [block, 2, cols]. */
struct RowBlocks {
  int64_t rows, cols, size, count;

  explicit RowBlocks(const Command& cmd) {
    rows = dim(cmd, 0);
    cols = dim(cmd, 1);
    size = ceilDiv(rows, 64) > 16 ? ceilDiv(rows, 64) : 16;
    count = cols > 0 ? ceilDiv(rows, size) : 0;
  }
};

struct Tiles {
  alignas(64) float s[TILE], dy[TILE], weight[TILE], dsum[TILE], dx[TILE];
};

void normRowBwd(const Backward& t, int64_t row, int64_t cols, float* dweight, float* dbias) {
  Tiles room;
  const float rstd = *t.rstd.floats(row, 0), center = t.mean ? *t.mean.floats(row, 0) : 0;
  double totalG = 0, totalGN = 0;
  eachTile(cols, [&](int64_t col, int64_t n) {
    const float *s = read(t.s, row, col, n, room.s), *dy = read(t.dy, row, col, n, room.dy);
    const float* weight = vectorOr(t.weight, 1, col, n, room.weight);
    totalGN += double(sumOf(n, [&](auto where) {
      return load(dy, where) * load(weight, where) * ((load(s, where) - center) * rstd);
    }));
    if (t.mean) totalG += double(sumOf(n, [&](auto where) { return load(dy, where) * load(weight, where); }));
  });
  const float meanG = float(totalG / double(cols)), meanGN = float(totalGN / double(cols));
  eachTile(cols, [&](int64_t col, int64_t n) {
    const float *s = read(t.s, row, col, n, room.s), *dy = read(t.dy, row, col, n, room.dy);
    const float* weight = vectorOr(t.weight, 1, col, n, room.weight);
    const float* dsum = t.dsum ? read(t.dsum, row, col, n, room.dsum) : vectorOr(ABSENT, 0, col, n, room.dsum);
    float* dx = target(t.dx, row, col, room.dx);
    float *dw = dweight + col, *db = dbias + col;
    eachVector(n, [&](auto where) {
      const F gradient = load(dy, where), normalised = (load(s, where) - center) * rstd;
      const F g = gradient * load(weight, where);
      store(dx, where, (g - meanG - normalised * meanGN) * rstd + load(dsum, where));
      if (t.dweight) store(dw, where, load(dw, where) + gradient * normalised);
      if (t.dbias) store(db, where, load(db, where) + gradient);
    });
    write(t.dx, row, col, n, dx);
  });
}

/** Adds the blocks' sums of one tile of columns to a parameter's gradient. */
void addBlocks(const RowBlocks& blocks, const Matrix& gradient, const float* sums, int64_t col, int64_t n) {
  for (int64_t i = 0; gradient && i < n; i++) {
    double total = 0;
    for (int64_t block = 0; block < blocks.count; block++) total += sums[block * 2 * blocks.cols + col + i];
    *gradient.floats(0, col + i) += float(total);
  }
}

int planNormBwd(const Command& cmd, Plan* plan, const Backward& t, const char* types) {
  const RowBlocks blocks(cmd);
  *plan = Plan();
  planUnits(plan, 0, blocks.count, blocks.size * blocks.cols);
  plan->shared_scratch = size_t(blocks.count * 2 * blocks.cols) * 4;
  if (t.dweight || t.dbias) planUnits(plan, 1, ceilDiv(blocks.cols, TILE), blocks.count * TILE);
  return checkTypes(cmd, types);
}

void runNormBwd(const Command& cmd, int phase, int64_t begin, int64_t end, void* shared, const Backward& t) {
  const RowBlocks blocks(cmd);
  float* sums = static_cast<float*>(shared);
  for (int64_t unit = begin; unit < end; unit++) {
    if (phase == 1) {
      const int64_t col = unit * TILE, n = blocks.cols - col < TILE ? blocks.cols - col : int64_t(TILE);
      addBlocks(blocks, t.dweight, sums, col, n);
      addBlocks(blocks, t.dbias, sums + blocks.cols, col, n);
      continue;
    }
    float *dweight = sums + unit * 2 * blocks.cols, *dbias = dweight + blocks.cols;
    __builtin_memset(dweight, 0, size_t(2 * blocks.cols) * 4);
    const int64_t from = unit * blocks.size;
    const int64_t to = from + blocks.size < blocks.rows ? from + blocks.size : blocks.rows;
    for (int64_t row = from; row < to; row++) normRowBwd(t, row, blocks.cols, dweight, dbias);
  }
}

int planRmsNormBwd(const Command& cmd, Plan* plan) { return planNormBwd(cmd, plan, rmsBackward(cmd), "hhfhhhf"); }
int planLayerNormBwd(const Command& cmd, Plan* plan) {
  return planNormBwd(cmd, plan, layerBackward(cmd), "hhffhhhff");
}
void runRmsNormBwd(const Command& cmd, int phase, int64_t begin, int64_t end, void*, void* shared) {
  runNormBwd(cmd, phase, begin, end, shared, rmsBackward(cmd));
}
void runLayerNormBwd(const Command& cmd, int phase, int64_t begin, int64_t end, void*, void* shared) {
  runNormBwd(cmd, phase, begin, end, shared, layerBackward(cmd));
}

}  // namespace

const Kernel kRmsNorm = {"rms_norm", planRmsNorm, runRmsNorm};
const Kernel kRmsNormBwd = {"rms_norm_bwd", planRmsNormBwd, runRmsNormBwd};
const Kernel kLayerNorm = {"layer_norm", planLayerNorm, runLayerNorm};
const Kernel kLayerNormBwd = {"layer_norm_bwd", planLayerNormBwd, runLayerNormBwd};

}  // namespace KRAIT_VARIANT
}  // namespace krait
