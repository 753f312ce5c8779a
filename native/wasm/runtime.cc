// What the kernels and JavaScript need of a WASM module: the memory functions that a compiler may call, and the
// kernels by number. Linear memory and its growth belong to JavaScript (src/backend/wasm/memory.ts).
#include "queue.h"

#define KRAIT_JOIN(a, b) a##b
#define KRAIT_NAMED(a, b) KRAIT_JOIN(a, b)

extern "C" const krait::Catalogue* KRAIT_NAMED(krait_catalogue_, KRAIT_VARIANT)();

// With -mbulk-memory the builtins are single instructions, so these do not call themselves.
extern "C" void* memcpy(void* to, const void* from, size_t bytes) { return __builtin_memcpy(to, from, bytes); }
extern "C" void* memmove(void* to, const void* from, size_t bytes) { return __builtin_memmove(to, from, bytes); }
extern "C" void* memset(void* to, int value, size_t bytes) { return __builtin_memset(to, value, bytes); }

namespace krait {
namespace {

uint64_t roundUp(uint64_t bytes) { return (bytes + 63) / 64 * 64; }

const Catalogue& catalogue() { return *KRAIT_NAMED(krait_catalogue_, KRAIT_VARIANT)(); }

}  // namespace

int partsOf(const Plan& plan, int phase, int threads) {
  const int64_t grain = plan.grain[phase] > 1 ? plan.grain[phase] : 1;
  const int64_t worthwhile = plan.units[phase] / grain;
  return worthwhile < 1 ? 1 : worthwhile < threads ? int(worthwhile) : threads;
}

void runRange(const Entry& entry, int phase, int64_t begin, int64_t end, int part) {
  char* shared = reinterpret_cast<char*>(entry.scratch);
  char* own = shared + roundUp(entry.plan.shared_scratch) + part * roundUp(entry.plan.thread_scratch);
  catalogue().kernels[int(entry.command.kernel)].run(entry.command, phase, begin, end, own, shared);
}

// ---- for JavaScript --------------------------------------------------------------------------------------------

KRAIT_EXPORT("kernel_count") int kernelCount() { return catalogue().count; }
KRAIT_EXPORT("kernel_name") const char* kernelName(int index) { return catalogue().kernels[index].name; }

// Plans the entry's command for a number of threads. Returns 0, or 1 + the index of the tensor whose dtype is refused.
KRAIT_EXPORT("plan") int plan(Entry* entry, int threads) {
  Plan& plan = entry->plan;
  plan = Plan();
  const int refused = catalogue().kernels[int(entry->command.kernel)].plan(entry->command, &plan);
  if (refused) return refused;
  int most = 0;
  for (int phase = 0; phase < plan.phases; phase++) {
    const int parts = plan.units[phase] > 0 ? partsOf(plan, phase, threads) : 0;
    if (parts > most) most = parts;
  }
  entry->kind = RUN;
  entry->scratch_bytes = most ? double(roundUp(plan.shared_scratch) + most * roundUp(plan.thread_scratch)) : 0;
  return 0;
}

KRAIT_EXPORT("phases") int phases(const Entry* entry) { return entry->plan.phases; }
KRAIT_EXPORT("units") double units(const Entry* entry, int phase) { return double(entry->plan.units[phase]); }
KRAIT_EXPORT("grain") double grain(const Entry* entry, int phase) { return double(entry->plan.grain[phase]); }

// Runs the units begin..end-1 of one phase of a planned entry, on this thread.
KRAIT_EXPORT("run") void run(const Entry* entry, int phase, double begin, double end) {
  runRange(*entry, phase, int64_t(begin), int64_t(end), 0);
}

}  // namespace krait
