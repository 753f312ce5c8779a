#include "file-load.h"

#include <algorithm>
#include <atomic>

#if defined(_WIN32)
#define NOMINMAX
#include <windows.h>
// Node has a C library of its own on Windows, so that its descriptors mean nothing to ours: it hands out the handle.
extern "C" __declspec(dllimport) HANDLE uv_get_osfhandle(int file);
#else
#include <errno.h>
#include <unistd.h>
#endif

namespace krait {
namespace {

/** Reads up to `bytes` at `offset`. Returns how many there were: 0 at the end of the file and where it cannot be read. */
size_t readAt(int file, void* to, size_t bytes, uint64_t offset) {
#if defined(_WIN32)
  OVERLAPPED place = {};
  place.Offset = DWORD(offset);
  place.OffsetHigh = DWORD(offset >> 32);
  DWORD got = 0;
  return ReadFile(uv_get_osfhandle(file), to, DWORD(bytes), &got, &place) ? got : 0;
#else
  for (;;) {
    const ssize_t got = pread(file, to, bytes, off_t(offset));
    if (got >= 0 || errno != EINTR) return got > 0 ? size_t(got) : 0;
  }
#endif
}

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
      const size_t got = readAt(job.file, job.to + at, end - at, job.offset + at);
      if (got == 0) {
        job.failed.store(true, std::memory_order_relaxed);
        return;
      }
      at += got;
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
