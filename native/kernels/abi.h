// The ABI between a device's queue and its kernels: plain structs, the same in the addon and in WASM.
// A command is 92 doubles (src/backend/command.ts, packCommand, writes it); the meaning and order of each kernel's
// tensors, dims and scalars is its row in the kernel table (src/backend/kernels.ts).
#pragma once
#include <stddef.h>
#include <stdint.h>

namespace krait {

enum DType : int { F32 = 0, BF16 = 1, F16 = 2, I32 = 3, F64 = 4, I8 = 5 };  // F64 never reaches these kernels

enum { MAX_TENSORS = 24, MAX_DIMS = 12, MAX_SCALARS = 6, MAX_PHASES = 4 };

struct TensorArg {
  double address, ld, dtype;
};

struct Command {
  double kernel, tensor_count;
  TensorArg tensors[MAX_TENSORS];
  double dims[MAX_DIMS];
  double scalars[MAX_SCALARS];
};
static_assert(sizeof(Command) == 92 * 8, "the layout is fixed by src/backend/command.ts");

// How a command is cut for threads. Phases run one after another with a barrier between; inside a phase the units
// 0..units-1 are independent and write disjoint outputs, so results do not depend on the number of threads.
struct Plan {
  int phases;
  int64_t units[MAX_PHASES];
  int64_t grain[MAX_PHASES];   // smallest number of units worth a thread of its own
  size_t thread_scratch;       // bytes for each thread, 64-byte aligned, not initialised
  size_t shared_scratch;       // bytes for the command, 64-byte aligned, kept between its phases
};

// Returns 0, or 1 + the index of the tensor whose dtype the kernel does not take. Pure: no memory is touched.
typedef int (*PlanFn)(const Command&, Plan*);
typedef void (*RunFn)(const Command&, int phase, int64_t begin, int64_t end, void* thread_scratch, void* shared_scratch);

struct Kernel {
  const char* name;  // its key in the kernel table
  PlanFn plan;
  RunFn run;
};

// One instruction-set variant of all kernels. Every .cc of this folder is compiled once for each variant with
// KRAIT_VARIANT defined as its name, and keeps its symbols inside namespace krait::KRAIT_VARIANT.
struct Catalogue {
  const char* variant;
  const Kernel* kernels;
  int count;
};

}  // namespace krait
