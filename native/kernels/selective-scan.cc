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
#include "kernels.h"
#include "scan-backward.h"
#include "scan-common.h"

namespace krait {
namespace KRAIT_VARIANT {
namespace {

constexpr int64_t STRETCH = 32;  // positions
constexpr int64_t MOST_GROUPS = 4;  // groups of 16 channels in a unit
constexpr int64_t ENOUGH_UNITS = 16;

struct ForwardScan : Scan {
  Matrix stateIn, y, stateOut, checkpoints;
  int64_t unitGroups, unitsOfBatch;

  explicit ForwardScan(const Command& cmd) : Scan(cmd) {
    stateIn = matrix(cmd, 9), y = matrix(cmd, 10), stateOut = matrix(cmd, 11), checkpoints = matrix(cmd, 12);
    unitGroups = MOST_GROUPS;  // fewer if there would be too little to share between threads
    while (unitGroups > 1 && batches * ceilDiv(groups, unitGroups) < ENOUGH_UNITS) unitGroups /= 2;
    unitsOfBatch = ceilDiv(groups, unitGroups);
  }
};

/** Of each group of a unit: rates and state [n, 16]. Of the group at work: steps and outputs [STRETCH, 16]. */
struct ForwardRoom {
  float *rates, *state, *delta, *input, *sum;
  char* positions;

  static size_t bytes(int64_t n) {
    return Positions::bytes(STRETCH, n) + size_t(2 * MOST_GROUPS * n + 3 * STRETCH) * WIDTH * 4;
  }
  ForwardRoom(void* from, int64_t n) {
    rates = static_cast<float*>(from);
    state = rates + MOST_GROUPS * n * WIDTH;
    delta = state + MOST_GROUPS * n * WIDTH;
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
  plan->thread_scratch = ForwardRoom::bytes(scan.n);
  return checkTypes(cmd, "hhfhhfhfifhff");
}

/** delta and delta u of every position. */
void prepareSteps(const ForwardScan& scan, const Positions& positions, Group group, const ForwardRoom& room) {
  loadPositions(scan.dt, positions, group, room.delta);
  loadPositions(scan.u, positions, group, room.input);
  addBias(scan, group, positions.count, room.delta);
  if (scan.hasSoftplus) decaySizes(room.delta, positions.count * WIDTH, room.sum);
  eachVector(positions.count * WIDTH, [&](auto where) {
    const F raw = load(room.delta, where);
    const F delta = scan.hasSoftplus ? softplus(raw, load(room.sum, where)) : raw;
    store(room.delta, where, delta);
    store(room.input, where, load(room.input, where) * delta);
  });
}

/** The recurrence along positions; N is n where it is known. */
template <int N, bool isNear>
void recur(int64_t n, const Positions& positions, const float* rates, float* state, const ForwardRoom& room) {
  if (N) n = N;
  for (int64_t i = 0; i < positions.count; i++) {
    if (positions.isReset[i]) __builtin_memset(state, 0, size_t(n) * WIDTH * 4);
    const Lanes16 delta = load16(room.delta + i * WIDTH), input = load16(room.input + i * WIDTH);
    const float *b = positions.b[i], *c = positions.c[i];
    Lanes16 sum = splat16(0);
    for (int64_t j = 0; j < n; j++) {
      for (int q = 0; q < PARTS; q++) {
        const Whole where = {j * WIDTH + q * LANES};
        const F decay = decayOf<isNear>(delta.part[q] * load(rates, where));
        const F next = decay * load(state, where) + input.part[q] * b[j];
        store(state, where, next);
        sum.part[q] += next * c[j];
      }
    }
    store16(room.sum + i * WIDTH, sum);
  }
}

template <int N>
void recurFor(int64_t n, const Positions& positions, const float* rates, float* state, const ForwardRoom& room) {
  if (areDecaysNear(rates, n, room.delta, positions.count)) {
    recur<N, true>(n, positions, rates, state, room);
  } else {
    recur<N, false>(n, positions, rates, state, room);
  }
}

/** y of every position. Steps and inputs are not needed any more: their memory serves as room. */
void finishOutputs(const ForwardScan& scan, const Positions& positions, Group group, const ForwardRoom& room) {
  if (scan.skip) {
    const Lanes16 skip = loadVector16(scan.skip, group);
    loadPositions(scan.u, positions, group, room.delta);
    for (int64_t i = 0; i < positions.count; i++) {
      const Lanes16 u = load16(room.delta + i * WIDTH), sum = load16(room.sum + i * WIDTH);
      store16(room.sum + i * WIDTH, map16([&](int q) { return sum.part[q] + skip.part[q] * u.part[q]; }));
    }
  }
  if (scan.z) {
    loadPositions(scan.z, positions, group, room.delta);
    decaySizes(room.delta, positions.count * WIDTH, room.input);
    eachVector(positions.count * WIDTH, [&](auto where) {
      store(room.sum, where, load(room.sum, where) * silu(load(room.delta, where), load(room.input, where)));
    });
  }
  storePositions(scan.y, positions, group, room.sum);
}

/**
 * One position of `count` whole groups without copies of a and the state: for decoding, token by token. Steps, inputs
 * and sums are [count, 16].
 */
void stepOnce(const ForwardScan& scan, const Positions& positions, int64_t batch, int64_t firstGroup, int64_t count,
              const ForwardRoom& room) {
  const int64_t first = firstGroup * WIDTH, channels = count * WIDTH;
  __builtin_memset(room.sum, 0, size_t(channels) * 4);
  for (int64_t j = 0; j < scan.n; j++) {
    const int64_t row = batch * scan.n + j;
    const float *a = scan.a.floats(j, first), b = positions.b[0][j], c = positions.c[0][j];
    const float* before = positions.isReset[0] || !scan.stateIn ? nullptr : scan.stateIn.floats(row, first);
    float* after = scan.stateOut ? scan.stateOut.floats(row, first) : room.state;
    for (int64_t at = 0; at < channels; at += LANES) {
      const Whole where = {at};
      F next = load(room.input, where) * b;
      if (before) next = powerOf2(load(room.delta, where) * rateOf(load(a, where))) * load(before, where) + next;
      store(after, where, next);
      store(room.sum, where, load(room.sum, where) + next * c);
    }
  }
}

/** Positions from .. to-1 of one group. */
void scanStretch(const ForwardScan& scan, const Positions& positions, Group group, const float* rates, float* state,
                 const ForwardRoom& room) {
  prepareSteps(scan, positions, group, room);
  if (scan.n == 16) {
    recurFor<16>(scan.n, positions, rates, state, room);
  } else if (scan.n == 8) {
    recurFor<8>(scan.n, positions, rates, state, room);
  } else {
    recurFor<0>(scan.n, positions, rates, state, room);
  }
  finishOutputs(scan, positions, group, room);
}

/** A unit of one position, which is not padding, and whole groups. */
void stepUnit(const ForwardScan& scan, const Positions& positions, int64_t batch, int64_t firstGroup, int64_t count,
              const ForwardRoom& room) {
  const auto roomOf = [&](int64_t g) {
    ForwardRoom own = room;
    own.delta += g * WIDTH, own.input += g * WIDTH, own.sum += g * WIDTH;
    return own;
  };
  for (int64_t g = 0; g < count; g++) prepareSteps(scan, positions, groupOf(scan, firstGroup + g), roomOf(g));
  stepOnce(scan, positions, batch, firstGroup, count, room);
  for (int64_t g = 0; g < count; g++) finishOutputs(scan, positions, groupOf(scan, firstGroup + g), roomOf(g));
}

void scanUnit(const ForwardScan& scan, int64_t batch, int64_t firstGroup, const ForwardRoom& room) {
  const int64_t n = scan.n, size = n * WIDTH;
  const int64_t left = scan.groups - firstGroup, count = left < scan.unitGroups ? left : scan.unitGroups;
  Positions positions(room.positions, STRETCH, n);
  const auto groupAt = [&](int64_t g) { return groupOf(scan, firstGroup + g); };
  if (scan.l == 1 && !scan.checkpoints && groupAt(count - 1).count == WIDTH) {
    positions.find(scan, batch, 0, 1);
    if (positions.count == 1) return stepUnit(scan, positions, batch, firstGroup, count, room);
  }
  for (int64_t g = 0; g < count; g++) {
    loadRates(scan, groupAt(g), room.rates + g * size);
    loadRows(scan.stateIn, batch * n, n, groupAt(g), room.state + g * size);
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
      scanStretch(scan, positions, groupAt(g), room.rates + g * size, state, room);
      positions.clearOthers(scan, scan.y, batch, from, to, groupAt(g));
    }
  }
  for (int64_t g = 0; g < count && scan.stateOut; g++) {
    storeRows(scan.stateOut, batch * n, n, groupAt(g), room.state + g * size);
  }
}

void runSelectiveScan(const Command& cmd, int, int64_t begin, int64_t end, void* scratch, void*) {
  const ForwardScan scan(cmd);
  const ForwardRoom room(scratch, scan.n);
  for (int64_t unit = begin; unit < end; unit++) {
    scanUnit(scan, unit / scan.unitsOfBatch, unit % scan.unitsOfBatch * scan.unitGroups, room);
  }
}

}  // namespace

const Kernel kSelectiveScan = {"selective_scan", planSelectiveScan, runSelectiveScan};
const Kernel kSelectiveScanBwd = {"selective_scan_bwd", planSelectiveScanBwd, runSelectiveScanBwd};

}  // namespace KRAIT_VARIANT
}  // namespace krait
