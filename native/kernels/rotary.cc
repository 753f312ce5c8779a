// Where positions stand within their documents, and rotary embeddings (Su et al. 2021), which turn pairs of a head's
// elements by an angle that grows with the position.
#include "kernels.h"
#include "load.h"

namespace krait {
namespace KRAIT_VARIANT {
namespace {

int planPositions(const Command& cmd, Plan* plan) {
  *plan = Plan();
  planUnits(plan, 0, dim(cmd, 0), dim(cmd, 1));
  return checkTypes(cmd, "iffff");
}

void runPositions(const Command& cmd, int, int64_t begin, int64_t end, void*, void*) {
  const Matrix flags = matrix(cmd, 0), before = matrix(cmd, 1), positions = matrix(cmd, 2), documents = matrix(cmd, 3);
  const Matrix after = matrix(cmd, 4);
  const int64_t l = dim(cmd, 1);
  for (int64_t row = begin; row < end; row++) {
    float position = before ? *before.floats(row, 0) : 0.0f, document = before ? *before.floats(row, 1) : 0.0f;
    for (int64_t t = 0; t < l; t++) {
      const int32_t flag = flags ? *flags.ints(row, t) : 0;
      const bool isPadding = flag & PAD;
      if (!isPadding && (flag & RESET)) {
        position = 0;
        document += 1;
      }
      *positions.floats(row * l + t, 0) = position;
      *documents.floats(row * l + t, 0) = isPadding ? -1.0f : document;
      if (!isPadding) position += 1;
    }
    if (!after) continue;
    *after.floats(row, 0) = position;
    *after.floats(row, 1) = document;
  }
}

/** Sine and cosine, in f64 so that angles of thousands of turns keep their digits. Error 1e-12 after the reduction. */
struct Turn {
  double sine, cosine;
};
inline Turn turnBy(double angle) {
  constexpr double HALF_PI = 1.5707963267948966, HALF_PI_REST = 6.123233995736766e-17;
  const double ratio = angle / HALF_PI;
  const int64_t quarter = int64_t(ratio + (ratio < 0 ? -0.5 : 0.5));
  const double x = (angle - double(quarter) * HALF_PI) - double(quarter) * HALF_PI_REST, z = x * x;
  const double s = x + x * z * (-1.0 / 6 + z * (1.0 / 120 + z * (-1.0 / 5040 + z * (1.0 / 362880 +
                   z * (-1.0 / 39916800 + z * (1.0 / 6227020800.0))))));
  const double c = 1 + z * (-0.5 + z * (1.0 / 24 + z * (-1.0 / 720 + z * (1.0 / 40320 + z * (-1.0 / 3628800 +
                   z * (1.0 / 479001600.0))))));
  switch (quarter & 3) {
    case 0: return {s, c};
    case 1: return {c, -s};
    case 2: return {-s, -c};
    default: return {-c, s};
  }
}

int planRotary(const Command& cmd, Plan* plan) {
  *plan = Plan();
  planUnits(plan, 0, dim(cmd, 0), dim(cmd, 1) * dim(cmd, 2));
  plan->thread_scratch = size_t(2 * dim(cmd, 3) + 3 * dim(cmd, 2)) * 4;
  return checkTypes(cmd, "hffh");
}

void runRotary(const Command& cmd, int, int64_t begin, int64_t end, void* scratch, void*) {
  const Matrix x = matrix(cmd, 0), positions = matrix(cmd, 1), rates = matrix(cmd, 2), y = matrix(cmd, 3);
  const int64_t heads = dim(cmd, 1), d = dim(cmd, 2), half = dim(cmd, 3) / 2;
  const float direction = dim(cmd, 4) ? -1.0f : 1.0f;
  float *sines = static_cast<float*>(scratch), *cosines = sines + half, *from = cosines + half, *to = from + d;
  for (int64_t row = begin; row < end; row++) {
    const double position = *positions.floats(row, 0);
    for (int64_t i = 0; i < half; i++) {
      const Turn turn = turnBy(position * double(*rates.floats(0, i)));
      sines[i] = direction * float(turn.sine);
      cosines[i] = float(turn.cosine);
    }
    for (int64_t head = 0; head < heads; head++) {
      toFloats(x.type, x.at(row, head * d), d, from);
      for (int64_t i = 0; i < half; i++) {
        to[i] = from[i] * cosines[i] - from[half + i] * sines[i];
        to[half + i] = from[half + i] * cosines[i] + from[i] * sines[i];
      }
      for (int64_t i = 2 * half; i < d; i++) to[i] = from[i];
      fromFloats(y.type, to, d, y.at(row, head * d));
    }
  }
}

}  // namespace

const Kernel kSequencePositions = {"sequence_positions", planPositions, runPositions};
const Kernel kRotary = {"rotary", planRotary, runRotary};

}  // namespace KRAIT_VARIANT
}  // namespace krait
