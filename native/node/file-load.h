// Files into memory, without JavaScript and without a copy on the way.
#pragma once
#include <stddef.h>
#include <stdint.h>

#include "thread-pool.h"

namespace krait {

/** Fills `to` with `bytes` from `offset` of an open file, on all threads of the pool. Null, or one line why not. */
const char* loadFile(ThreadPool& pool, int file, uint64_t offset, void* to, size_t bytes);

}  // namespace krait
