// Gradient of the selective scan (selective-scan.cc). From the last chunk to the first, h is recomputed inside each
// from its checkpoint, then the gradient of the state, dh, walks back:
//   dh += c dpre;  dc = dpre h;  ddelta = sum_n dh (a e h[t-1] + u b);  da += dh delta e h[t-1];
//   db = dh delta u;  du = dpre skip + sum_n dh delta b;  dh = dh e      with e = exp(delta a), dpre = dy silu(z).
// At a reset e is 0: nothing flows across.
//
// A unit is a set of groups of one batch. db and dc are sums over channels: over the vectors of a set, over the lanes
// of a vector, and in a second phase over at most 32 sets. da, dd and ddtBias are summed over positions by
// chunks, then over batches in the second phase. All in an order that depends on the shape alone.
#pragma once
#include "scan-walk.h"

namespace krait {
namespace KRAIT_VARIANT {
namespace {

constexpr int64_t MOST_SETS = 32, USUAL_GROUPS = 4, ENOUGH_SETS = 16;
constexpr int64_t ROWS_PER_UNIT = 64;  // of db and dc in the second phase

struct BackwardScan : Scan {
  Matrix checkpoints, dy, dstateOut, du, ddt, da, db, dc, dskip, dz, dbias, dstateIn;
  int64_t groupsPerSet, sets;

  explicit BackwardScan(const Command& cmd) : Scan(cmd) {
    const auto m = [&](int i) { return matrix(cmd, i); };
    checkpoints = m(9), dy = m(10), dstateOut = m(11), du = m(12), ddt = m(13), da = m(14), db = m(15), dc = m(16);
    dskip = m(17), dz = m(18), dbias = m(19), dstateIn = m(20);
    groupsPerSet = USUAL_GROUPS;  // fewer if there would be too little to share between threads
    while (groupsPerSet > 1 && batches * ceilDiv(groups, groupsPerSet) < ENOUGH_SETS) groupsPerSet /= 2;
    if (groupsPerSet < ceilDiv(groups, MOST_SETS)) groupsPerSet = ceilDiv(groups, MOST_SETS);
    sets = ceilDiv(groups, groupsPerSet);
  }
  int64_t stretch() const { return chunk < l ? chunk : l; }
  /** Floats of a batch's sums over positions: da [n, d], dd [d], ddtBias [d]. */
  int64_t sumsOfBatch() const { return (n + 2) * d; }
  /** Sums over the channels of a set, [sets, b*l, 2, n], stand before the sums of the batches in shared scratch. */
  int64_t channelSums() const { return sets * batches * l * 2 * n; }
};

/** Memory of a thread; `take` hands out the next part. */
struct BackwardRoom {
  float *slopes, *rates, *state, *dh, *da;  // of every group of the set: [states, 16]
  float *dskip, *dbias, *largestRate;       // [16], [16], 1
  float* steps;                             // of every group of the set
  float *kept, *channelSums;                // of the block and the vector at work (scan-walk.h)
  char* positions;
  int64_t most;

  BackwardRoom(void* from, const BackwardScan& scan) : most(scan.stretch()), next_(uintptr_t(from)) {
    const int64_t groups = scan.groupsPerSet, size = scan.states * WIDTH;
    slopes = take(groups * size), rates = take(groups * size), state = take(groups * size);
    dh = take(groups * size), da = take(groups * size);
    dskip = take(groups * WIDTH), dbias = take(groups * WIDTH), largestRate = take(groups);
    steps = take(groups * Steps::ARRAYS * most * WIDTH);
    kept = take(most * KEPT), channelSums = take(most * SUMS);
    positions = reinterpret_cast<char*>(next_);
  }
  static size_t bytes(const BackwardScan& scan) {
    return size_t(BackwardRoom(nullptr, scan).next_) + Positions::bytes(scan.stretch(), scan.states);
  }
  Steps stepsOf(int64_t g) const { return {steps + g * Steps::ARRAYS * most * WIDTH, most}; }

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
inline void prepareGradients(const BackwardScan& scan, const Positions& positions, Group group, const Steps& steps) {
  loadPositions(scan.dt, positions, group, steps.delta);
  loadPositions(scan.u, positions, group, steps.u);
  loadPositions(scan.dy, positions, group, steps.dpre);
  addBias(scan, group, positions.count, steps.delta);
  const int64_t floats = positions.count * WIDTH;
  if (scan.hasSoftplus) decaySizes(steps.delta, floats, steps.stepSlope);
  const Lanes16 skip = loadVector16(scan.skip, group);
  for (int64_t i = 0; i < positions.count; i++) {
    for (int q = 0; q < PARTS; q++) {
      const Whole where = {i * WIDTH + q * LANES};
      const F raw = load(steps.delta, where), u = load(steps.u, where);
      const Softplus step =
          scan.hasSoftplus ? softplusWithSlope(raw, load(steps.stepSlope, where)) : Softplus{raw, splat(1)};
      store(steps.delta, where, step.value);
      store(steps.input, where, step.value * u);
      store(steps.stepSlope, where, step.slope);
      store(steps.sum, where, skip.part[q] * u);
    }
  }
  if (scan.z) {
    loadPositions(scan.z, positions, group, steps.dgate);
    decaySizes(steps.dgate, floats, steps.ddelta);
    eachVector(floats, [&](auto where) {
      const F z = load(steps.dgate, where), dy = load(steps.dpre, where);
      const Sigmoid s = sigmoids(z, load(steps.ddelta, where));
      const F gate = z * s.value;
      store(steps.dpre, where, dy * gate);
      store(steps.dgate, where, dy * multiplyAdd(gate, s.rest, s.value));
    });
  }
  __builtin_memset(steps.ddelta, 0, size_t(floats) * 4);
  __builtin_memset(steps.dinput, 0, size_t(floats) * 4);
}

/** Gradients of a group from the sums over states, whose memory they take. dskip and dbias [16] are added to. */
inline void finishGradients(const BackwardScan& scan, const Positions& positions, Group group, const Steps& steps,
                            float* dskipAt, float* dbiasAt) {
  const Lanes16 skip = loadVector16(scan.skip, group);
  Lanes16 dskip = load16(dskipAt), dbias = load16(dbiasAt);
  for (int64_t i = 0; i < positions.count; i++) {
    for (int q = 0; q < PARTS; q++) {
      const Whole where = {i * WIDTH + q * LANES};
      const F u = load(steps.u, where), dpre = load(steps.dpre, where), dinput = load(steps.dinput, where);
      const F ddt = multiplyAdd(u, dinput, load(steps.ddelta, where)) * load(steps.stepSlope, where);
      dskip.part[q] = multiplyAdd(dpre, u, dskip.part[q]);
      dbias.part[q] += ddt;
      store(steps.ddelta, where, ddt);
      store(steps.dinput, where, multiplyAdd(dpre, skip.part[q], load(steps.delta, where) * dinput));
      if (scan.z) store(steps.sum, where, load(steps.dgate, where) * load(steps.sum, where));
    }
  }
  store16(dskipAt, dskip);
  store16(dbiasAt, dbias);
  storePositions(scan.ddt, positions, group, steps.ddelta);
  storePositions(scan.du, positions, group, steps.dinput);
  if (scan.z && scan.dz) storePositions(scan.dz, positions, group, steps.sum);
}

/** Sums over the set's channels of a block of states, to rows of [2, n] in shared scratch. */
inline void writeBlockSums(const Positions& positions, int64_t block, int64_t n, const float* channelSums, float* sums) {
  const int64_t states = n - block < BLOCK ? n - block : BLOCK;
  for (int64_t i = 0; i < positions.count; i++, channelSums += SUMS) {
    float* out = sums + positions.at[i] * 2 * n + block;
    for (int64_t s = 0; s < states; s++) {
      out[s] = channelSums[s];
      out[n + s] = channelSums[BLOCK + s];
    }
  }
}

/**
 * The first `count` groups of a set in one chunk, states of its first position given. `sums`: rows of [2, n]; `next`: the
 * first row of the chunk before, which comes next.
 */
inline void chunkBack(const BackwardScan& scan, const Positions& positions, int64_t next, int64_t firstGroup,
                      int64_t count, const BackwardRoom& room, float* sums) {
  for (int64_t g = 0; g < count; g++) {
    prepareGradients(scan, positions, groupOf(scan, firstGroup + g), room.stepsOf(g));
  }
  for (int64_t block = 0, walk = 0; block < scan.states; block += BLOCK) {
    __builtin_memset(room.channelSums, 0, size_t(positions.count * SUMS) * 4);
    for (int64_t g = 0; g < count; g++) {
      const Steps steps = room.stepsOf(g);
      const bool isNear = areDecaysNear(room.largestRate[g], steps.delta, positions.count);
      // Each pair of walks, one tensor of one group comes into the cache.
      const Matrix* const ahead[] = {&scan.dt, &scan.u, &scan.dy, &scan.z};
      for (int q = 0; q < WIDTH; q += LANES, walk++) {
        const int64_t at = (g * scan.states + block) * WIDTH + q;
        const Lines lines = linesOf(*ahead[walk & 3], next, groupOf(scan, firstGroup + walk / 4 % count));
        const auto recompute = isNear ? recomputeBlock<true> : recomputeBlock<false>;
        recompute(positions, block, room.rates + at, room.state + at, steps, q, room.kept, room.channelSums, lines);
        const auto back = scan.da ? walkBlock<true> : walkBlock<false>;
        back(positions, block, room.slopes + at, room.kept, steps, q, room.dh + at, room.da + at, room.channelSums);
      }
    }
    writeBlockSums(positions, block, scan.n, room.channelSums, sums);
  }
  for (int64_t g = 0; g < count; g++) {
    const Group group = groupOf(scan, firstGroup + g);
    finishGradients(scan, positions, group, room.stepsOf(g), room.dskip + g * WIDTH, room.dbias + g * WIDTH);
  }
}

inline void setBack(const BackwardScan& scan, int64_t batch, int64_t set, const BackwardRoom& room, float* shared) {
  const int64_t n = scan.n, size = scan.states * WIDTH, firstGroup = set * scan.groupsPerSet;
  const int64_t left = scan.groups - firstGroup, count = left < scan.groupsPerSet ? left : scan.groupsPerSet;
  for (int64_t g = 0; g < count; g++) {
    const Group group = groupOf(scan, firstGroup + g);
    loadStates(scan, scan.a, 0, group, room.slopes + g * size);
    loadRates(scan, group, room.rates + g * size);
    room.largestRate[g] = largestSize(room.rates + g * size, size);
    loadStates(scan, scan.dstateOut, batch * n, group, room.dh + g * size);
  }
  __builtin_memset(room.da, 0, size_t(count * size) * 4);
  __builtin_memset(room.dskip, 0, size_t(count * WIDTH) * 4);
  __builtin_memset(room.dbias, 0, size_t(count * WIDTH) * 4);
  float* channelSums = shared + set * scan.batches * scan.l * 2 * n;
  Positions positions(room.positions, scan.stretch(), scan);
  for (int64_t chunk = scan.chunks - 1; chunk >= 0; chunk--) {
    const int64_t from = chunk * scan.chunk, to = from + scan.chunk < scan.l ? from + scan.chunk : scan.l;
    positions.find(scan, batch, from, to);
    if (positions.count < to - from) {  // padding gets 0
      __builtin_memset(channelSums + (batch * scan.l + from) * 2 * n, 0, size_t((to - from) * 2 * n) * 4);
    }
    for (int64_t g = 0; g < count; g++) {
      const Group group = groupOf(scan, firstGroup + g);
      loadStates(scan, scan.checkpoints, (batch * scan.chunks + chunk) * n, group, room.state + g * size);
      positions.clearOthers(scan, scan.du, batch, from, to, group);
      positions.clearOthers(scan, scan.ddt, batch, from, to, group);
      if (scan.dz) positions.clearOthers(scan, scan.dz, batch, from, to, group);
    }
    chunkBack(scan, positions, batch * scan.l + from - scan.chunk, firstGroup, count, room, channelSums);
  }
  float* sums = shared + scan.channelSums() + batch * scan.sumsOfBatch();
  const Matrix da = {reinterpret_cast<char*>(sums), scan.d, F32};
  for (int64_t g = 0; g < count; g++) {
    const Group group = groupOf(scan, firstGroup + g);
    if (scan.da) storeRows(da, 0, n, group, room.da + g * size);
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
  const TinyIsZero tiny;
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
      if (scan.da) addBatches(scan, sums, unit, scan.da.floats(unit, 0));
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
