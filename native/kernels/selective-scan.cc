// Selective scan (S6), for each batch and channel, with a state h of n numbers:
//   raw = dt + dtBias;  delta = softplus(raw) or raw
//   h[t] = exp(delta a) h[t-1] + delta u[t] b[t]
//   y[t] = (sum_n c[t] h[t] + skip u[t]) silu(z[t])
// A reset sets h to 0 before its position; padding is skipped as if it were not there, and gets 0. A checkpoint is the
// state that the first position of a chunk is handed, before its own reset.
// Source: Gu and Dao 2023, "Mamba", algorithm 2; b is discretised by Euler's rule as in the authors' kernel.
//
// A unit is 64 channels of one batch. It walks along the sequence in stretches that stay in the first-level cache:
// steps for all positions, then the recurrence (nearly all of the time: one e^x for each number of the state), then
// gates.
#include "kernels.h"
#include "scan-backward.h"
#include "scan-common.h"

namespace krait {
namespace KRAIT_VARIANT {
namespace {

constexpr int64_t STRETCH = 32;       // positions
constexpr int64_t UNIT_GROUPS = 4;    // groups of 16 channels in a unit

struct ForwardScan : Scan {
  Matrix stateIn, y, stateOut, checkpoints;

  explicit ForwardScan(const Command& cmd) : Scan(cmd) {
    stateIn = matrix(cmd, 9), y = matrix(cmd, 10), stateOut = matrix(cmd, 11), checkpoints = matrix(cmd, 12);
  }
  int64_t unitsOfBatch() const { return ceilDiv(groups, UNIT_GROUPS); }
};

/** Of each group of a unit: rates and state [n, 16]. Of the group at work: steps and outputs [STRETCH, 16]. */
struct ForwardRoom {
  float *rates, *state, *delta, *input, *sum;
  char* positions;

  static size_t bytes(int64_t n) {
    return Positions::bytes(STRETCH, n) + size_t(2 * UNIT_GROUPS * n + 3 * STRETCH) * WIDTH * 4;
  }
  ForwardRoom(void* from, int64_t n) {
    rates = static_cast<float*>(from);
    state = rates + UNIT_GROUPS * n * WIDTH;
    delta = state + UNIT_GROUPS * n * WIDTH;
    input = delta + STRETCH * WIDTH;
    sum = input + STRETCH * WIDTH;
    positions = reinterpret_cast<char*>(sum + STRETCH * WIDTH);
  }
};

int planSelectiveScan(const Command& cmd, Plan* plan) {
  const ForwardScan scan(cmd);
  *plan = Plan();
  const int64_t channels = scan.d < UNIT_GROUPS * WIDTH ? scan.d : UNIT_GROUPS * WIDTH;
  planUnits(plan, 0, scan.batches * scan.unitsOfBatch(), scan.l * channels * (scan.n + 4) * 2);
  plan->thread_scratch = ForwardRoom::bytes(scan.n);
  return checkTypes(cmd, "hhfhhfhfifhff");
}

/** delta and delta u of every position. */
void prepareSteps(const ForwardScan& scan, const Positions& positions, Group group, const ForwardRoom& room) {
  const Lanes16 bias = scan.bias ? load16(scan.bias, 0, group) : splat16(0);
  for (int64_t i = 0; i < positions.count; i++) {
    const Lanes16 dt = load16(scan.dt, positions.at[i], group), u = load16(scan.u, positions.at[i], group);
    const Lanes16 delta = map16([&](int q) {
      const F raw = dt.part[q] + bias.part[q];
      return scan.hasSoftplus ? softplus(raw) : raw;
    });
    store16(room.delta + i * WIDTH, delta);
    store16(room.input + i * WIDTH, map16([&](int q) { return delta.part[q] * u.part[q]; }));
  }
}

/** The recurrence along positions; N is n where it is known. Even and odd states are summed apart. */
template <int N>
void recur(int64_t n, const Positions& positions, const float* rates, float* state, const ForwardRoom& room) {
  if (N) n = N;
  for (int64_t i = 0; i < positions.count; i++) {
    if (positions.isReset[i]) __builtin_memset(state, 0, size_t(n) * WIDTH * 4);
    const Lanes16 delta = load16(room.delta + i * WIDTH), input = load16(room.input + i * WIDTH);
    const float *b = positions.b[i], *c = positions.c[i];
    Lanes16 sums[2] = {splat16(0), splat16(0)};
    const auto step = [&](int64_t j, Lanes16& sum) __attribute__((always_inline)) {
      float* h = state + j * WIDTH;
      for (int q = 0; q < PARTS; q++) {
        const Whole where = {q * LANES};
        const F decay = powerOf2(delta.part[q] * load(rates + j * WIDTH, where));
        const F next = decay * load(h, where) + input.part[q] * b[j];
        store(h, where, next);
        sum.part[q] += next * c[j];
      }
    };
    int64_t j = 0;
    for (; j + 2 <= n; j += 2) {
      step(j, sums[0]);
      step(j + 1, sums[1]);
    }
    if (j < n) step(j, sums[0]);
    store16(room.sum + i * WIDTH, map16([&](int q) { return sums[0].part[q] + sums[1].part[q]; }));
  }
}

/** y of every position. */
void finishOutputs(const ForwardScan& scan, const Positions& positions, Group group, const ForwardRoom& room) {
  const Lanes16 skip = scan.skip ? load16(scan.skip, 0, group) : splat16(0);
  for (int64_t i = 0; i < positions.count; i++) {
    Lanes16 y = load16(room.sum + i * WIDTH);
    if (scan.skip) {
      const Lanes16 u = load16(scan.u, positions.at[i], group);
      for (int q = 0; q < PARTS; q++) y.part[q] += skip.part[q] * u.part[q];
    }
    if (scan.z) {
      const Lanes16 z = load16(scan.z, positions.at[i], group);
      for (int q = 0; q < PARTS; q++) y.part[q] *= silu(z.part[q]);
    }
    store16(scan.y, positions.at[i], group, y);
  }
}

void scanUnit(const ForwardScan& scan, int64_t batch, int64_t firstGroup, const ForwardRoom& room) {
  const int64_t n = scan.n, size = n * WIDTH;
  const int64_t left = scan.groups - firstGroup, count = left < UNIT_GROUPS ? left : UNIT_GROUPS;
  for (int64_t g = 0; g < count; g++) {
    loadRates(scan, groupOf(scan, firstGroup + g), room.rates + g * size);
    loadRows(scan.stateIn, batch * n, n, groupOf(scan, firstGroup + g), room.state + g * size);
  }
  Positions positions(room.positions, STRETCH, n);
  for (int64_t from = 0, to; from < scan.l; from = to) {
    to = (from / scan.chunk + 1) * scan.chunk;
    if (to > from + STRETCH) to = from + STRETCH;
    if (to > scan.l) to = scan.l;
    positions.find(scan, batch, from, to);
    for (int64_t g = 0; g < count; g++) {
      const Group group = groupOf(scan, firstGroup + g);
      float *rates = room.rates + g * size, *state = room.state + g * size;
      if (scan.checkpoints && from % scan.chunk == 0) {
        storeRows(scan.checkpoints, (batch * scan.chunks + from / scan.chunk) * n, n, group, state);
      }
      prepareSteps(scan, positions, group, room);
      if (n == 16) {
        recur<16>(n, positions, rates, state, room);
      } else if (n == 8) {
        recur<8>(n, positions, rates, state, room);
      } else {
        recur<0>(n, positions, rates, state, room);
      }
      finishOutputs(scan, positions, group, room);
      positions.clearOthers(scan, scan.y, batch, from, to, group);
    }
  }
  for (int64_t g = 0; g < count && scan.stateOut; g++) {
    storeRows(scan.stateOut, batch * n, n, groupOf(scan, firstGroup + g), room.state + g * size);
  }
}

void runSelectiveScan(const Command& cmd, int, int64_t begin, int64_t end, void* scratch, void*) {
  const ForwardScan scan(cmd);
  const ForwardRoom room(scratch, scan.n);
  for (int64_t unit = begin; unit < end; unit++) {
    scanUnit(scan, unit / scan.unitsOfBatch(), unit % scan.unitsOfBatch() * UNIT_GROUPS, room);
  }
}

}  // namespace

const Kernel kSelectiveScan = {"selective_scan", planSelectiveScan, runSelectiveScan};
const Kernel kSelectiveScanBwd = {"selective_scan_bwd", planSelectiveScanBwd, runSelectiveScanBwd};

}  // namespace KRAIT_VARIANT
}  // namespace krait
