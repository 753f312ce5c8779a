// Causal attention without a length x length matrix, and its gradient: blocks of QUERIES x KEYS probabilities exist one
// at a time. Forward keeps a running maximum and sum for each query (online softmax, Milakov & Gimelshein 2018; Dao et
// al. 2022); backward computes the probabilities again from the logarithm of that sum.
//
// Units: forward and dq, a block of queries of one head; dk and dv, a block of keys of one head of keys, with all heads
// and queries that see it. Nothing is added across units, so results do not depend on the number of threads.
#define KRAIT_FUSE
#include "kernels.h"
#include "load.h"
#include "math.h"
#include "tiny-is-zero.h"

namespace krait {
namespace KRAIT_VARIANT {
namespace {

constexpr int64_t QUERIES = 32, KEYS = 64, ROWS = 4, STRIPE = 2 * LANES;
static_assert(QUERIES % ROWS == 0 && KEYS % STRIPE == 0, "blocks are whole tiles");
constexpr float HIDDEN = -3e38f;  // the score of a key that is not seen: below any other

/** c[r][n] (+)= sum over k of a[r * rowStep + k * step] b[k][n], a tile of ROWS x STRIPE at a time. */
struct Factor {
  const float* data;
  int64_t rowStep, step;
};

template <int VECTORS>
KRAIT_INLINE void productTile(Factor a, const float* b, int64_t ldb, float* c, int64_t ldc, int64_t k, bool adds) {
  F sum[ROWS][VECTORS];
  for (int r = 0; r < ROWS; r++) {
    for (int v = 0; v < VECTORS; v++) sum[r][v] = adds ? load(c + r * ldc, Whole{v * LANES}) : splat(0);
  }
  for (int64_t i = 0; i < k; i++) {
    F column[VECTORS];
    for (int v = 0; v < VECTORS; v++) column[v] = load(b + i * ldb, Whole{v * LANES});
    for (int r = 0; r < ROWS; r++) {
      const F x = splat(a.data[r * a.rowStep + i * a.step]);
      for (int v = 0; v < VECTORS; v++) sum[r][v] = multiplyAdd(x, column[v], sum[r][v]);
    }
  }
  for (int r = 0; r < ROWS; r++) {
    for (int v = 0; v < VECTORS; v++) store(c + r * ldc, Whole{v * LANES}, sum[r][v]);
  }
}

/** rows a multiple of ROWS, n of LANES. */
void product(Factor a, const float* b, int64_t ldb, float* c, int64_t ldc, int64_t rows, int64_t n, int64_t k,
             bool adds) {
  int64_t col = 0;
  for (; col + STRIPE <= n; col += STRIPE) {
    for (int64_t r = 0; r < rows; r += ROWS) {
      const Factor part = {a.data + r * a.rowStep, a.rowStep, a.step};
      productTile<2>(part, b + col, ldb, c + r * ldc + col, ldc, k, adds);
    }
  }
  for (; col < n; col += LANES) {
    for (int64_t r = 0; r < rows; r += ROWS) {
      const Factor part = {a.data + r * a.rowStep, a.rowStep, a.step};
      productTile<1>(part, b + col, ldb, c + r * ldc + col, ldc, k, adds);
    }
  }
}

struct Sizes {
  int64_t b, lq, lk, heads, kvHeads, d, wide;  // wide: d in whole vectors
  float scale;

  explicit Sizes(const Command& cmd)
      : b(dim(cmd, 0)), lq(dim(cmd, 1)), lk(dim(cmd, 2)), heads(dim(cmd, 3)), kvHeads(dim(cmd, 4)), d(dim(cmd, 5)),
        wide(ceilDiv(dim(cmd, 5), LANES) * LANES), scale(float(cmd.scalars[0])) {}
  int64_t queryBlocks() const { return ceilDiv(lq, QUERIES); }
  int64_t keyBlocks() const { return ceilDiv(lk, KEYS); }
  int64_t kvHeadOf(int64_t head) const { return head * kvHeads / heads; }
  /** Keys that a query sees at most. */
  int64_t seenBy(int64_t query) const { return query + 1 + lk - lq; }
  int64_t queryRoom() const { return QUERIES * wide; }
  int64_t keyRoom() const { return KEYS * wide; }
};

/** Takes arrays one after the other from scratch. */
struct Room {
  float* next;
  float* take(int64_t floats) {
    float* from = next;
    next += ceilDiv(floats, 16) * 16;
    return from;
  }
};

/** `count` rows of d columns, times factor, padded with zeros to `most` rows of `wide`. */
void loadRows(const Matrix& from, int64_t row, int64_t col, int64_t count, int64_t most, const Sizes& s, float factor,
              float* to) {
  for (int64_t r = 0; r < most; r++, to += s.wide) {
    if (r < count) {
      toFloats(from.type, from.at(row + r, col), s.d, to);
      for (int64_t i = s.d; i < s.wide; i++) to[i] = 0;
      if (factor != 1.0f) eachVector(s.wide, [&](auto where) { store(to, where, load(to, where) * factor); });
    } else {
      for (int64_t i = 0; i < s.wide; i++) to[i] = 0;
    }
  }
}

void storeRows(const Matrix& to, int64_t row, int64_t col, int64_t count, const Sizes& s, const float* from) {
  for (int64_t r = 0; r < count; r++) fromFloats(to.type, from + r * s.wide, s.d, to.at(row + r, col));
}

/** [KEYS][wide] to [wide][KEYS]. */
void transposeKeys(const float* from, const Sizes& s, float* to) {
  for (int64_t j = 0; j < KEYS; j += 4) {
    for (int64_t i = 0; i < s.wide; i += 4) transposeFour(from + j * s.wide + i, s.wide, to + i * KEYS + j, KEYS);
  }
}

/** A block of queries of one head and a block of keys that it may see. */
struct Meeting {
  int64_t item, q0, queries, k0, keys;
};

/** Scores of what is not seen become HIDDEN: later keys, other documents, padding, what is beyond the end. */
void hide(const Meeting& x, const Sizes& s, const Matrix& queryDocuments, const Matrix& keyDocuments, float* scores) {
  for (int64_t r = 0; r < QUERIES; r++) {
    float* row = scores + r * KEYS;
    int64_t seen = r < x.queries ? s.seenBy(x.q0 + r) - x.k0 : 0;
    if (seen > x.keys) seen = x.keys;
    if (seen < 0) seen = 0;
    if (seen > 0 && queryDocuments) {
      const float own = *queryDocuments.floats(x.item * s.lq + x.q0 + r, 0);
      if (own < 0) seen = 0;
      for (int64_t j = 0; j < seen; j++) {
        if (*keyDocuments.floats(x.item * s.lk + x.k0 + j, 0) != own) row[j] = HIDDEN;
      }
    }
    for (int64_t j = seen; j < KEYS; j++) row[j] = HIDDEN;
  }
}

int planAttention(const Command& cmd, Plan* plan) {
  const Sizes s(cmd);
  *plan = Plan();
  planUnits(plan, 0, s.b * s.heads * s.queryBlocks(), (s.lq < QUERIES ? s.lq : QUERIES) * s.lk * s.d / 4);
  plan->thread_scratch = size_t(2 * s.queryRoom() + 2 * s.keyRoom() + QUERIES * KEYS + 2 * QUERIES + 8 * 16) * 4;
  return checkTypes(cmd, "hhhffhf");
}

/** Scores of fewer queries than a tile has rows: a product for each key, which need not be transposed then. */
void fewScores(const float* q, const float* k, const Meeting& x, const Sizes& s, float* scores) {
  for (int64_t r = 0; r < x.queries; r++) {
    const float* own = q + r * s.wide;
    for (int64_t j = 0; j < x.keys; j++) {
      const float* key = k + j * s.wide;
      scores[r * KEYS + j] = sumOf(s.wide, [&](auto where) { return load(own, where) * load(key, where); });
    }
  }
}

/** Takes a block of scores into the running softmax; they become probabilities not yet divided. */
void takeScores(const Meeting& x, const Sizes& s, float* scores, float* most, float* total, float* sums) {
  for (int64_t r = 0; r < x.queries; r++) {
    float* row = scores + r * KEYS;
    const auto most2 = [](F a, F b) { return larger(a, b); };
    const float best = extremeOf(row, KEYS, most[r], most2);
    if (best == HIDDEN) {
      for (int64_t j = 0; j < KEYS; j++) row[j] = 0;
      continue;
    }
    const float factor = decayingExponential(splat(most[r] - best))[0];
    const float added = sumOf(KEYS, [&](auto where) {
      const F p = decayingExponential(load(row, where) - best);
      store(row, where, p);
      return p;
    });
    most[r] = best;
    total[r] = total[r] * factor + added;
    float* own = sums + r * s.wide;
    eachVector(s.wide, [&](auto where) { store(own, where, load(own, where) * factor); });
  }
  for (int64_t r = x.queries; r < QUERIES; r++) {
    for (int64_t j = 0; j < KEYS; j++) scores[r * KEYS + j] = 0;
  }
}

void runAttention(const Command& cmd, int, int64_t begin, int64_t end, void* scratch, void*) {
  const TinyIsZero tiny;
  const Sizes s(cmd);
  const Matrix q = matrix(cmd, 0), k = matrix(cmd, 1), v = matrix(cmd, 2), queryDocuments = matrix(cmd, 3);
  const Matrix keyDocuments = matrix(cmd, 4), y = matrix(cmd, 5), lse = matrix(cmd, 6);
  Room room = {static_cast<float*>(scratch)};
  float *queries = room.take(s.queryRoom()), *sums = room.take(s.queryRoom()), *keys = room.take(s.keyRoom());
  float *turned = room.take(s.keyRoom()), *scores = room.take(QUERIES * KEYS);
  float *most = room.take(QUERIES), *total = room.take(QUERIES);
  for (int64_t unit = begin; unit < end; unit++) {
    const int64_t block = unit % s.queryBlocks(), head = unit / s.queryBlocks() % s.heads;
    const int64_t q0 = block * QUERIES, count = s.lq - q0 < QUERIES ? s.lq - q0 : QUERIES;
    const int64_t item = unit / s.queryBlocks() / s.heads, kvCol = s.kvHeadOf(head) * s.d;
    const int64_t rows = ceilDiv(count, ROWS) * ROWS;
    loadRows(q, item * s.lq + q0, head * s.d, count, rows, s, s.scale, queries);
    for (int64_t i = 0; i < rows * s.wide; i++) sums[i] = 0;
    for (int64_t r = 0; r < QUERIES; r++) most[r] = HIDDEN, total[r] = 0;
    const int64_t seen = s.seenBy(q0 + count - 1);
    for (int64_t k0 = 0; k0 < seen; k0 += KEYS) {
      const Meeting x = {item, q0, count, k0, s.lk - k0 < KEYS ? s.lk - k0 : KEYS};
      loadRows(k, item * s.lk + k0, kvCol, x.keys, KEYS, s, 1.0f, keys);
      if (count < ROWS) {
        fewScores(queries, keys, x, s, scores);
      } else {
        transposeKeys(keys, s, turned);
        product({queries, s.wide, 1}, turned, KEYS, scores, KEYS, rows, KEYS, s.d, false);
      }
      hide(x, s, queryDocuments, keyDocuments, scores);
      takeScores(x, s, scores, most, total, sums);
      loadRows(v, item * s.lk + k0, kvCol, x.keys, x.keys, s, 1.0f, keys);
      product({scores, KEYS, 1}, keys, s.wide, sums, s.wide, rows, s.wide, x.keys, true);
    }
    for (int64_t r = 0; r < count; r++) {
      float* own = sums + r * s.wide;
      const float share = total[r] > 0 ? 1.0f / total[r] : 0.0f;
      eachVector(s.wide, [&](auto where) { store(own, where, load(own, where) * share); });
      if (lse) *lse.floats(item * s.lq + q0 + r, head) = total[r] > 0 ? most[r] + logarithm(splat(total[r]))[0] : 0.0f;
    }
    storeRows(y, item * s.lq + q0, head * s.d, count, s, sums);
  }
}

/** The arguments of the gradient. */
struct Gradient {
  Matrix q, k, v, queryDocuments, keyDocuments, y, lse, dy, dq, dk, dv;

  explicit Gradient(const Command& cmd)
      : q(matrix(cmd, 0)), k(matrix(cmd, 1)), v(matrix(cmd, 2)), queryDocuments(matrix(cmd, 3)),
        keyDocuments(matrix(cmd, 4)), y(matrix(cmd, 5)), lse(matrix(cmd, 6)), dy(matrix(cmd, 7)), dq(matrix(cmd, 8)),
        dk(matrix(cmd, 9)), dv(matrix(cmd, 10)) {}
};

int planAttentionBwd(const Command& cmd, Plan* plan) {
  const Sizes s(cmd);
  *plan = Plan();
  planUnits(plan, 0, s.b * s.lq, s.heads * s.d);
  planUnits(plan, 1, s.b * s.kvHeads * s.keyBlocks(), KEYS * s.lq * s.d);
  planUnits(plan, 2, s.b * s.heads * s.queryBlocks(), QUERIES * s.lk * s.d);
  plan->thread_scratch = size_t(3 * s.queryRoom() + 6 * s.keyRoom() + 2 * QUERIES * KEYS + 16 * 16) * 4;
  plan->shared_scratch = size_t(s.b * s.lq * s.heads) * 4;
  return checkTypes(cmd, "hhhffhfhhhh");
}

/** Rows of scratch that a block of the gradient works in. */
struct Bench {
  float *queries, *dy, *dq, *keys, *values, *turnedKeys, *turnedValues, *dk, *dv, *p, *ds;

  Bench(const Sizes& s, void* scratch) {
    Room room = {static_cast<float*>(scratch)};
    queries = room.take(s.queryRoom()), dy = room.take(s.queryRoom()), dq = room.take(s.queryRoom());
    keys = room.take(s.keyRoom()), values = room.take(s.keyRoom());
    turnedKeys = room.take(s.keyRoom()), turnedValues = room.take(s.keyRoom());
    dk = room.take(s.keyRoom()), dv = room.take(s.keyRoom());
    p = room.take(QUERIES * KEYS), ds = room.take(QUERIES * KEYS);
  }
};

void loadKeys(const Gradient& g, const Sizes& s, const Meeting& x, int64_t col, const Bench& w) {
  loadRows(g.k, x.item * s.lk + x.k0, col, x.keys, KEYS, s, 1.0f, w.keys);
  loadRows(g.v, x.item * s.lk + x.k0, col, x.keys, KEYS, s, 1.0f, w.values);
  transposeKeys(w.keys, s, w.turnedKeys);
  transposeKeys(w.values, s, w.turnedValues);
}

void loadQueries(const Gradient& g, const Sizes& s, const Meeting& x, int64_t head, const Bench& w) {
  const int64_t row = x.item * s.lq + x.q0;
  loadRows(g.q, row, head * s.d, x.queries, QUERIES, s, s.scale, w.queries);
  loadRows(g.dy, row, head * s.d, x.queries, QUERIES, s, 1.0f, w.dy);
}

/** Probabilities p of a meeting, and ds = p (dy v - sum of dy y). */
void meet(const Gradient& g, const Sizes& s, const Meeting& x, int64_t head, const float* deltas, const Bench& w) {
  product({w.queries, s.wide, 1}, w.turnedKeys, KEYS, w.p, KEYS, QUERIES, KEYS, s.d, false);
  product({w.dy, s.wide, 1}, w.turnedValues, KEYS, w.ds, KEYS, QUERIES, KEYS, s.d, false);
  hide(x, s, g.queryDocuments, g.keyDocuments, w.p);
  for (int64_t r = 0; r < QUERIES; r++) {
    const int64_t row = x.item * s.lq + x.q0 + r;
    const float lse = r < x.queries ? *g.lse.floats(row, head) : 0.0f;
    const float delta = r < x.queries ? deltas[row * s.heads + head] : 0.0f;
    float *p = w.p + r * KEYS, *ds = w.ds + r * KEYS;
    for (int64_t j = 0; j < KEYS; j += LANES) {
      // Rounding may put a score a little above its own logarithm of the sum: so little that this serves.
      const F share = decayingExponential(load(p, Whole{j}) - lse);
      store(p, Whole{j}, share);
      store(ds, Whole{j}, share * (load(ds, Whole{j}) - delta));
    }
  }
}

/** Sum of dy y of each query and head. */
void runDeltas(const Gradient& g, const Sizes& s, int64_t begin, int64_t end, const Bench& w, float* deltas) {
  for (int64_t row = begin; row < end; row++) {
    for (int64_t head = 0; head < s.heads; head++) {
      loadRows(g.dy, row, head * s.d, 1, 1, s, 1.0f, w.dy);
      loadRows(g.y, row, head * s.d, 1, 1, s, 1.0f, w.queries);
      deltas[row * s.heads + head] =
          sumOf(s.wide, [&](auto where) { return load(w.dy, where) * load(w.queries, where); });
    }
  }
}

void runKeys(const Gradient& g, const Sizes& s, int64_t begin, int64_t end, const Bench& w, const float* deltas) {
  for (int64_t unit = begin; unit < end; unit++) {
    const int64_t kvHead = unit / s.keyBlocks() % s.kvHeads, k0 = unit % s.keyBlocks() * KEYS;
    Meeting x = {unit / s.keyBlocks() / s.kvHeads, 0, 0, k0, s.lk - k0 < KEYS ? s.lk - k0 : KEYS};
    loadKeys(g, s, x, kvHead * s.d, w);
    for (int64_t i = 0; i < s.keyRoom(); i++) w.dk[i] = w.dv[i] = 0;
    const int64_t firstQuery = x.k0 - (s.lk - s.lq);  // that sees the first key of the block
    const int64_t from = firstQuery > 0 ? firstQuery / QUERIES * QUERIES : 0;
    for (int64_t head = 0; head < s.heads; head++) {
      if (s.kvHeadOf(head) != kvHead) continue;
      for (x.q0 = from; x.q0 < s.lq; x.q0 += QUERIES) {
        x.queries = s.lq - x.q0 < QUERIES ? s.lq - x.q0 : QUERIES;
        loadQueries(g, s, x, head, w);
        meet(g, s, x, head, deltas, w);
        product({w.p, 1, KEYS}, w.dy, s.wide, w.dv, s.wide, KEYS, s.wide, x.queries, true);
        product({w.ds, 1, KEYS}, w.queries, s.wide, w.dk, s.wide, KEYS, s.wide, x.queries, true);
      }
    }
    storeRows(g.dk, x.item * s.lk + x.k0, kvHead * s.d, x.keys, s, w.dk);
    storeRows(g.dv, x.item * s.lk + x.k0, kvHead * s.d, x.keys, s, w.dv);
  }
}

void runQueries(const Gradient& g, const Sizes& s, int64_t begin, int64_t end, const Bench& w, const float* deltas) {
  for (int64_t unit = begin; unit < end; unit++) {
    const int64_t head = unit / s.queryBlocks() % s.heads, q0 = unit % s.queryBlocks() * QUERIES;
    Meeting x = {unit / s.queryBlocks() / s.heads, q0, s.lq - q0 < QUERIES ? s.lq - q0 : QUERIES, 0, 0};
    loadQueries(g, s, x, head, w);
    for (int64_t i = 0; i < s.queryRoom(); i++) w.dq[i] = 0;
    const int64_t seen = s.seenBy(q0 + x.queries - 1);
    for (; x.k0 < seen; x.k0 += KEYS) {
      x.keys = s.lk - x.k0 < KEYS ? s.lk - x.k0 : KEYS;
      loadKeys(g, s, x, s.kvHeadOf(head) * s.d, w);
      meet(g, s, x, head, deltas, w);
      product({w.ds, KEYS, 1}, w.keys, s.wide, w.dq, s.wide, QUERIES, s.wide, x.keys, true);
    }
    eachVector(s.queryRoom(), [&](auto where) { store(w.dq, where, load(w.dq, where) * s.scale); });
    storeRows(g.dq, x.item * s.lq + q0, head * s.d, x.queries, s, w.dq);
  }
}

void runAttentionBwd(const Command& cmd, int phase, int64_t begin, int64_t end, void* scratch, void* shared) {
  const TinyIsZero tiny;
  const Sizes s(cmd);
  const Gradient g(cmd);
  const Bench w(s, scratch);
  float* deltas = static_cast<float*>(shared);
  if (phase == 0) runDeltas(g, s, begin, end, w, deltas);
  if (phase == 1) runKeys(g, s, begin, end, w, deltas);
  if (phase == 2) runQueries(g, s, begin, end, w, deltas);
}

}  // namespace

const Kernel kAttention = {"attention", planAttention, runAttention};
const Kernel kAttentionBwd = {"attention_bwd", planAttentionBwd, runAttentionBwd};

}  // namespace KRAIT_VARIANT
}  // namespace krait
