// AdamW with decoupled weight decay, and the scalar kernel that decides clipping and skipped steps.
//   m = beta1 m + (1 - beta1) g        v = beta2 v + (1 - beta2) g^2
//   param -= lr weightDecay param;     param -= lr mhat / (sqrt(vhat) + eps),
// with mhat = m / (1 - beta1^step), vhat = v / (1 - beta2^step), g = grad control[0]; subnormal m and v are 0.
#include "kernels.h"
#include "load.h"
#include "math.h"

namespace krait {
namespace KRAIT_VARIANT {
namespace {

int planClipControl(const Command& cmd, Plan* plan) {
  *plan = Plan();
  planUnits(plan, 0, 1, 1);
  return checkTypes(cmd, "ff");
}

void runClipControl(const Command& cmd, int, int64_t, int64_t, void*, void*) {
  const double maxNorm = cmd.scalars[0], inverseScale = cmd.scalars[1];
  const double norm = __builtin_sqrt(double(*matrix(cmd, 0).floats(0, 0))) * inverseScale;
  const bool isFinite = norm - norm == 0;
  const double factor = maxNorm > 0 && maxNorm < norm + 1e-6 ? maxNorm / (norm + 1e-6) : 1;
  float* control = matrix(cmd, 1).floats(0, 0);
  control[0] = isFinite ? float(inverseScale * factor) : 0;
  control[1] = float(norm);
  control[2] = isFinite ? 1 : 0;
  control[3] = 0;
}

int planAdamw(const Command& cmd, Plan* plan) {
  *plan = Plan();
  Pieces(1, dim(cmd, 0), true).plan(plan);
  return checkTypes(cmd, "fhfffh");
}

double power(double base, int64_t exponent) {
  double result = 1;
  for (; exponent > 0; exponent >>= 1, base *= base) {
    if (exponent & 1) result *= base;
  }
  return result;
}

/** The factors of a step, in f32. */
struct Step {
  float gradient, keepMean, addMean, keepSquare, addSquare, keepParam, rate, squareCorrection, eps;

  Step(const Command& cmd, float gradientScale) {
    const double lr = cmd.scalars[0], beta1 = cmd.scalars[1], beta2 = cmd.scalars[2];
    const int64_t step = int64_t(cmd.scalars[5]);
    gradient = gradientScale;
    keepMean = float(beta1);
    addMean = float(1 - beta1);
    keepSquare = float(beta2);
    addSquare = float(1 - beta2);
    keepParam = float(1 - lr * cmd.scalars[4]);
    rate = float(lr / (1 - power(beta1, step)));
    squareCorrection = float(1 / (1 - power(beta2, step)));
    eps = float(cmd.scalars[3]);
  }
};

/**
 * 0 for a subnormal number. Moments of what has no gradient any more (rows that no token reads) would decay to one and stay
 * there, and many processors take tens of times as long over it.
 */
KRAIT_INLINE F flushed(F x) { return select(absolute(x) < 0x1p-126f, splat(0), x); }

void runAdamw(const Command& cmd, int, int64_t begin, int64_t end, void*, void*) {
  const Matrix param = matrix(cmd, 0), grad = matrix(cmd, 1), control = matrix(cmd, 4), half = matrix(cmd, 5);
  if (control && control.floats(0, 0)[2] == 0) return;
  const Step step(cmd, control ? *control.floats(0, 0) : 1.0f);
  alignas(64) float room[TILE];
  Pieces(1, dim(cmd, 0), true).eachTile(begin, end, [&](int64_t, int64_t col, int64_t n) {
    const float* gradient = read(grad, 0, col, n, room);
    float *p = param.floats(0, col), *m = matrix(cmd, 2).floats(0, col), *v = matrix(cmd, 3).floats(0, col);
    eachVector(n, [&](auto where) {
      const F g = load(gradient, where) * step.gradient;
      const F mean = flushed(load(m, where) * step.keepMean + g * step.addMean);
      const F square = flushed(load(v, where) * step.keepSquare + g * g * step.addSquare);
      const F update = mean * step.rate / (squareRoot(square * step.squareCorrection) + step.eps);
      store(m, where, mean);
      store(v, where, square);
      store(p, where, load(p, where) * step.keepParam - update);
    });
    if (half) fromFloats(half.type, p, n, half.at(0, col));
  });
}

}  // namespace

const Kernel kClipControl = {"clip_control", planClipControl, runClipControl};
const Kernel kAdamw = {"adamw", planAdamw, runAdamw};

}  // namespace KRAIT_VARIANT
}  // namespace krait
