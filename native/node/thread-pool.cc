#include "thread-pool.h"

#include <system_error>

namespace krait {

ThreadPool::ThreadPool(int threads) : threads_(threads), members_(new Member[threads]) {
  for (int part = 1; part < threads_; part++) {
    try {
      members_[part].thread = std::thread([this, part] { work(part); });
    } catch (const std::system_error&) {
      threads_ = part;
    }
  }
}

ThreadPool::~ThreadPool() {
  stopping_.store(true, std::memory_order_seq_cst);
  for (int part = 1; part < threads_; part++) {
    members_[part].turn.fetch_add(1, std::memory_order_seq_cst);
    members_[part].waiter.wake();
    members_[part].thread.join();
  }
}

void ThreadPool::work(int part) {
  Member& self = members_[part];
  for (unsigned seen = 0;; seen++) {
    self.waiter.wait([&] { return self.turn.load(std::memory_order_seq_cst) != seen; });
    if (stopping_.load(std::memory_order_relaxed)) return;
    task_(context_, part);
    if (left_.fetch_sub(1, std::memory_order_seq_cst) == 1) caller_.wake();
  }
}

void ThreadPool::run(int parts, Task task, void* context) {
  if (parts > 1) {
    task_ = task;
    context_ = context;
    left_.store(parts - 1, std::memory_order_relaxed);
    for (int part = 1; part < parts; part++) {
      members_[part].turn.fetch_add(1, std::memory_order_seq_cst);
      members_[part].waiter.wake();
    }
  }
  task(context, 0);
  if (parts > 1) caller_.wait([&] { return left_.load(std::memory_order_seq_cst) == 0; });
}

}  // namespace krait
