// Threads that help with one task at a time. The caller is one of them.
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

  /**
   * Runs task(context, part) on the calling thread (part 0) and on helpers (0 < part < parts <= threads()). A helper
   * that has not begun when the caller is done is not called at all, so a task must take its work from a common
   * store until that is empty: nobody waits for a thread that is slow to wake.
   */
  typedef void (*Task)(void* context, int part);
  void run(int parts, Task task, void* context);

  /** Scratch memory of one part's thread; grows only between runs. */
  Scratch& scratch(int part) { return members_[part].scratch; }

 private:
  enum State { IDLE, CALLED, RUNNING };
  struct alignas(128) Member {
    std::atomic<int> state{IDLE};
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
  alignas(128) Waiter caller_;
};

}  // namespace krait
