// Rows of a table by number: y[i] = table[ids[i]], times the row's scale where the table is i8; its gradient adds: dtable[ids[i]] += dy[i].
// An id outside 0..v-1 reads zeros and receives no gradient.
//
// The gradient first links the positions of each id into a chain, in order; then whoever holds the first position of a
// chain sums it in f32 and adds the sum to the table once. Rows of the table are therefore written by one thread each.
#include "kernels.h"
#include "load.h"

namespace krait {
namespace KRAIT_VARIANT {
namespace {

int planEmbedding(const Command& cmd, Plan* plan) {
  *plan = Plan();
  planUnits(plan, 0, dim(cmd, 0), dim(cmd, 1));
  const bool isQuantised = int(cmd.tensors[0].dtype) == I8, isScaled = cmd.tensors[3].address != 0;
  return isQuantised != isScaled ? 1 : checkTypes(cmd, "qihf");
}

/** A row of an i8 table, times its scale, rounded to y's type. */
void scaledRow(const Matrix& table, int64_t id, float scale, int64_t d, const Matrix& y, int64_t row) {
  alignas(64) float room[TILE];
  eachTile(d, [&](int64_t col, int64_t n) {
    toFloats(I8, table.at(id, col), n, room);
    float* to = target(y, row, col, room);
    eachVector(n, [&](auto where) { store(to, where, load(room, where) * scale); });
    write(y, row, col, n, to);
  });
}

void runEmbedding(const Command& cmd, int, int64_t begin, int64_t end, void*, void*) {
  const Matrix table = matrix(cmd, 0), ids = matrix(cmd, 1), y = matrix(cmd, 2), scale = matrix(cmd, 3);
  const int64_t d = dim(cmd, 1), v = dim(cmd, 2);
  alignas(64) float room[TILE];
  for (int64_t i = begin; i < end; i++) {
    const int64_t id = *ids.ints(i, 0);
    const size_t bytes = size_t(d * bytesOf(y.type));
    if (id < 0 || id >= v) {
      __builtin_memset(y.at(i, 0), 0, bytes);
    } else if (scale) {
      scaledRow(table, id, *scale.floats(0, id), d, y, i);
    } else if (table.type == y.type) {
      __builtin_memcpy(y.at(i, 0), table.at(id, 0), bytes);
    } else {
      for (int64_t col = 0; col < d; col += TILE) {
        const int64_t n = d - col < TILE ? d - col : int64_t(TILE);
        fromFloats(y.type, read(table, id, col, n, room), n, y.at(i, col));
      }
    }
  }
}

/** Units of the second phase are squares of POSITIONS x TILE. */
constexpr int64_t POSITIONS = 64;
constexpr int32_t NONE = -1;

/** In shared scratch: next[n], the next position with the same id; first[v], the first position of each id. */
struct Chains {
  int32_t *next, *first;

  Chains(void* shared, int64_t n) : next(static_cast<int32_t*>(shared)), first(next + n) {}
};

int planEmbeddingBwd(const Command& cmd, Plan* plan) {
  const int64_t n = dim(cmd, 0), d = dim(cmd, 1), v = dim(cmd, 2);
  *plan = Plan();
  planUnits(plan, 0, 1, n + v);
  planUnits(plan, 1, ceilDiv(n, POSITIONS) * ceilDiv(d, TILE), POSITIONS * (d < TILE ? d : TILE));
  plan->shared_scratch = size_t(n + v) * 4;
  return checkTypes(cmd, "hih");
}

void linkPositions(const Matrix& ids, int64_t n, int64_t v, Chains chains) {
  for (int64_t id = 0; id < v; id++) chains.first[id] = NONE;
  for (int64_t i = n - 1; i >= 0; i--) {
    const int64_t id = *ids.ints(i, 0);
    if (id < 0 || id >= v) continue;
    chains.next[i] = chains.first[id];
    chains.first[id] = int32_t(i);
  }
}

/** Adds the sum of dy over a chain to columns col..col+n-1 of the table's row. */
void addChain(const Matrix& dy, const Matrix& dtable, const Chains& chains, int64_t id, int64_t col, int64_t n) {
  alignas(64) float sum[TILE], room[TILE];
  toFloats(dy.type, dy.at(chains.first[id], col), n, sum);
  for (int64_t i = chains.next[chains.first[id]]; i != NONE; i = chains.next[i]) {
    const float* row = read(dy, i, col, n, room);
    eachVector(n, [&](auto where) { store(sum, where, load(sum, where) + load(row, where)); });
  }
  const float* before = read(dtable, id, col, n, room);
  float* to = target(dtable, id, col, room);
  eachVector(n, [&](auto where) { store(to, where, load(before, where) + load(sum, where)); });
  write(dtable, id, col, n, to);
}

void runEmbeddingBwd(const Command& cmd, int phase, int64_t begin, int64_t end, void*, void* shared) {
  const Matrix dy = matrix(cmd, 0), ids = matrix(cmd, 1), dtable = matrix(cmd, 2);
  const int64_t n = dim(cmd, 0), d = dim(cmd, 1), v = dim(cmd, 2), tiles = ceilDiv(d, TILE);
  const Chains chains(shared, n);
  if (phase == 0) return linkPositions(ids, n, v, chains);
  for (int64_t unit = begin; unit < end; unit++) {
    const int64_t col = unit % tiles * TILE, width = d - col < TILE ? d - col : int64_t(TILE);
    const int64_t from = unit / tiles * POSITIONS, to = from + POSITIONS < n ? from + POSITIONS : n;
    for (int64_t i = from; i < to; i++) {
      const int64_t id = *ids.ints(i, 0);
      if (id >= 0 && id < v && chains.first[id] == i) addChain(dy, dtable, chains, id, col, width);
    }
  }
}

}  // namespace

const Kernel kEmbedding = {"embedding", planEmbedding, runEmbedding};
const Kernel kEmbeddingBwd = {"embedding_bwd", planEmbeddingBwd, runEmbeddingBwd};

}  // namespace KRAIT_VARIANT
}  // namespace krait
