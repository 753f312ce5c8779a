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
    members_[part].waiter.wake();
    members_[part].thread.join();
  }
}

void ThreadPool::work(int part) {
  Member& self = members_[part];
  for (;;) {
    self.waiter.wait([&] {
      return self.state.load(std::memory_order_seq_cst) == CALLED || stopping_.load(std::memory_order_seq_cst);
    });
    if (stopping_.load(std::memory_order_seq_cst)) return;
    int called = CALLED;
    if (!self.state.compare_exchange_strong(called, RUNNING, std::memory_order_seq_cst)) continue;
    task_(context_, part);
    self.state.store(IDLE, std::memory_order_seq_cst);
    caller_.wake();
  }
}

void ThreadPool::run(int parts, Task task, void* context) {
  task_ = task;
  context_ = context;
  for (int part = 1; part < parts; part++) {
    members_[part].state.store(CALLED, std::memory_order_seq_cst);
    members_[part].waiter.wake();
  }
  task(context, 0);
  for (int part = 1; part < parts; part++) {
    std::atomic<int>& state = members_[part].state;
    int called = CALLED;
    if (state.compare_exchange_strong(called, IDLE, std::memory_order_seq_cst)) continue;
    caller_.wait([&] { return state.load(std::memory_order_seq_cst) == IDLE; });
  }
}

}  // namespace krait
