// The kernels of one instruction-set variant, one for each row of the kernel table (src/backend/kernels.ts):
// `rms_norm_bwd` is kRmsNormBwd. Each is defined in the file of its family; catalogue.cc puts them in an array.
#pragma once
#include "abi.h"

namespace krait {
namespace KRAIT_VARIANT {

// elementwise.cc
extern const Kernel kFill, kCopy, kAccumulate, kPermute, kUnary, kUnaryBwd, kBinary, kDropout, kRandomUniform;
// reduce.cc
extern const Kernel kReduce, kArgmax, kSoftmax, kSoftmaxBwd, kSumSquares;
// matmul.cc
extern const Kernel kMatmul;
// embedding.cc
extern const Kernel kEmbedding, kEmbeddingBwd;
// norm.cc
extern const Kernel kRmsNorm, kRmsNormBwd, kLayerNorm, kLayerNormBwd;
// causal-conv.cc
extern const Kernel kCausalConv, kCausalConvBwd;
// selective-scan.cc
extern const Kernel kSelectiveScan, kSelectiveScanBwd;
// rotary.cc
extern const Kernel kSequencePositions, kRotary;
// attention.cc
extern const Kernel kAttention, kAttentionBwd;
// cross-entropy.cc
extern const Kernel kCrossEntropy;
// adamw.cc
extern const Kernel kAdamw, kClipControl;

}  // namespace KRAIT_VARIANT
}  // namespace krait
