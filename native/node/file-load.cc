#include "file-load.h"

#include <errno.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>

namespace krait {
namespace {

constexpr size_t kPiece = size_t(1) << 20;  // bytes that a thread takes at a time

struct Job {
  int file;
  uint64_t offset;
  char* to;
  size_t bytes;
  std::atomic<size_t> taken;
  std::atomic<bool> failed;
};

/** Takes pieces until none is left: a thread that is late finds nothing to do (thread-pool.h). */
void loadPieces(void* context, int) {
  Job& job = *static_cast<Job*>(context);
  for (;;) {
    size_t at = job.taken.fetch_add(kPiece, std::memory_order_relaxed);
    if (at >= job.bytes) return;
    for (const size_t end = std::min(at + kPiece, job.bytes); at < end;) {
      const ssize_t got = pread(job.file, job.to + at, end - at, off_t(job.offset + at));
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) {
        job.failed.store(true, std::memory_order_relaxed);
        return;
      }
      at += size_t(got);
    }
  }
}

}  // namespace

const char* loadFile(ThreadPool& pool, int file, uint64_t offset, void* to, size_t bytes) {
  const int parts = int(std::min(size_t(pool.threads()), 1 + bytes / kPiece));
  Job job{file, offset, static_cast<char*>(to), bytes, {0}, {false}};
  pool.run(parts, loadPieces, &job);
  if (!job.failed.load(std::memory_order_relaxed)) return nullptr;
  return "the file could not be read: it is cut off, or the disk reports an error";
}

}  // namespace krait
