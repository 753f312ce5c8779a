// Cross-entropy of rows of logits against target columns, and its gradient:
//   loss = log sum_c e^(logits[c]) - logits[target],  dlogits = gradScale (softmax(logits) - onehot(target)).
// Rows whose target is `ignore` have loss 0 and gradient 0. Any other target outside the columns is a mistake of the
// caller: its loss is NaN and its gradient 0, so that it is seen.
#include "kernels.h"
#include "load.h"
#include "math.h"

namespace krait {
namespace KRAIT_VARIANT {
namespace {

int planCrossEntropy(const Command& cmd, Plan* plan) {
  *plan = Plan();
  planUnits(plan, 0, dim(cmd, 0), 2 * dim(cmd, 1));
  return checkTypes(cmd, "hifh");
}

/** Maximum of a row and the sum of e^(x - maximum), in one pass: the sum is rescaled where the maximum moves. */
struct Softmax {
  float top = -__builtin_inff();
  double total = 0;

  void add(const float* x, int64_t n) {
    const float before = top;
    top = extremeOf(x, n, before, [](F a, F b) { return largest(a, b); });
    if (top != before && total != 0) total *= double(exponential(before - top));
    total += double(sumOf(n, [&](auto where) { return decayingExponential(load(x, where) - top); }));
  }
};

void lossRow(const Matrix& logits, const Matrix& dlogits, int64_t row, int64_t cols, int64_t answer, float gradScale,
             float* loss) {
  alignas(64) float room[TILE], out[TILE];
  Softmax softmax;
  eachTile(cols, [&](int64_t col, int64_t n) { softmax.add(read(logits, row, col, n, room), n); });
  const float top = softmax.top, hit = *read(logits, row, answer, 1, room);
  *loss = logarithm(float(softmax.total)) + (top - hit);
  if (!dlogits) return;
  const float scale = float(double(gradScale) / softmax.total);
  eachTile(cols, [&](int64_t col, int64_t n) {
    const float* x = read(logits, row, col, n, room);
    float* to = target(dlogits, row, col, out);
    eachVector(n, [&](auto where) { store(to, where, decayingExponential(load(x, where) - top) * scale); });
    if (answer >= col && answer < col + n) to[answer - col] -= gradScale;
    write(dlogits, row, col, n, to);
  });
}

void runCrossEntropy(const Command& cmd, int, int64_t begin, int64_t end, void*, void*) {
  const Matrix logits = matrix(cmd, 0), targets = matrix(cmd, 1), losses = matrix(cmd, 2), dlogits = matrix(cmd, 3);
  const int64_t cols = dim(cmd, 1), ignore = dim(cmd, 2);
  for (int64_t row = begin; row < end; row++) {
    const int64_t answer = *targets.ints(row, 0);
    float* loss = losses.floats(row, 0);
    if (answer != ignore && answer >= 0 && answer < cols) {
      lossRow(logits, dlogits, row, cols, answer, float(cmd.scalars[0]), loss);
      continue;
    }
    *loss = answer == ignore ? 0.0f : __builtin_nanf("");
    if (dlogits) __builtin_memset(dlogits.at(row, 0), 0, size_t(cols * bytesOf(dlogits.type)));
  }
}

}  // namespace

const Kernel kCrossEntropy = {"cross_entropy", planCrossEntropy, runCrossEntropy};

}  // namespace KRAIT_VARIANT
}  // namespace krait
