// fma_peak: what the vector units can do at most, as the yardstick of the product. Not in the kernel table: nothing
// but measurements launches it. y f32 [units, 1], dims: units, iterations. Each unit multiplies and adds that often
// on every register of the tile, and writes how many floating-point operations one iteration took.
#pragma once
#include "matmul-vector.h"

namespace krait {
namespace KRAIT_VARIANT {
namespace {

constexpr int CHAINS = TILE_ROWS * TILE_VECTORS;

int planPeak(const Command& cmd, Plan* plan) {
  *plan = Plan();
  plan->phases = 1;
  plan->units[0] = int64_t(cmd.dims[0]);
  plan->grain[0] = 1;
  return cmd.tensors[0].dtype == F32 ? 0 : 1;
}

void runPeak(const Command& cmd, int, int64_t begin, int64_t end, void*, void*) {
  float* y = reinterpret_cast<float*>(uintptr_t(cmd.tensors[0].address));
  const int64_t iterations = int64_t(cmd.dims[1]);
  for (int64_t unit = begin; unit < end; unit++) {
    // Tends to 1,000 times the step: towards 0 it would become subnormal, at which some processors are slow.
    const Floats scale = splat(0.999f), step = splat(float(1 + unit) * 1e-3f);
    Floats sum[CHAINS];
#pragma GCC unroll 32
    for (int i = 0; i < CHAINS; i++) sum[i] = splat(float(i));
    for (int64_t n = 0; n < iterations; n++) {
#pragma GCC unroll 32
      for (int i = 0; i < CHAINS; i++) sum[i] = sum[i] * scale + step;
    }
    Floats total = {};
    for (int i = 0; i < CHAINS; i++) total += sum[i];
    // The sum is never negative, but only we know: the compiler has to do the work.
    y[unit] = total[0] < 0.0f ? 0.0f : float(2 * CHAINS * LANES);
  }
}

}  // namespace
}  // namespace KRAIT_VARIANT
}  // namespace krait
