// Threads that run the parts of one task at a time. The caller is one of them.
#pragma once
#include <atomic>
#include <memory>
#include <thread>

#include "memory.h"
#include "waiter.h"

namespace krait {

class ThreadPool {
 public:
  /** `threads` counts the caller. Fewer start if the system refuses more; see threads(). */
  explicit ThreadPool(int threads);
  ~ThreadPool();
  int threads() const { return threads_; }

  /** Runs task(context, part) for 0 <= part < parts <= threads(), part 0 on the calling thread. */
  typedef void (*Task)(void* context, int part);
  void run(int parts, Task task, void* context);

  /** Scratch memory of one part's thread; grows only between runs. */
  Scratch& scratch(int part) { return members_[part].scratch; }

 private:
  struct alignas(128) Member {
    std::atomic<unsigned> turn{0};
    Waiter waiter;
    Scratch scratch;
    std::thread thread;
  };
  void work(int part);

  int threads_;
  std::unique_ptr<Member[]> members_;
  Task task_ = nullptr;
  void* context_ = nullptr;
  std::atomic<bool> stopping_{false};
  alignas(128) std::atomic<int> left_{0};
  Waiter caller_;
};

}  // namespace krait
