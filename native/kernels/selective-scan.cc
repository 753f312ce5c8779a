// Selective scan (S6), for each batch and channel, with a state h of n numbers:
//   raw = dt + dtBias;  delta = softplus(raw) or raw
//   h[t] = exp(delta a) h[t-1] + delta u[t] b[t]
//   y[t] = (sum_n c[t] h[t] + skip u[t]) silu(z[t])
// A reset sets h to 0 before its position; padding is skipped as if it were not there, and gets 0. A checkpoint is the
// state that the first position of a chunk is handed, before its own reset.
// Source: Gu and Dao 2023, "Mamba", algorithm 2; b is discretised by Euler's rule as in the authors' kernel.
//
// A unit is up to 64 channels of one batch. It walks along the sequence in stretches that stay in the first-level
// cache: steps for all positions, then the recurrence (nearly all of the time: one e^x for each number of the state),
// then gates.
#define KRAIT_FUSE  // scans are bound by arithmetic
#include "kernels.h"
#include "scan-backward.h"
#include "scan-common.h"

namespace krait {
namespace KRAIT_VARIANT {
namespace {

constexpr int64_t STRETCH = 32;  // positions
// Groups of 16 channels in a unit, and units that are enough to share; of one position, which reads rows of rates and states
// that lie far apart, longer pieces of each row.
constexpr int64_t GROUPS_OF_UNIT = 4, ENOUGH_UNITS = 16, MOST_GROUPS = 16, ENOUGH_STEPS = 4;

struct ForwardScan : Scan {
  Matrix stateIn, y, stateOut, checkpoints;
  int64_t unitGroups, unitsOfBatch;

  explicit ForwardScan(const Command& cmd) : Scan(cmd) {
    stateIn = matrix(cmd, 9), y = matrix(cmd, 10), stateOut = matrix(cmd, 11), checkpoints = matrix(cmd, 12);
    unitGroups = l == 1 ? MOST_GROUPS : GROUPS_OF_UNIT;  // fewer if there would be too little to share
    const int64_t enough = l == 1 ? ENOUGH_STEPS : ENOUGH_UNITS;
    while (unitGroups > 1 && batches * ceilDiv(groups, unitGroups) < enough) unitGroups /= 2;
    unitsOfBatch = ceilDiv(groups, unitGroups);
  }
};

/** Of each group of a unit: rates and state [states, 16]. Of the group at work: steps and outputs [STRETCH, 16]. */
struct ForwardRoom {
  float *rates, *state, *delta, *input, *sum;
  char* positions;

  static size_t bytes(int64_t states) {
    return Positions::bytes(STRETCH, states) + size_t(2 * MOST_GROUPS * states + 3 * STRETCH) * WIDTH * 4;
  }
  ForwardRoom(void* from, int64_t states) {
    rates = static_cast<float*>(from);
    state = rates + MOST_GROUPS * states * WIDTH;
    delta = state + MOST_GROUPS * states * WIDTH;
    input = delta + STRETCH * WIDTH;
    sum = input + STRETCH * WIDTH;
    positions = reinterpret_cast<char*>(sum + STRETCH * WIDTH);
  }
};

int planSelectiveScan(const Command& cmd, Plan* plan) {
  const ForwardScan scan(cmd);
  *plan = Plan();
  const int64_t channels = scan.unitGroups * WIDTH;
  planUnits(plan, 0, scan.batches * scan.unitsOfBatch, scan.l * channels * (scan.n + 4) * 2);
  plan->thread_scratch = ForwardRoom::bytes(scan.states);
  return checkTypes(cmd, "hhfhhfhfifhff");
}

/** delta and delta u of every position, and what u adds to the sum. */
void prepareSteps(const ForwardScan& scan, const Positions& positions, Group group, const ForwardRoom& room) {
  loadPositions(scan.dt, positions, group, room.delta);
  loadPositions(scan.u, positions, group, room.input);
  addBias(scan, group, positions.count, room.delta);
  if (scan.hasSoftplus) decaySizes(room.delta, positions.count * WIDTH, room.sum);
  const Lanes16 skip = loadVector16(scan.skip, group);
  for (int64_t i = 0; i < positions.count; i++) {
    for (int q = 0; q < PARTS; q++) {
      const Whole where = {i * WIDTH + q * LANES};
      const F raw = load(room.delta, where), u = load(room.input, where);
      const F delta = scan.hasSoftplus ? softplus(raw, load(room.sum, where)) : raw;
      store(room.delta, where, delta);
      store(room.input, where, u * delta);
      store(room.sum, where, u * skip.part[q]);
    }
  }
}

/**
 * The recurrence of a block of states of LANES channels along positions. Rates and state are rows of 16. On the way,
 * lines that will be needed are fetched.
 */
template <bool isNear>
void recurBlock(const Positions& positions, int64_t block, const float* rates, float* state, const float* delta,
                const float* input, float* sum, Lines ahead) {
  F h[BLOCK];
  for (int s = 0; s < BLOCK; s++) h[s] = load(state, Whole{s * WIDTH});
  const float *b = positions.b + block, *c = positions.c + block;
  alignas(64) float decays[AT_ONCE * BLOCK * LANES];
  for (int64_t from = 0; from < positions.count; from += AT_ONCE) {
    const int64_t count = positions.count - from < AT_ONCE ? positions.count - from : AT_ONCE;
    computeDecays<isNear>(delta + from * WIDTH, count, rates, decays, BLOCK * LANES);
    const float* decay = decays;
    for (int64_t i = from; i < from + count; i++, b += positions.states, c += positions.states) {
      for (int s = 0; s < BLOCK && positions.isReset[i]; s++) h[s] = splat(0);
      const Whole where = {i * WIDTH};
      ahead.fetch(i);
      const F added = load(input, where);
      F total = load(sum, where);
      for (int s = 0; s < BLOCK; s++, decay += LANES) {
        h[s] = multiplyAdd(load(decay, Whole{0}), h[s], added * b[s]);
        total = multiplyAdd(h[s], splat(c[s]), total);
      }
      store(sum, where, total);
    }
  }
  for (int s = 0; s < BLOCK; s++) store(state, Whole{s * WIDTH}, h[s]);
}

/** `ahead`: what the group reads in the next stretch. */
template <bool isNear>
void recur(const Positions& positions, const float* rates, float* state, const ForwardRoom& room,
           const Lines (&ahead)[3]) {
  int walk = 0;
  for (int q = 0; q < WIDTH; q += LANES) {
    for (int64_t block = 0; block < positions.states; block += BLOCK, walk++) {
      const int64_t at = block * WIDTH + q;
      recurBlock<isNear>(positions, block, rates + at, state + at, room.delta + q, room.input + q, room.sum + q,
                         ahead[walk % 3]);
    }
  }
}

/** Sums times silu(z): z and e^-|z| stand in place of steps and inputs. */
void gateSums(const ForwardRoom& room, int64_t count) {
  eachVector(count, [&](auto where) {
    store(room.sum, where, load(room.sum, where) * silu(load(room.delta, where), load(room.input, where)));
  });
}

/** y of every position. Steps and inputs are not needed any more: their memory serves as room. */
void finishOutputs(const ForwardScan& scan, const Positions& positions, Group group, const ForwardRoom& room) {
  if (scan.z) {
    loadPositions(scan.z, positions, group, room.delta);
    decaySizes(room.delta, positions.count * WIDTH, room.input);
    gateSums(room, positions.count * WIDTH);
  }
  storePositions(scan.y, positions, group, room.sum);
}

/** Rates and states of one row of the state for one position: the row's place in each, null where it is absent. */
struct StateRow {
  const float *a, *before;
  float* after;

  StateRow(const ForwardScan& scan, const Positions& positions, int64_t batch, int64_t j, Group group, float* room) {
    const int64_t row = batch * scan.n + j;
    a = scan.a.floats(j, group.first);
    before = positions.isReset[0] || !scan.stateIn ? nullptr : scan.stateIn.floats(row, group.first);
    after = scan.stateOut ? scan.stateOut.floats(row, group.first) : room;
  }
  void fetch(int64_t at) const {
    __builtin_prefetch(a + at);
    if (before) __builtin_prefetch(before + at);
    __builtin_prefetch(after + at, 1);
  }
};

/** Steps, inputs and what u adds to the sums, of whole groups together. `spare`: room for their channels. */
void prepareStep(const ForwardScan& scan, int64_t row, Group group, const ForwardRoom& room, float* spare) {
  loadRow(scan.dt, row, group, room.delta);
  loadRow(scan.u, row, group, room.input);
  loadRows(scan.skip, 0, 1, group, room.sum);
  if (scan.bias) {
    loadRow(scan.bias, 0, group, spare);
    eachVector(group.count, [&](auto where) { store(room.delta, where, load(room.delta, where) + load(spare, where)); });
  }
  if (scan.hasSoftplus) decaySizes(room.delta, group.count, spare);
  eachVector(group.count, [&](auto where) {
    const F raw = load(room.delta, where), u = load(room.input, where);
    const F delta = scan.hasSoftplus ? softplus(raw, load(spare, where)) : raw;
    store(room.delta, where, delta);
    store(room.input, where, u * delta);
    store(room.sum, where, u * load(room.sum, where));
  });
}

/** One position, which is not padding, of whole groups without copies of a and the state: for decoding, token by token. */
void stepUnit(const ForwardScan& scan, const Positions& positions, int64_t batch, Group group, const ForwardRoom& room) {
  const int64_t position = positions.at[0];
  const auto rowAt = [&](int64_t j) { return StateRow(scan, positions, batch, j, group, room.state); };
  for (int64_t at = 0; at < group.count; at += LANES) rowAt(0).fetch(at);
  prepareStep(scan, position, group, room, room.rates);
  for (int64_t j = 0; j < scan.n; j++) {
    const StateRow row = rowAt(j), next = rowAt(j + 1 < scan.n ? j + 1 : j);
    const float b = positions.b[j], c = positions.c[j];
    for (int64_t at = 0; at < group.count; at += LANES) {
      const Whole where = {at};
      next.fetch(at);
      F state = load(room.input, where) * b;
      if (row.before) {
        const F decay = powerOf2(load(room.delta, where) * rateOf(load(row.a, where)));
        state = multiplyAdd(decay, load(row.before, where), state);
      }
      store(row.after, where, state);
      store(room.sum, where, multiplyAdd(state, splat(c), load(room.sum, where)));
    }
  }
  if (scan.z) {
    loadRow(scan.z, position, group, room.delta);
    decaySizes(room.delta, group.count, room.input);
    gateSums(room, group.count);
  }
  storeRow(scan.y, position, group, room.sum);
}

/** The positions of one group; `next` is the row after the stretch. */
void scanStretch(const ForwardScan& scan, const Positions& positions, int64_t next, Group group, const float* rates,
                 float* state, float largestRate, const ForwardRoom& room) {
  prepareSteps(scan, positions, group, room);
  const Lines ahead[3] = {linesOf(scan.dt, next, group), linesOf(scan.u, next, group), linesOf(scan.z, next, group)};
  if (areDecaysNear(largestRate, room.delta, positions.count)) {
    recur<true>(positions, rates, state, room, ahead);
  } else {
    recur<false>(positions, rates, state, room, ahead);
  }
  finishOutputs(scan, positions, group, room);
}

void scanUnit(const ForwardScan& scan, int64_t batch, int64_t firstGroup, const ForwardRoom& room) {
  const int64_t n = scan.n, size = scan.states * WIDTH;
  const int64_t left = scan.groups - firstGroup, count = left < scan.unitGroups ? left : scan.unitGroups;
  Positions positions(room.positions, STRETCH, scan);
  float largestRate[MOST_GROUPS];
  const auto groupAt = [&](int64_t g) { return groupOf(scan, firstGroup + g); };
  if (scan.l == 1 && !scan.checkpoints && groupAt(count - 1).count == WIDTH) {
    positions.find(scan, batch, 0, 1);
    if (positions.count == 1) return stepUnit(scan, positions, batch, {firstGroup * WIDTH, int(count * WIDTH)}, room);
  }
  for (int64_t g = 0; g < count; g++) {
    loadRates(scan, groupAt(g), room.rates + g * size);
    largestRate[g] = largestSize(room.rates + g * size, size);
    loadStates(scan, scan.stateIn, batch * n, groupAt(g), room.state + g * size);
  }
  for (int64_t from = 0, to; from < scan.l; from = to) {
    to = (from / scan.chunk + 1) * scan.chunk;
    if (to > from + STRETCH) to = from + STRETCH;
    if (to > scan.l) to = scan.l;
    positions.find(scan, batch, from, to);
    for (int64_t g = 0; g < count; g++) {
      float* state = room.state + g * size;
      if (scan.checkpoints && from % scan.chunk == 0) {
        storeRows(scan.checkpoints, (batch * scan.chunks + from / scan.chunk) * n, n, groupAt(g), state);
      }
      scanStretch(scan, positions, batch * scan.l + to, groupAt(g), room.rates + g * size, state, largestRate[g], room);
      positions.clearOthers(scan, scan.y, batch, from, to, groupAt(g));
    }
  }
  for (int64_t g = 0; g < count && scan.stateOut; g++) {
    storeRows(scan.stateOut, batch * n, n, groupAt(g), room.state + g * size);
  }
}

void runSelectiveScan(const Command& cmd, int, int64_t begin, int64_t end, void* scratch, void*) {
  const TinyIsZero tiny;
  const ForwardScan scan(cmd);
  const ForwardRoom room(scratch, scan.states);
  for (int64_t unit = begin; unit < end; unit++) {
    scanUnit(scan, unit / scan.unitsOfBatch, unit % scan.unitsOfBatch * scan.unitGroups, room);
  }
}

}  // namespace

const Kernel kSelectiveScan = {"selective_scan", planSelectiveScan, runSelectiveScan};
const Kernel kSelectiveScanBwd = {"selective_scan_bwd", planSelectiveScanBwd, runSelectiveScanBwd};

}  // namespace KRAIT_VARIANT
}  // namespace krait
