#include "memory.h"

#include <stdint.h>
#include <stdlib.h>

#if defined(_WIN32)
#define NOMINMAX
#include <malloc.h>
#include <windows.h>
#else
#include <sys/mman.h>
#endif

namespace krait {
namespace {

constexpr size_t kMapFrom = size_t(1) << 20;  // smaller blocks come from the heap
constexpr size_t kPage = 4096;

size_t roundUp(size_t bytes, size_t to) { return (bytes + to - 1) / to * to; }

#if defined(_WIN32)
void* heapBlock(size_t bytes) { return _aligned_malloc(bytes, 64); }
void freeHeapBlock(void* block) { _aligned_free(block); }
void* mapBlock(size_t size) { return VirtualAlloc(nullptr, size, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE); }
void unmapBlock(void* block, size_t) { VirtualFree(block, 0, MEM_RELEASE); }
#else
void* heapBlock(size_t bytes) {
  void* block = nullptr;
  return posix_memalign(&block, 64, bytes) == 0 ? block : nullptr;
}
void freeHeapBlock(void* block) { free(block); }
void* mapBlock(size_t size) {
  void* block = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (block == MAP_FAILED) return nullptr;
#ifdef MADV_HUGEPAGE
  madvise(block, size, MADV_HUGEPAGE);
#endif
  return block;
}
void unmapBlock(void* block, size_t size) { munmap(block, size); }
#endif

}  // namespace

void* acquireBlock(size_t bytes) {
  if (bytes > SIZE_MAX / 2) return nullptr;
  return bytes < kMapFrom ? heapBlock(roundUp(bytes ? bytes : 1, 64)) : mapBlock(roundUp(bytes, kPage));
}

void releaseBlock(void* block, size_t bytes) {
  if (!block) return;
  if (bytes < kMapFrom) {
    freeHeapBlock(block);
  } else {
    unmapBlock(block, roundUp(bytes, kPage));
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
