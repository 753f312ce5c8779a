// Gradient of the selective scan (selective-scan.cc). From the last chunk to the first, h is recomputed inside each
// from its checkpoint, then the gradient of the state, dh, walks back:
//   dh += c dpre;  dc = dpre h;  ddelta = sum_n dh (a e h[t-1] + u b);  da += dh delta e h[t-1];
//   db = dh delta u;  du = dpre skip + sum_n dh delta b;  dh = dh e      with e = exp(delta a), dpre = dy silu(z).
// At a reset e is 0: nothing flows across.
//
// A unit is a set of groups of one batch. db and dc are sums over channels: over the lanes of a group (in halves), over
// the groups of a set, and in a second phase over at most 32 sets. da, dd and ddtBias are summed over positions by
// chunks, then over batches in the second phase. All in an order that depends on the shape alone.
#pragma once
#include "scan-common.h"

namespace krait {
namespace KRAIT_VARIANT {
namespace {

constexpr int64_t MOST_SETS = 32, USUAL_GROUPS = 4, ENOUGH_SETS = 16;
constexpr int64_t ROWS_PER_UNIT = 64;  // of db and dc in the second phase

struct BackwardScan : Scan {
  Matrix checkpoints, dy, dstateOut, du, ddt, da, db, dc, dskip, dz, dbias, dstateIn;
  int64_t groupsPerSet, sets, paddedN;

  explicit BackwardScan(const Command& cmd) : Scan(cmd) {
    const auto m = [&](int i) { return matrix(cmd, i); };
    checkpoints = m(9), dy = m(10), dstateOut = m(11), du = m(12), ddt = m(13), da = m(14), db = m(15), dc = m(16);
    dskip = m(17), dz = m(18), dbias = m(19), dstateIn = m(20);
    groupsPerSet = USUAL_GROUPS;  // fewer if there would be too little to share between threads
    while (groupsPerSet > 1 && batches * ceilDiv(groups, groupsPerSet) < ENOUGH_SETS) groupsPerSet /= 2;
    if (groupsPerSet < ceilDiv(groups, MOST_SETS)) groupsPerSet = ceilDiv(groups, MOST_SETS);
    sets = ceilDiv(groups, groupsPerSet);
    paddedN = ceilDiv(n, 4) * 4;
  }
  int64_t stretch() const { return chunk < l ? chunk : l; }
  /** Floats of a batch's sums over positions: da [n, d], dd [d], ddtBias [d]. */
  int64_t sumsOfBatch() const { return (n + 2) * d; }
  /** Sums over the channels of a set, [sets, b*l, 2, n], stand before the sums of the batches in shared scratch. */
  int64_t channelSums() const { return sets * batches * l * 2 * n; }
};

/** Memory of a thread; `take` hands out the next part. */
struct BackwardRoom {
  // Of every group of the set: [n, 16].
  float *slopes, *rates, *dh, *da;
  float *dskip, *dbias;  // [16]
  // Of the group at work, for each position: [16].
  float *delta, *input, *u, *dpre, *stepSlope, *dgate, *sum;
  // The same, [n, 16]: decays, states (one more: before the first), and the da of the chunk.
  float *decay, *state, *daChunk;
  // Products whose lanes are to be summed, [paddedN, LANES]; sums over channels for each position, [paddedN].
  float *productB, *productC, *sumB, *sumC;
  char* positions;

  BackwardRoom(void* from, const BackwardScan& scan) : next_(uintptr_t(from)) {
    const int64_t most = scan.stretch(), perSet = scan.groupsPerSet, size = scan.n * WIDTH;
    slopes = take(perSet * size), rates = take(perSet * size), dh = take(perSet * size), da = take(perSet * size);
    dskip = take(perSet * WIDTH), dbias = take(perSet * WIDTH);
    delta = take(most * WIDTH), input = take(most * WIDTH), u = take(most * WIDTH), dpre = take(most * WIDTH);
    stepSlope = take(most * WIDTH), dgate = take(most * WIDTH), sum = take(most * WIDTH);
    decay = take(most * size), state = take((most + 1) * size), daChunk = take(size);
    productB = take(scan.paddedN * LANES), productC = take(scan.paddedN * LANES);
    sumB = take(most * scan.paddedN), sumC = take(most * scan.paddedN);
    positions = reinterpret_cast<char*>(next_);
  }
  static size_t bytes(const BackwardScan& scan) {
    return size_t(BackwardRoom(nullptr, scan).next_) + Positions::bytes(scan.stretch(), scan.n);
  }

 private:
  uintptr_t next_;
  float* take(int64_t floats) {
    const uintptr_t part = next_;
    next_ += rounded64(size_t(floats) * 4);
    return reinterpret_cast<float*>(part);
  }
};

inline int planSelectiveScanBwd(const Command& cmd, Plan* plan) {
  const BackwardScan scan(cmd);
  *plan = Plan();
  const int64_t channels = scan.groupsPerSet * WIDTH;
  planUnits(plan, 0, scan.batches * scan.sets, scan.l * channels * (scan.n + 4) * 4);
  planUnits(plan, 1, ceilDiv(scan.batches * scan.l, ROWS_PER_UNIT) + scan.n + 2, 4096);
  plan->thread_scratch = BackwardRoom::bytes(scan);
  plan->shared_scratch = size_t(scan.channelSums() + scan.batches * scan.sumsOfBatch()) * 4;
  return checkTypes(cmd, "hhfhhfhfifhfhhfhhfhff");
}

/** Everything of a position that does not depend on the state. */
inline void prepareGradients(const BackwardScan& scan, const Positions& positions, Group group,
                             const BackwardRoom& room) {
  loadPositions(scan.dt, positions, group, room.delta);
  loadPositions(scan.u, positions, group, room.u);
  loadPositions(scan.dy, positions, group, room.dpre);
  addBias(scan, group, positions.count, room.delta);
  if (scan.hasSoftplus) decaySizes(room.delta, positions.count * WIDTH, room.stepSlope);
  eachVector(positions.count * WIDTH, [&](auto where) {
    const F raw = load(room.delta, where), decayed = load(room.stepSlope, where);
    const F delta = scan.hasSoftplus ? softplus(raw, decayed) : raw;
    store(room.delta, where, delta);
    store(room.input, where, delta * load(room.u, where));
    store(room.stepSlope, where, scan.hasSoftplus ? sigmoids(raw, decayed).value : splat(1));
  });
  if (!scan.z) return;
  loadPositions(scan.z, positions, group, room.dgate);
  decaySizes(room.dgate, positions.count * WIDTH, room.sum);
  eachVector(positions.count * WIDTH, [&](auto where) {
    const F z = load(room.dgate, where), dy = load(room.dpre, where);
    const Sigmoid s = sigmoids(z, load(room.sum, where));
    const F gate = z * s.value;
    store(room.dpre, where, dy * gate);
    store(room.dgate, where, dy * (s.value + gate * s.rest));
  });
}

/** Decays and states of every position; state[i] is what position i is handed. Sums c h where the gate needs it. */
template <int N, bool isNear>
void recompute(int64_t n, const Positions& positions, const float* rates, bool isGated, const BackwardRoom& room) {
  if (N) n = N;
  for (int64_t i = 0; i < positions.count; i++) {
    const Lanes16 delta = load16(room.delta + i * WIDTH), input = load16(room.input + i * WIDTH);
    const float *b = positions.b[i], *c = positions.c[i];
    float *decays = room.decay + i * n * WIDTH, *before = room.state + i * n * WIDTH;
    const bool isReset = positions.isReset[i];
    if (isReset) __builtin_memset(decays, 0, size_t(n) * WIDTH * 4);
    Lanes16 sum = splat16(0);
    for (int64_t j = 0; j < n; j++) {
      for (int q = 0; q < PARTS; q++) {
        const Whole where = {j * WIDTH + q * LANES};
        F h = input.part[q] * b[j];
        if (!isReset) {
          const F decay = decayOf<isNear>(delta.part[q] * load(rates, where));
          store(decays, where, decay);
          h += decay * load(before, where);
        }
        store(before + n * WIDTH, where, h);
        if (isGated) sum.part[q] += h * c[j];
      }
    }
    if (isGated) store16(room.sum + i * WIDTH, sum);
  }
}

/** Lane i of part q belongs to channel q*LANES + i: folds the parts in halves, to one vector. */
KRAIT_INLINE F foldParts(Lanes16 lanes) {
  for (int half = PARTS / 2; half > 0; half /= 2) {
    for (int q = 0; q < half; q++) lanes.part[q] += lanes.part[q + half];
  }
  return lanes.part[0];
}

/** sums[j] += the lanes of row j, folded in halves, for rows of LANES, four at a time. */
inline void addLaneSums(const float* rows, int64_t paddedN, float* sums) {
  for (int64_t j = 0; j < paddedN; j += 4) {
    const auto row = [&](int i) __attribute__((always_inline)) { return foldToFour(rows + (j + i) * LANES); };
    const F4 total = loadVector<F4>(sums + j) + sumsOfFour(row(0), row(1), row(2), row(3));
    __builtin_memcpy(sums + j, &total, sizeof total);
  }
}

/** dh from the last position to the first, and everything that follows from it. g: place of the group in its set. */
template <int N>
void walkBack(const BackwardScan& scan, const Positions& positions, Group group, int64_t g, const BackwardRoom& room) {
  const int64_t n = N ? N : scan.n;
  const float* slopes = room.slopes + g * n * WIDTH;
  float *dh = room.dh + g * n * WIDTH, *da = room.daChunk;
  const Lanes16 skip = loadVector16(scan.skip, group);
  Lanes16 dskip = splat16(0), dbias = splat16(0);
  __builtin_memset(da, 0, size_t(n) * WIDTH * 4);
  for (int64_t i = positions.count - 1; i >= 0; i--) {
    const Lanes16 delta = load16(room.delta + i * WIDTH), input = load16(room.input + i * WIDTH);
    const Lanes16 dpre = load16(room.dpre + i * WIDTH), u = load16(room.u + i * WIDTH);
    const float *b = positions.b[i], *c = positions.c[i];
    const float *decays = room.decay + i * n * WIDTH, *before = room.state + i * n * WIDTH, *after = before + n * WIDTH;
    Lanes16 ddelta = splat16(0), dinput = splat16(0);
    for (int64_t j = 0; j < n; j++) {
      Lanes16 productB, productC;
      for (int q = 0; q < PARTS; q++) {
        const Whole where = {j * WIDTH + q * LANES};
        const F gradient = load(dh, where) + dpre.part[q] * c[j];
        productC.part[q] = dpre.part[q] * load(after, where);
        productB.part[q] = gradient * input.part[q];
        dinput.part[q] += gradient * b[j];
        const F passed = gradient * load(decays, where), weighted = passed * load(before, where);
        store(dh, where, passed);
        ddelta.part[q] += weighted * load(slopes, where);
        store(da, where, load(da, where) + weighted * delta.part[q]);
      }
      store(room.productB, Whole{j * LANES}, foldParts(productB));
      store(room.productC, Whole{j * LANES}, foldParts(productC));
    }
    addLaneSums(room.productB, scan.paddedN, room.sumB + i * scan.paddedN);
    addLaneSums(room.productC, scan.paddedN, room.sumC + i * scan.paddedN);
    const Lanes16 slope = load16(room.stepSlope + i * WIDTH), sum = load16(room.sum + i * WIDTH);
    const Lanes16 dgate = load16(room.dgate + i * WIDTH);
    for (int q = 0; q < PARTS; q++) {
      const Whole where = {i * WIDTH + q * LANES};
      const F ddt = (ddelta.part[q] + u.part[q] * dinput.part[q]) * slope.part[q];
      dskip.part[q] += dpre.part[q] * u.part[q];
      dbias.part[q] += ddt;
      store(room.delta, where, ddt);  // what position i needed is used up: its memory takes the results
      store(room.u, where, dpre.part[q] * skip.part[q] + delta.part[q] * dinput.part[q]);
      store(room.sum, where, dgate.part[q] * (sum.part[q] + skip.part[q] * u.part[q]));
    }
  }
  storePositions(scan.ddt, positions, group, room.delta);
  storePositions(scan.du, positions, group, room.u);
  if (scan.z && scan.dz) storePositions(scan.dz, positions, group, room.sum);
  const auto add = [](float* to, const Lanes16& lanes) {
    for (int q = 0; q < PARTS; q++) store(to, Whole{q * LANES}, load(to, Whole{q * LANES}) + lanes.part[q]);
  };
  add(room.dskip + g * WIDTH, dskip);
  add(room.dbias + g * WIDTH, dbias);
  for (int64_t j = 0; j < n; j++) add(room.da + (g * n + j) * WIDTH, load16(da + j * WIDTH));
}

template <int N>
void chunkBack(const BackwardScan& scan, const Positions& positions, Group group, int64_t g, const BackwardRoom& room) {
  prepareGradients(scan, positions, group, room);
  const float* rates = room.rates + g * scan.n * WIDTH;
  if (areDecaysNear(rates, scan.n, room.delta, positions.count)) {
    recompute<N, true>(scan.n, positions, rates, scan.z && scan.dz, room);
  } else {
    recompute<N, false>(scan.n, positions, rates, scan.z && scan.dz, room);
  }
  walkBack<N>(scan, positions, group, g, room);
}

/** Sums over the set's channels, to rows of [2, n] in shared scratch; padding gets 0. */
inline void writeChannelSums(const BackwardScan& scan, const Positions& positions, int64_t batch, int64_t from,
                             int64_t to, const BackwardRoom& room, float* sums) {
  const int64_t n = scan.n;
  for (int64_t t = from, i = 0; t < to; t++) {
    const int64_t row = batch * scan.l + t;
    float* out = sums + row * 2 * n;
    const bool isThere = i < positions.count && positions.at[i] == row;
    for (int64_t j = 0; j < n; j++) {
      out[j] = isThere ? room.sumB[i * scan.paddedN + j] : 0;
      out[n + j] = isThere ? room.sumC[i * scan.paddedN + j] : 0;
    }
    if (isThere) i++;
  }
}

inline void setBack(const BackwardScan& scan, int64_t batch, int64_t set, const BackwardRoom& room, float* shared) {
  const int64_t n = scan.n, size = n * WIDTH, firstGroup = set * scan.groupsPerSet;
  const int64_t left = scan.groups - firstGroup, count = left < scan.groupsPerSet ? left : scan.groupsPerSet;
  for (int64_t g = 0; g < count; g++) {
    const Group group = groupOf(scan, firstGroup + g);
    loadRows(scan.a, 0, n, group, room.slopes + g * size);
    loadRates(scan, group, room.rates + g * size);
    loadRows(scan.dstateOut, batch * n, n, group, room.dh + g * size);
  }
  __builtin_memset(room.da, 0, size_t(count * size) * 4);
  __builtin_memset(room.dskip, 0, size_t(count * WIDTH) * 4);
  __builtin_memset(room.dbias, 0, size_t(count * WIDTH) * 4);
  __builtin_memset(room.productB, 0, size_t(scan.paddedN * LANES) * 4);
  __builtin_memset(room.productC, 0, size_t(scan.paddedN * LANES) * 4);
  Positions positions(room.positions, scan.stretch(), n);
  for (int64_t chunk = scan.chunks - 1; chunk >= 0; chunk--) {
    const int64_t from = chunk * scan.chunk, to = from + scan.chunk < scan.l ? from + scan.chunk : scan.l;
    positions.find(scan, batch, from, to);
    __builtin_memset(room.sumB, 0, size_t(positions.count * scan.paddedN) * 4);
    __builtin_memset(room.sumC, 0, size_t(positions.count * scan.paddedN) * 4);
    for (int64_t g = 0; g < count; g++) {
      const Group group = groupOf(scan, firstGroup + g);
      loadRows(scan.checkpoints, (batch * scan.chunks + chunk) * n, n, group, room.state);
      if (n == 16) {
        chunkBack<16>(scan, positions, group, g, room);
      } else if (n == 8) {
        chunkBack<8>(scan, positions, group, g, room);
      } else {
        chunkBack<0>(scan, positions, group, g, room);
      }
      positions.clearOthers(scan, scan.du, batch, from, to, group);
      positions.clearOthers(scan, scan.ddt, batch, from, to, group);
      if (scan.dz) positions.clearOthers(scan, scan.dz, batch, from, to, group);
    }
    writeChannelSums(scan, positions, batch, from, to, room, shared + set * scan.batches * scan.l * 2 * n);
  }
  float* sums = shared + scan.channelSums() + batch * scan.sumsOfBatch();
  const Matrix da = {reinterpret_cast<char*>(sums), scan.d, F32};
  for (int64_t g = 0; g < count; g++) {
    const Group group = groupOf(scan, firstGroup + g);
    storeRows(da, 0, n, group, room.da + g * size);
    storeRows(da, n, 1, group, room.dskip + g * WIDTH);
    storeRows(da, n + 1, 1, group, room.dbias + g * WIDTH);
    if (scan.dstateIn) storeRows(scan.dstateIn, batch * n, n, group, room.dh + g * size);
  }
}

/** Row j of a gradient: adds the sums of all batches. */
inline void addBatches(const BackwardScan& scan, const float* sums, int64_t j, float* gradient) {
  for (int64_t batch = 0; batch < scan.batches; batch++) {
    const float* row = sums + batch * scan.sumsOfBatch() + j * scan.d;
    eachVector(scan.d, [&](auto where) { store(gradient, where, load(gradient, where) + load(row, where)); });
  }
}

/** Row `row` of db or dc (which = 1): adds the sums of all sets. */
inline void addSets(const BackwardScan& scan, const float* shared, int64_t row, int which, const Matrix& to) {
  alignas(64) float total[TILE];
  eachTile(scan.n, [&](int64_t col, int64_t n) {
    __builtin_memset(total, 0, size_t(n) * 4);
    for (int64_t set = 0; set < scan.sets; set++) {
      const float* part = shared + ((set * scan.batches * scan.l + row) * 2 + which) * scan.n + col;
      eachVector(n, [&](auto where) { store(total, where, load(total, where) + load(part, where)); });
    }
    fromFloats(to.type, total, n, to.at(row, col));
  });
}

inline void runSelectiveScanBwd(const Command& cmd, int phase, int64_t begin, int64_t end, void* scratch,
                                void* sharedScratch) {
  const BackwardScan scan(cmd);
  float* shared = static_cast<float*>(sharedScratch);
  if (phase == 0) {
    const BackwardRoom room(scratch, scan);
    for (int64_t unit = begin; unit < end; unit++) setBack(scan, unit / scan.sets, unit % scan.sets, room, shared);
    return;
  }
  const float* sums = shared + scan.channelSums();
  for (int64_t unit = begin; unit < end; unit++) {
    if (unit < scan.n) {
      addBatches(scan, sums, unit, scan.da.floats(unit, 0));
    } else if (unit < scan.n + 2) {
      const Matrix& gradient = unit == scan.n ? scan.dskip : scan.dbias;
      if (gradient) addBatches(scan, sums, unit, gradient.floats(0, 0));
    } else {
      const int64_t from = (unit - scan.n - 2) * ROWS_PER_UNIT, rows = scan.batches * scan.l;
      for (int64_t row = from; row < from + ROWS_PER_UNIT && row < rows; row++) {
        addSets(scan, shared, row, 0, scan.db);
        addSets(scan, shared, row, 1, scan.dc);
      }
    }
  }
}

}  // namespace
}  // namespace KRAIT_VARIANT
}  // namespace krait
