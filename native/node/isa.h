// Which instruction-set variants of the kernels this binary holds, and which of them this machine can run.
#pragma once
#include <vector>

#include "../kernels/abi.h"

namespace krait {

struct Variant {
  const Catalogue* catalogue;
  bool runnable;
};

/** The variants that were compiled in, the widest first. */
const std::vector<Variant>& variants();

/** The variant of that name if it can run here, else null. */
const Catalogue* findVariant(const char* name);

}  // namespace krait
