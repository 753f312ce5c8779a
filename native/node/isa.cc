#include "isa.h"

#include <stdint.h>
#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

// The build passes KRAIT_VARIANTS as X(avx2) X(x86_64) ...: those whose objects it links.
#define X(name) extern "C" const krait::Catalogue* krait_catalogue_##name();
KRAIT_VARIANTS
#undef X

namespace krait {
namespace {

#if defined(__x86_64__)
struct Features {
  bool avx2 = false, avx512 = false, avx512bf16 = false;
};

// A register set counts only if the operating system saves it on a switch (XCR0), so cpuid alone is not enough.
Features detect() {
  Features found;
  unsigned a, b, c, d;
  if (!__get_cpuid(1, &a, &b, &c, &d)) return found;
  const bool fma = c >> 12 & 1, osxsave = c >> 27 & 1, avx = c >> 28 & 1, f16c = c >> 29 & 1;
  if (!osxsave || !avx) return found;
  uint32_t low, high;
  __asm__ __volatile__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  if ((low & 6) != 6) return found;  // xmm, ymm
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return found;
  found.avx2 = fma && f16c && (b >> 5 & 1);
  const bool f = b >> 16 & 1, dq = b >> 17 & 1, bw = b >> 30 & 1, vl = b >> 31 & 1;
  found.avx512 = found.avx2 && f && dq && bw && vl && (low & 0xe0) == 0xe0;  // opmask, zmm
  const bool vnni = c >> 11 & 1;
  if (found.avx512 && vnni && __get_cpuid_count(7, 1, &a, &b, &c, &d)) found.avx512bf16 = a >> 5 & 1;
  return found;
}

bool canRun(const char* variant) {
  static const Features here = detect();
  if (!strcmp(variant, "avx2")) return here.avx2;
  if (!strcmp(variant, "avx512")) return here.avx512;
  if (!strcmp(variant, "avx512bf16")) return here.avx512bf16;
  return true;
}
#else
bool canRun(const char*) { return true; }
#endif

}  // namespace

const std::vector<Variant>& variants() {
  // Never destroyed: queues may still run when the process ends. The language makes the first call safe for threads.
  static const std::vector<Variant>* const all = new std::vector<Variant>{
#define X(name) {krait_catalogue_##name(), canRun(#name)},
      KRAIT_VARIANTS
#undef X
  };
  return *all;
}

const Catalogue* findVariant(const char* name) {
  for (const Variant& variant : variants()) {
    if (variant.runnable && !strcmp(variant.catalogue->variant, name)) return variant.catalogue;
  }
  return nullptr;
}

}  // namespace krait
