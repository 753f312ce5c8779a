// All kernels of one variant in one array. The position in it is the number that a command carries; the device
// asks for the names, so the order means nothing.
#include "abi.h"

#define KRAIT_KERNELS(X)                                                                                     \
  X(kFill) X(kCopy) X(kAccumulate) X(kPermute) X(kUnary) X(kUnaryBwd) X(kBinary) X(kReduce) X(kArgmax)       \
  X(kSoftmax) X(kSoftmaxBwd) X(kDropout) X(kRandomUniform) X(kMatmul) X(kEmbedding) X(kEmbeddingBwd)         \
  X(kRmsNorm) X(kRmsNormBwd) X(kLayerNorm) X(kLayerNormBwd) X(kCausalConv) X(kCausalConvBwd)                 \
  X(kSelectiveScan) X(kSelectiveScanBwd) X(kCrossEntropy) X(kSumSquares) X(kClipControl) X(kAdamw)           \
  X(kFmaPeak)

namespace krait {
namespace KRAIT_VARIANT {

// Weak, so that a build with some kernels missing still links; the device then lacks them and says so.
#define X(name) extern const Kernel name __attribute__((weak));
KRAIT_KERNELS(X)
#undef X

namespace {

#define X(name) +1
enum { kMost = KRAIT_KERNELS(X) };
#undef X

Kernel present[kMost];
Catalogue catalogue;

}  // namespace
}  // namespace KRAIT_VARIANT
}  // namespace krait

#define KRAIT_JOIN(a, b) a##b
#define KRAIT_NAMED(a, b) KRAIT_JOIN(a, b)
#define KRAIT_QUOTE(a) #a
#define KRAIT_TEXT(a) KRAIT_QUOTE(a)

// Called once, before any thread runs a kernel.
extern "C" const krait::Catalogue* KRAIT_NAMED(krait_catalogue_, KRAIT_VARIANT)() {
  using namespace krait::KRAIT_VARIANT;
  if (catalogue.kernels) return &catalogue;
  int count = 0;
#define X(name) \
  if (&name) present[count++] = name;
  KRAIT_KERNELS(X)
#undef X
  catalogue.variant = KRAIT_TEXT(KRAIT_VARIANT);
  catalogue.count = count;
  catalogue.kernels = present;
  return &catalogue;
}
