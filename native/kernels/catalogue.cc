// All kernels of one variant in one array. The position in it is the number that a command carries; the device
// asks for the names, so the order means nothing.
//
// A variant that differs in the product alone is built with KRAIT_BASE, the variant that gives it all other kernels.
#include "abi.h"

#define KRAIT_PRODUCTS(X) X(kMatmul) X(kFmaPeak)
#define KRAIT_OTHERS(X)                                                                                      \
  X(kFill) X(kCopy) X(kAccumulate) X(kPermute) X(kUnary) X(kUnaryBwd) X(kBinary) X(kReduce) X(kArgmax)       \
  X(kSoftmax) X(kSoftmaxBwd) X(kDropout) X(kRandomUniform) X(kEmbedding) X(kEmbeddingBwd) X(kRmsNorm)        \
  X(kRmsNormBwd) X(kLayerNorm) X(kLayerNormBwd) X(kCausalConv) X(kCausalConvBwd) X(kSelectiveScan)           \
  X(kSelectiveScanBwd) X(kSequencePositions) X(kRotary) X(kAttention) X(kAttentionBwd) X(kCrossEntropy)      \
  X(kSumSquares) X(kClipControl) X(kAdamw)

#ifndef KRAIT_BASE
#define KRAIT_BASE KRAIT_VARIANT
#endif

// Weak, so that a build with some kernels missing still links; the device then lacks them and says so.
#define X(name) extern const Kernel name __attribute__((weak));
namespace krait {
namespace KRAIT_VARIANT {
KRAIT_PRODUCTS(X)
}
namespace KRAIT_BASE {
KRAIT_OTHERS(X)
}
}  // namespace krait
#undef X

namespace krait {
namespace KRAIT_VARIANT {
namespace {

#define X(name) +1
constexpr int kMost = KRAIT_PRODUCTS(X) KRAIT_OTHERS(X);
#undef X

Kernel present[kMost];
Catalogue catalogue;

const Catalogue* fill() {
  int count = 0;
#define X(name) \
  if (&KRAIT_VARIANT::name) present[count++] = KRAIT_VARIANT::name;
  KRAIT_PRODUCTS(X)
#undef X
#define X(name) \
  if (&KRAIT_BASE::name) present[count++] = KRAIT_BASE::name;
  KRAIT_OTHERS(X)
#undef X
  catalogue.count = count;
  catalogue.kernels = present;
  return &catalogue;
}

}  // namespace
}  // namespace KRAIT_VARIANT
}  // namespace krait

#define KRAIT_JOIN(a, b) a##b
#define KRAIT_NAMED(a, b) KRAIT_JOIN(a, b)
#define KRAIT_QUOTE(a) #a
#define KRAIT_TEXT(a) KRAIT_QUOTE(a)

// Fills the array at its first call, which must not be two at once.
extern "C" const krait::Catalogue* KRAIT_NAMED(krait_catalogue_, KRAIT_VARIANT)() {
  using namespace krait::KRAIT_VARIANT;
  catalogue.variant = KRAIT_TEXT(KRAIT_VARIANT);
  return catalogue.kernels ? &catalogue : fill();
}
