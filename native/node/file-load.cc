#include "file-load.h"

#include <errno.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>

namespace krait {
namespace {

constexpr size_t kMostPerCall = size_t(1) << 30;  // a system call reads at most 2 GiB
constexpr size_t kLeastPart = size_t(1) << 20;    // bytes that are worth another thread

struct Job {
  int file;
  uint64_t offset;
  char* to;
  size_t bytes;
  int parts;
  std::atomic<bool> failed;
};

void loadPart(void* context, int part) {
  Job& job = *static_cast<Job*>(context);
  const size_t share = job.bytes / size_t(job.parts);
  size_t at = share * size_t(part);
  const size_t end = part + 1 == job.parts ? job.bytes : at + share;
  while (at < end) {
    const ssize_t got = pread(job.file, job.to + at, std::min(end - at, kMostPerCall), off_t(job.offset + at));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) {
      job.failed.store(true, std::memory_order_relaxed);
      return;
    }
    at += size_t(got);
  }
}

}  // namespace

const char* loadFile(ThreadPool& pool, int file, uint64_t offset, void* to, size_t bytes) {
  const int parts = int(std::min(size_t(pool.threads()), 1 + bytes / kLeastPart));
  Job job{file, offset, static_cast<char*>(to), bytes, parts, {false}};
  pool.run(parts, loadPart, &job);
  if (!job.failed.load(std::memory_order_relaxed)) return nullptr;
  return "the file could not be read: it is cut off, or the disk reports an error";
}

}  // namespace krait
