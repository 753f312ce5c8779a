// How the threads of a device wait for one another: look for a few microseconds, then sleep.
// Looking longer pays when the answer comes while looking, so the time adapts within bounds.
#pragma once
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>

namespace krait {

inline void pauseBriefly() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ __volatile__("yield");
#endif
}

/** One thread waits, any thread wakes it. */
class Waiter {
 public:
  /** Returns once `ready()` is true; it must read with sequential consistency what the waker wrote before `wake`. */
  template <class Ready>
  void wait(Ready ready) {
    if (ready()) return;
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::microseconds(patience_);
    do {
      for (int i = 0; i < 16; i++) {
        pauseBriefly();
        if (ready()) {
          patience_ = patience_ < kLongest ? patience_ + 4 : kLongest;
          return;
        }
      }
    } while (std::chrono::steady_clock::now() < deadline);
    patience_ = patience_ > 2 * kShortest ? patience_ / 2 : kShortest;
    std::unique_lock<std::mutex> lock(mutex_);
    sleeping_.store(true, std::memory_order_seq_cst);
    while (!ready()) condition_.wait(lock);
    sleeping_.store(false, std::memory_order_relaxed);
  }

  void wake() {
    std::atomic_thread_fence(std::memory_order_seq_cst);
    if (!sleeping_.load(std::memory_order_seq_cst)) return;
    std::lock_guard<std::mutex> lock(mutex_);
    condition_.notify_one();
  }

 private:
  static constexpr int kShortest = 5, kLongest = 200;  // microseconds
  int patience_ = 30;
  std::atomic<bool> sleeping_{false};
  std::mutex mutex_;
  std::condition_variable condition_;
};

}  // namespace krait
