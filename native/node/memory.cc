#include "memory.h"

#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

namespace krait {
namespace {

constexpr size_t kMapFrom = size_t(1) << 20;  // smaller blocks come from the heap
constexpr size_t kPage = 4096;

size_t roundUp(size_t bytes, size_t to) { return (bytes + to - 1) / to * to; }

}  // namespace

void* acquireBlock(size_t bytes) {
  if (bytes > SIZE_MAX / 2) return nullptr;
  if (bytes < kMapFrom) {
    void* block = nullptr;
    return posix_memalign(&block, 64, roundUp(bytes ? bytes : 1, 64)) == 0 ? block : nullptr;
  }
  const size_t size = roundUp(bytes, kPage);
  void* block = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (block == MAP_FAILED) return nullptr;
#ifdef MADV_HUGEPAGE
  madvise(block, size, MADV_HUGEPAGE);
#endif
  return block;
}

void releaseBlock(void* block, size_t bytes) {
  if (!block) return;
  if (bytes < kMapFrom) {
    free(block);
  } else {
    munmap(block, roundUp(bytes, kPage));
  }
}

void* Scratch::atLeast(size_t bytes) {
  if (bytes <= size_ && data_) return data_;
  releaseBlock(data_, size_);
  size_ = bytes + bytes / 8;  // a little more, so that slowly growing shapes do not ask every time
  data_ = acquireBlock(size_);
  if (!data_) size_ = 0;
  return data_;
}

}  // namespace krait
