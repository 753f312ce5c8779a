// matmul: c[i] = alpha * op(a[i]) op(b[i]) + beta * c[i] + bias, in any mix of f32, bf16 and f16, summed in f32 and
// rounded once. b may be I8 with a scale for each of its columns (rows of a stored weight). Three ways, chosen by shape alone: thin (matmul-thin.h), small (each product of the batch by itself,
// on one thread), blocked (matmul-blocked.h).
#define KRAIT_FUSE  // this file is compiled so: sums of products are fused, and bits are the variant's own
#include "matmul-peak.h"
#include "matmul-thin.h"
#include "tiny-is-zero.h"

namespace krait {
namespace KRAIT_VARIANT {

extern const Kernel kMatmul, kFmaPeak;

namespace {

enum Way { NOTHING, SCALE_ONLY, THIN_WAY, SMALL, BLOCKED };

Product read(const Command& cmd) {
  const auto dim = [&](int i) { return int64_t(cmd.dims[i]); };
  const auto at = [&](int i) { return reinterpret_cast<char*>(uintptr_t(cmd.tensors[i].address)); };
  const auto type = [&](int i) { return int(cmd.tensors[i].dtype); };
  const auto operand = [&](int i, int64_t lanes, bool across) {
    return Operand{at(i), int64_t(cmd.tensors[i].ld) * bytesOf(type(i)), lanes, dim(3), type(i), across};
  };
  Product p;
  p.batch = dim(0);
  p.m = dim(1);
  p.n = dim(2);
  p.k = dim(3);
  p.a = operand(0, p.m, dim(4) == 0);
  p.b = operand(1, p.n, dim(5) != 0);
  p.bias = at(2);
  p.biasType = type(2);
  p.scale = reinterpret_cast<const float*>(at(4));
  p.c = at(3);
  p.cType = type(3);
  p.ldc = int64_t(cmd.tensors[3].ld);
  p.strideA = dim(6) * bytesOf(type(0));
  p.strideB = dim(7) * bytesOf(type(1));
  p.strideC = dim(8) * bytesOf(type(3));
  p.alpha = float(cmd.scalars[0]);
  p.beta = float(cmd.scalars[1]);
  return p;
}

/** One product of the batch, alone. */
Product itemOf(const Product& p, int64_t item) {
  Product one = p;
  one.batch = 1;
  one.a.data += item * p.strideA;
  one.b.data += item * p.strideB;
  one.c += item * p.strideC;
  return one;
}

Way wayOf(const Product& p) {
  if (p.batch == 0 || p.m == 0 || p.n == 0) return NOTHING;
  if (p.k == 0) return SCALE_ONLY;
  if (p.m <= THIN || p.n <= THIN) return THIN_WAY;
  // A unit that packs both operands for itself: worth it where a product alone is too little for two phases.
  return p.batch >= 8 && (p.m + p.n) * p.k <= 65536 ? SMALL : BLOCKED;
}

void scaleOnly(const Product& p, int64_t item, int64_t row) {
  char* c = p.c + item * p.strideC + row * p.ldc * bytesOf(p.cType);
  for (int64_t j = 0; j < p.n; j++) {
    float value = p.beta != 0.0f ? loadAny(c, j, p.cType) * p.beta : 0.0f;
    if (p.bias) value += loadAny(p.bias, j, p.biasType);
    storeAny(c, j, p.cType, value);
  }
}

int plan(const Command& cmd, Plan* plan) {
  const bool scaled = cmd.tensors[4].address != 0;
  for (int i = 0; i < 4; i++) {
    const double type = cmd.tensors[i].dtype;
    const bool taken = i == 1 && scaled ? type == I8 : type == F32 || type == BF16 || type == F16;
    if (cmd.tensors[i].address != 0 && !taken) return 1 + i;
  }
  if (scaled && cmd.tensors[4].dtype != F32) return 5;
  const Product p = read(cmd);
  *plan = Plan();
  switch (wayOf(p)) {
    case NOTHING:
      break;
    case SCALE_ONLY:
      plan->phases = 1;
      plan->units[0] = p.batch * p.m;
      plan->grain[0] = 1 + 16384 / p.n;
      break;
    case THIN_WAY:
      planThin(p, plan);
      break;
    case SMALL: {
      planBlocked(itemOf(p, 0), plan);
      plan->phases = 1;
      plan->thread_scratch = (plan->thread_scratch + 63) / 64 * 64 + plan->shared_scratch;
      plan->shared_scratch = 0;
      plan->units[0] = p.batch;
      plan->grain[0] = 1 + 150000 / (p.m * p.n * p.k);
      break;
    }
    case BLOCKED:
      planBlocked(p, plan);
  }
  return 0;
}

void run(const Command& cmd, int phase, int64_t begin, int64_t end, void* threadScratch, void* sharedScratch) {
  const TinyIsZero tiny;
  const Product p = read(cmd);
  switch (wayOf(p)) {
    case NOTHING:
      break;
    case SCALE_ONLY:
      for (int64_t unit = begin; unit < end; unit++) scaleOnly(p, unit / p.m, unit % p.m);
      break;
    case THIN_WAY:
      runThin(p, phase, begin, end, sharedScratch);
      break;
    case SMALL:
      for (int64_t item = begin; item < end; item++) {
        const Product one = itemOf(p, item);
        Plan own = Plan();
        planBlocked(one, &own);
        char* shared = static_cast<char*>(threadScratch) + (own.thread_scratch + 63) / 64 * 64;
        runBlocked(one, 0, 0, own.units[0], threadScratch, shared);
        runBlocked(one, 1, 0, own.units[1], threadScratch, shared);
      }
      break;
    case BLOCKED:
      runBlocked(p, phase, begin, end, threadScratch, sharedScratch);
  }
}

}  // namespace

const Kernel kMatmul = {"matmul", plan, run};
const Kernel kFmaPeak = {"fma_peak", planPeak, runPeak};

}  // namespace KRAIT_VARIANT
}  // namespace krait
