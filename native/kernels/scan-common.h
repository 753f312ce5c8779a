// What the two directions of the selective scan share: arguments, groups of channels, positions without padding.
// The kernels work on groups of 16 channels, one lane each, so that results do not depend on the register width.
#pragma once
#include "load.h"
#include "math.h"

namespace krait {
namespace KRAIT_VARIANT {
namespace {

struct Scan {
  Matrix u, dt, a, b, c, skip, z, bias, flags;
  int64_t batches, l, d, n, chunk, chunks, groups;
  bool hasSoftplus;

  explicit Scan(const Command& cmd) {
    const auto m = [&](int i) { return matrix(cmd, i); };
    u = m(0), dt = m(1), a = m(2), b = m(3), c = m(4), skip = m(5), z = m(6), bias = m(7), flags = m(8);
    batches = dim(cmd, 0), l = dim(cmd, 1), d = dim(cmd, 2), n = dim(cmd, 3), chunk = dim(cmd, 4);
    if (chunk < 1) chunk = 1;
    chunks = ceilDiv(l, chunk);
    groups = ceilDiv(d, WIDTH);
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

/** The group's channels of a row; lanes without a channel get 0. */
KRAIT_INLINE Lanes16 load16(const Matrix& m, int64_t row, Group group) {
  const char* from = m.at(row, group.first);
  if (group.count == WIDTH) {
    if (m.type == F32) return load16(reinterpret_cast<const float*>(from));
    if (m.type == BF16) return map16([&](int q) { return loadAs<BF16>(from, Whole{q * LANES}); });
    return map16([&](int q) { return loadAs<F16>(from, Whole{q * LANES}); });
  }
  alignas(64) float lanes[WIDTH] = {};
  toFloats(m.type, from, group.count, lanes);
  return load16(lanes);
}
KRAIT_INLINE void store16(const Matrix& m, int64_t row, Group group, const Lanes16& lanes) {
  char* to = m.at(row, group.first);
  if (group.count == WIDTH) {
    for (int q = 0; q < PARTS; q++) {
      const Whole where = {q * LANES};
      if (m.type == F32) storeAs<F32>(to, where, lanes.part[q]);
      if (m.type == BF16) storeAs<BF16>(to, where, lanes.part[q]);
      if (m.type == F16) storeAs<F16>(to, where, lanes.part[q]);
    }
    return;
  }
  alignas(64) float room[WIDTH];
  store16(room, lanes);
  fromFloats(m.type, room, group.count, to);
}

/** Rows firstRow .. firstRow+n-1 of the group, as [n, 16]; zeros if the matrix is absent. */
inline void loadRows(const Matrix& m, int64_t firstRow, int64_t n, Group group, float* to) {
  for (int64_t j = 0; j < n; j++) store16(to + j * WIDTH, m ? load16(m, firstRow + j, group) : splat16(0));
}
inline void storeRows(const Matrix& m, int64_t firstRow, int64_t n, Group group, const float* from) {
  for (int64_t j = 0; j < n; j++) store16(m, firstRow + j, group, load16(from + j * WIDTH));
}

/** a log2(e), as powerOf2 wants it: a NaN keeps no payload. */
inline void loadRates(const Scan& scan, Group group, float* to) {
  loadRows(scan.a, 0, scan.n, group, to);
  for (int64_t i = 0; i < scan.n * WIDTH; i += LANES) {
    const F rate = loadVector<F>(to + i) * LOG2E;
    store(to, Whole{i}, select(rate != rate, splat(__builtin_nanf("")), rate));
  }
}

// ---- Positions -----------------------------------------------------------------------------------------------------

/** The positions of a stretch that are not padding, with their rows of b and c as f32. */
struct Positions {
  int64_t count;
  int64_t* at;          // row of each: batch * l + position
  uint8_t* isReset;
  const float **b, **c;

  static size_t bytes(int64_t most, int64_t n) { return rounded64(size_t(most) * (32 + size_t(n) * 8)); }

  /** Takes its memory from `from`. */
  Positions(char* from, int64_t most, int64_t n) : count(0) {
    at = reinterpret_cast<int64_t*>(from);
    b = reinterpret_cast<const float**>(at + most);
    c = b + most;
    bRoom_ = reinterpret_cast<float*>(c + most);
    cRoom_ = bRoom_ + most * n;
    isReset = reinterpret_cast<uint8_t*>(cRoom_ + most * n);
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
      b[count] = read(scan.b, row, 0, scan.n, bRoom_ + count * scan.n);
      c[count] = read(scan.c, row, 0, scan.n, cRoom_ + count * scan.n);
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
        store16(m, row, group, splat16(0));
      }
    }
  }

 private:
  float *bRoom_, *cRoom_;
};

}  // namespace
}  // namespace KRAIT_VARIANT
}  // namespace krait
