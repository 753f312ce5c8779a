// Device memory and scratch: 64-byte aligned blocks from the system, large ones straight from the kernel of the
// operating system (zeroed lazily, given back at once, huge pages where there are any).
#pragma once
#include <stddef.h>

namespace krait {

/** 64-byte aligned memory, or null. The contents are not defined. */
void* acquireBlock(size_t bytes);
/** `bytes` as it was given to acquireBlock. */
void releaseBlock(void* block, size_t bytes);

/** A buffer that only grows; its contents are lost when it does. */
class Scratch {
 public:
  Scratch() = default;
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  ~Scratch() { releaseBlock(data_, size_); }

  /** At least `bytes`, or null if the system has no more. */
  void* atLeast(size_t bytes);

 private:
  void* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace krait
