// What the two directions of the selective scan share: arguments, groups of channels, positions without padding.
// The kernels work on groups of 16 channels, one lane each, and on states in blocks of four: the number of states is
// filled up with states whose b and c are 0. In registers, a block of a vector of channels is walked over a stretch.
// Included by selective-scan.cc alone, with fused multiply-adds.
#pragma once
#include "load.h"
#include "math.h"
#include "tiny-is-zero.h"

namespace krait {
namespace KRAIT_VARIANT {
namespace {

/** States that are walked together: as many as leave registers for all else. */
constexpr int BLOCK = 4;

struct Scan {
  Matrix u, dt, a, b, c, skip, z, bias, flags;
  int64_t batches, l, d, n, chunk, chunks, groups;
  int64_t states;  // n filled up
  bool hasSoftplus;

  explicit Scan(const Command& cmd) {
    const auto m = [&](int i) { return matrix(cmd, i); };
    u = m(0), dt = m(1), a = m(2), b = m(3), c = m(4), skip = m(5), z = m(6), bias = m(7), flags = m(8);
    batches = dim(cmd, 0), l = dim(cmd, 1), d = dim(cmd, 2), n = dim(cmd, 3), chunk = dim(cmd, 4);
    if (chunk < 1) chunk = 1;
    chunks = ceilDiv(l, chunk);
    groups = ceilDiv(d, WIDTH);
    states = ceilDiv(n, BLOCK) * BLOCK;
    hasSoftplus = cmd.dims[5] != 0;
  }
};

// ---- 16 channels of a row ------------------------------------------------------------------------------------------

KRAIT_INLINE Lanes16 load16(const float* from) {
  Lanes16 lanes;
  for (int q = 0; q < PARTS; q++) lanes.part[q] = loadVector<F>(from + q * LANES);
  return lanes;
}
KRAIT_INLINE void store16(float* to, const Lanes16& lanes) {
  for (int q = 0; q < PARTS; q++) store(to, Whole{q * LANES}, lanes.part[q]);
}
template <class Function>
KRAIT_INLINE Lanes16 map16(Function f) {
  Lanes16 lanes;
  for (int q = 0; q < PARTS; q++) lanes.part[q] = f(q);
  return lanes;
}

/** Channels first .. first+count-1, count <= 16. */
struct Group {
  int64_t first;
  int count;
};
inline Group groupOf(const Scan& scan, int64_t index) {
  const int64_t first = index * WIDTH, left = scan.d - first;
  return {first, left < WIDTH ? int(left) : WIDTH};
}

template <int T>
KRAIT_INLINE Lanes16 load16As(const void* from) {
  return map16([&](int q) { return loadAs<T>(from, Whole{q * LANES}); });
}
template <int T>
KRAIT_INLINE void store16As(void* to, const Lanes16& lanes) {
  for (int q = 0; q < PARTS; q++) storeAs<T>(to, Whole{q * LANES}, lanes.part[q]);
}

/** The group's channels of a row, to or from 16 floats; lanes without a channel get 0. */
inline void loadRow(const Matrix& m, int64_t row, Group group, float* to) {
  toFloats(m.type, m.at(row, group.first), group.count, to);
  for (int i = group.count; i < WIDTH; i++) to[i] = 0;
}
inline void storeRow(const Matrix& m, int64_t row, Group group, const float* from) {
  fromFloats(m.type, from, group.count, m.at(row, group.first));
}

/** Rows firstRow .. firstRow+n-1 of the group, as [n, 16]; zeros if the matrix is absent. */
inline void loadRows(const Matrix& m, int64_t firstRow, int64_t n, Group group, float* to) {
  if (!m) __builtin_memset(to, 0, size_t(n) * WIDTH * 4);
  for (int64_t j = 0; m && j < n; j++) loadRow(m, firstRow + j, group, to + j * WIDTH);
}
/** The same, a row for each state, filled up with zeros. */
inline void loadStates(const Scan& scan, const Matrix& m, int64_t firstRow, Group group, float* to) {
  loadRows(m, firstRow, scan.n, group, to);
  __builtin_memset(to + scan.n * WIDTH, 0, size_t(scan.states - scan.n) * WIDTH * 4);
}
inline void storeRows(const Matrix& m, int64_t firstRow, int64_t n, Group group, const float* from) {
  for (int64_t j = 0; j < n; j++) storeRow(m, firstRow + j, group, from + j * WIDTH);
}

/** a log2(e), as powerOf2 wants it: a NaN keeps no payload. */
KRAIT_INLINE F rateOf(F a) {
  const F rate = a * LOG2E;
  return select(rate != rate, splat(__builtin_nanf("")), rate);
}
inline void loadRates(const Scan& scan, Group group, float* to) {
  loadStates(scan, scan.a, 0, group, to);
  eachVector(scan.states * WIDTH, [&](auto where) { store(to, where, rateOf(load(to, where))); });
}

/** Largest size of n numbers, n a multiple of LANES; NaN is not seen. */
inline float largestSize(const float* x, int64_t n) {
  F most = splat(0);
  for (int64_t i = 0; i < n; i += LANES) most = larger(most, absolute(loadVector<F>(x + i)));
  float size = 0;
  for (int i = 0; i < LANES; i++) size = most[i] > size ? most[i] : size;
  return size;
}

/**
 * Whether every product of a rate and a step is small enough for powerOf2Near, which gives what powerOf2 gives: nearly
 * always, and then a scan takes a quarter less time. `largestRate` is the size of the group's largest rate.
 */
inline bool areDecaysNear(float largestRate, const float* delta, int64_t positions) {
  return largestRate * largestSize(delta, positions * WIDTH) < 126.0f;
}

template <bool isNear>
KRAIT_INLINE F decayOf(F exponent) {
  return isNear ? powerOf2Near(exponent) : powerOf2(exponent);
}

/** Positions whose decays are computed in a row, then used: two short chains of operations keep a processor busy. */
constexpr int AT_ONCE = 4;

/** Decays of a block of states of LANES channels at `count` positions, [BLOCK, LANES] every `step` floats. */
template <bool isNear>
KRAIT_INLINE void computeDecays(const float* delta, int64_t count, const float* rates, float* decays, int64_t step) {
  F rate[BLOCK];
  for (int s = 0; s < BLOCK; s++) rate[s] = load(rates, Whole{s * WIDTH});
  for (int64_t i = 0; i < count; i++, delta += WIDTH, decays += step) {
    const F size = load(delta, Whole{0});
    for (int s = 0; s < BLOCK; s++) store(decays, Whole{s * LANES}, decayOf<isNear>(size * rate[s]));
  }
}

// ---- Positions -----------------------------------------------------------------------------------------------------

/** The positions of a stretch that are not padding, with their rows of b and c as f32, [count, states]. */
struct Positions {
  int64_t count, states;
  int64_t* at;  // row of each: batch * l + position
  float *b, *c;
  uint8_t* isReset;

  static size_t bytes(int64_t most, int64_t states) { return rounded64(size_t(most) * (16 + size_t(states) * 8)); }

  /** Takes its memory from `from`. */
  Positions(char* from, int64_t most, const Scan& scan) : count(0), states(scan.states) {
    at = reinterpret_cast<int64_t*>(from);
    b = reinterpret_cast<float*>(at + most);
    c = b + most * states;
    isReset = reinterpret_cast<uint8_t*>(c + most * states);
    __builtin_memset(b, 0, size_t(most * states) * 8);
  }

  /** Positions from .. to-1 of a batch. */
  void find(const Scan& scan, int64_t batch, int64_t from, int64_t to) {
    count = 0;
    for (int64_t t = from; t < to; t++) {
      const int flag = scan.flags ? *scan.flags.ints(batch, t) : 0;
      if (flag & PAD) continue;
      const int64_t row = batch * scan.l + t;
      at[count] = row;
      isReset[count] = flag & RESET;
      toFloats(scan.b.type, scan.b.at(row, 0), scan.n, b + count * states);
      toFloats(scan.c.type, scan.c.at(row, 0), scan.n, c + count * states);
      count++;
    }
  }

  /** Writes 0 to the positions from .. to-1 that were left out. */
  void clearOthers(const Scan& scan, const Matrix& m, int64_t batch, int64_t from, int64_t to, Group group) const {
    int64_t i = 0;
    for (int64_t row = batch * scan.l + from; row < batch * scan.l + to && count < to - from; row++) {
      if (i < count && at[i] == row) {
        i++;
      } else {
        __builtin_memset(m.at(row, group.first), 0, size_t(group.count * bytesOf(m.type)));
      }
    }
  }
};

// ---- Memory that is needed soon ----------------------------------------------------------------------------------------

/** A group's channels in rows of a tensor, a line of a cache each. Rows are far apart: processors do not see them coming. */
struct Lines {
  const char* first;
  int64_t step;

  void fetch(int64_t i) const { __builtin_prefetch(first + i * step); }
};
/** Of the rows from `row`; of an absent tensor, and beyond the end, any memory will do. */
inline Lines linesOf(const Matrix& m, int64_t row, Group group) {
  return {m ? m.at(row, group.first) : nullptr, m ? m.ld * bytesOf(m.type) : 0};
}

// ---- Passes over the positions of a stretch, for one group: [count, 16]. Several passes with short chains of
// operations keep the processor busier than one with long chains.

template <int T>
void loadWhole(const Matrix& m, const Positions& positions, Group group, float* to) {
  for (int64_t i = 0; i < positions.count; i++) {
    store16(to + i * WIDTH, load16As<T>(m.at(positions.at[i], group.first)));
  }
}
inline void loadPositions(const Matrix& m, const Positions& positions, Group group, float* to) {
  if (group.count < WIDTH) {
    for (int64_t i = 0; i < positions.count; i++) loadRow(m, positions.at[i], group, to + i * WIDTH);
  } else if (m.type == F32) {
    loadWhole<F32>(m, positions, group, to);
  } else if (m.type == BF16) {
    loadWhole<BF16>(m, positions, group, to);
  } else {
    loadWhole<F16>(m, positions, group, to);
  }
}

template <int T>
void storeWhole(const Matrix& m, const Positions& positions, Group group, const float* from) {
  for (int64_t i = 0; i < positions.count; i++) {
    store16As<T>(m.at(positions.at[i], group.first), load16(from + i * WIDTH));
  }
}
inline void storePositions(const Matrix& m, const Positions& positions, Group group, const float* from) {
  if (group.count < WIDTH) {
    for (int64_t i = 0; i < positions.count; i++) storeRow(m, positions.at[i], group, from + i * WIDTH);
  } else if (m.type == F32) {
    storeWhole<F32>(m, positions, group, from);
  } else if (m.type == BF16) {
    storeWhole<BF16>(m, positions, group, from);
  } else {
    storeWhole<F16>(m, positions, group, from);
  }
}

/** The group's part of a row vector, zeros if it is absent. */
inline Lanes16 loadVector16(const Matrix& m, Group group) {
  alignas(64) float lanes[WIDTH];
  loadRows(m, 0, 1, group, lanes);
  return load16(lanes);
}

/** x += bias in every position. */
inline void addBias(const Scan& scan, Group group, int64_t count, float* x) {
  if (!scan.bias) return;
  const Lanes16 bias = loadVector16(scan.bias, group);
  for (int64_t i = 0; i < count; i++) {
    const Lanes16 before = load16(x + i * WIDTH);
    store16(x + i * WIDTH, map16([&](int q) { return before.part[q] + bias.part[q]; }));
  }
}

}  // namespace
}  // namespace KRAIT_VARIANT
}  // namespace krait
