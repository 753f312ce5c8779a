// Results that are too small for a normal number, for files that define KRAIT_FUSE before they include this: there the bits of a
// variant with fused multiply-adds are its own.
#pragma once
#include "abi.h"

#if defined(KRAIT_FUSE) && defined(__FMA__)
#include <immintrin.h>
#endif

namespace krait {
namespace KRAIT_VARIANT {
namespace {

/**
 * While one lives, such results of this thread are 0: a processor may take more than a hundred cycles for one (Cascade Lake:
 * a scan's gradient with strong decays 13 times as long). It does nothing but on x86 with fused multiply-adds.
 */
class TinyIsZero {
 public:
#if defined(KRAIT_FUSE) && defined(__FMA__)
  TinyIsZero() : before_(_mm_getcsr()) { _mm_setcsr(before_ | FLUSH_TO_ZERO); }
  ~TinyIsZero() { _mm_setcsr(before_); }

 private:
  static constexpr unsigned FLUSH_TO_ZERO = 0x8000;
  unsigned before_;
#else
  ~TinyIsZero() {}  // so that none counts as unused
#endif
};

}  // namespace
}  // namespace KRAIT_VARIANT
}  // namespace krait
