// permute: y[i0, ..., i5] = x[i0*s0 + ... + i5*s5], y dense, of the same dtype or converted.
//
// Axes of size 1 are dropped and neighbours that are one run in x are merged. What is left is taken as rows of y along
// its last axis. Where x is contiguous along them they are copied; elsewhere blocks of rows along the axis on which x
// steps least ("near") are gathered together, so that a cache line of x serves several rows: a transposition.
#pragma once
#include "load.h"

namespace krait {
namespace KRAIT_VARIANT {
namespace {

struct Permutation {
  int axes;               // without the last
  int64_t size[6], step[6], stride[6];  // outer axes: sizes, steps in x, strides in y
  int near;               // the outer axis whose rows are taken together, or -1
  int64_t length, lastStep;
  int64_t count;          // elements
  int64_t nearBlocks, others;

  enum { ROWS = 16, COLUMNS = 64 };

  explicit Permutation(const Command& cmd) {
    int64_t sizes[6], steps[6];
    int n = 0;
    count = 1;
    for (int i = 0; i < 6; i++) {
      const int64_t size_i = dim(cmd, i), step_i = dim(cmd, 6 + i);
      count *= size_i;
      if (size_i == 1) continue;
      if (n > 0 && steps[n - 1] == size_i * step_i) {
        sizes[n - 1] *= size_i;
        steps[n - 1] = step_i;
      } else {
        sizes[n] = size_i;
        steps[n++] = step_i;
      }
    }
    length = n ? sizes[n - 1] : 1;
    lastStep = n ? steps[n - 1] : 1;
    axes = n ? n - 1 : 0;
    int64_t stride_i = length;
    for (int i = axes - 1; i >= 0; i--) {
      size[i] = sizes[i];
      step[i] = steps[i];
      stride[i] = stride_i;
      stride_i *= sizes[i];
    }
    near = axes - 1;
    for (int i = axes - 1; i >= 0 && lastStep != 1; i--) {
      if (magnitude(step[i]) < magnitude(step[near]) && step[i] != 0) near = i;
    }
    nearBlocks = near >= 0 ? ceilDiv(size[near], int(ROWS)) : 1;
    others = 1;
    for (int i = 0; i < axes; i++) others *= i == near ? 1 : size[i];
  }
  static int64_t magnitude(int64_t x) { return x < 0 ? -x : x; }
  int64_t units() const { return count ? others * nearBlocks : 0; }
};

/** n elements of T, `step` apart, brought together. */
template <class T>
KRAIT_INLINE void gather(const T* from, int64_t step, int64_t n, T* to) {
  if (step == 0) {
    for (int64_t i = 0; i < n; i++) to[i] = *from;
  } else {
    for (int64_t i = 0; i < n; i++) to[i] = from[i * step];
  }
}

inline void gatherRow(const Matrix& x, int64_t at, int64_t step, int64_t n, const Matrix& y, int64_t to) {
  const bool isCopy = x.type == y.type;
  if (step == 1 && isCopy) {
    __builtin_memcpy(y.at(0, to), x.at(0, at), size_t(n * bytesOf(x.type)));
    return;
  }
  uint32_t room[Permutation::COLUMNS];
  float floats[Permutation::COLUMNS];
  for (int64_t i = 0; i < n; i += Permutation::COLUMNS) {
    const int64_t some = n - i < Permutation::COLUMNS ? n - i : int64_t(Permutation::COLUMNS);
    const char* from = x.at(0, at + i * step);
    void* together = isCopy ? static_cast<void*>(y.at(0, to + i)) : room;
    if (bytesOf(x.type) == 2) {
      gather(reinterpret_cast<const uint16_t*>(from), step, some, static_cast<uint16_t*>(together));
    } else {
      gather(reinterpret_cast<const uint32_t*>(from), step, some, static_cast<uint32_t*>(together));
    }
    if (isCopy) continue;
    toFloats(x.type, room, some, floats);
    fromFloats(y.type, floats, some, y.at(0, to + i));
  }
}

inline int planPermute(const Command& cmd, Plan* plan) {
  const Permutation p(cmd);
  *plan = Plan();
  const int64_t units = p.units();
  planUnits(plan, 0, units, units ? p.count / units : 0);
  return checkTypes(cmd, "aa");
}

inline void runPermute(const Command& cmd, int, int64_t begin, int64_t end, void*, void*) {
  const Permutation p(cmd);
  const Matrix x = matrix(cmd, 0), y = matrix(cmd, 1);
  for (int64_t unit = begin; unit < end; unit++) {
    int64_t rest = unit / p.nearBlocks, from = 0, to = 0;
    for (int i = p.axes - 1; i >= 0; i--) {
      if (i == p.near) continue;
      from += rest % p.size[i] * p.step[i];
      to += rest % p.size[i] * p.stride[i];
      rest /= p.size[i];
    }
    const int64_t first = unit % p.nearBlocks * Permutation::ROWS;
    int64_t last = p.near >= 0 ? p.size[p.near] : 1;
    if (last > first + Permutation::ROWS) last = first + Permutation::ROWS;
    const int64_t step = p.near >= 0 ? p.step[p.near] : 0, stride = p.near >= 0 ? p.stride[p.near] : 0;
    const int64_t columns = p.lastStep == 1 ? p.length : int64_t(Permutation::COLUMNS);
    for (int64_t col = 0; col < p.length; col += columns) {
      const int64_t some = p.length - col < columns ? p.length - col : columns;
      for (int64_t row = first; row < last; row++) {
        gatherRow(x, from + row * step + col * p.lastStep, p.lastStep, some, y, to + row * stride + col);
      }
    }
  }
}

}  // namespace
}  // namespace KRAIT_VARIANT
}  // namespace krait
