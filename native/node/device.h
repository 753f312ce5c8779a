// A device: one queue, run in order by one thread of its own with a pool of others to share each kernel.
// Everything here is called from the JavaScript thread, and nothing but a full queue makes it wait.
// What it is not: it knows no JavaScript, and it does not decide when memory is free for reuse.
#pragma once
#include <atomic>
#include <chrono>
#include <memory>
#include <thread>
#include <vector>

#include "../kernels/abi.h"
#include "thread-pool.h"

namespace krait {

class Device {
 public:
  /** Called once for every accepted read or sync, on the queue's thread, or on the caller's from close().
      `error` is null, or one line that says why the result is not there. */
  typedef void (*Done)(void* token, const char* error);

  Device(const Catalogue& catalogue, int threads, Done done);
  ~Device() { close(); }

  int threads() const { return pool_.threads(); }
  const Catalogue& catalogue() const { return catalogue_; }

  /** Fresh 64-byte aligned memory that lives until close(), or null. */
  void* alloc(size_t bytes);

  /** Queues a kernel. Returns 0, or 1 + the index of the tensor whose dtype the kernel does not take. */
  int launch(const Command& command);
  /**
   * Plans commands that are to be queued together, again and again. `id` names them. Returns 0, or 1 + the index of the
   * tensor whose dtype the kernel of command `refused` does not take.
   */
  int makeList(const Command* commands, size_t count, size_t* id, size_t* refused);
  /** Whether `id` names a list. */
  bool hasList(size_t id) const { return id < lists_.size() && lists_[id] && !lists_[id]->isDropped; }
  /** Queues all commands of a list, in order, as one entry. */
  void launchList(size_t id);
  /** Forgets a list. What is queued of it still runs. */
  void dropList(size_t id);
  /** Copies `data` before it returns; the write takes its turn. False if there is no memory for the copy. */
  bool write(void* to, const void* data, size_t bytes);
  /** `to` must stay valid until `done(token)`. With 0 bytes it is a sync. */
  void read(const void* from, void* to, size_t bytes, void* token);
  /** Fills memory from a file that stays open until `done(token)`, which tells whether all of it was there. */
  void load(int file, uint64_t offset, void* to, size_t bytes, void* token);

  /** When a kernel ran, in nanoseconds since timing was switched on. */
  struct Span {
    int64_t begin, end;
  };
  /** Whether the launches from now on are timed. */
  void setTiming(bool on);
  /** Times of launches that have run since the last call, in the order of launch. */
  std::vector<Span> takeTimes();

  /** Lets the running kernel finish, drops the rest (their reads end with an error), stops threads, frees memory. */
  void close();

 private:
  enum class Kind { Run, List, Write, Read, Load };
  struct Planned {
    Command command;
    Plan plan;
  };
  struct List {
    std::vector<Planned> commands;
    uint64_t lastUse = 0;  // entries before which all its uses stand
    bool isDropped = false;
  };
  struct Entry {
    Kind kind;
    const void* from;
    void* to;
    size_t bytes;
    void* token;
    int file;         // of a load
    uint64_t offset;  // in the file
    bool timed;
    Span span;  // written by the queue's thread
    const List* list;
    Planned planned;
  };
  struct Block {
    void* address;
    size_t bytes;
  };
  static constexpr uint64_t kCapacity = 4096;
  static constexpr size_t kMostStaged = size_t(256) << 20;

  Entry& reserve();
  void publish();
  void harvest();
  void serve();
  void execute(Entry& entry);
  void runTimed(Entry& entry);
  void runKernel(const Planned& planned);
  void runPhase(const Planned& planned, int phase, void* shared);
  void sweepLists();
  bool idle() const { return head_.load(std::memory_order_seq_cst) == tail_.load(std::memory_order_relaxed); }

  const Catalogue& catalogue_;
  const Done done_;
  ThreadPool pool_;
  Scratch shared_;
  std::vector<Block> blocks_;
  std::vector<std::unique_ptr<List>> lists_;  // by id; the JavaScript thread adds and deletes
  std::unique_ptr<std::atomic<int>[]> taken_;
  std::atomic<size_t> staged_{0};
  const char* failure_ = nullptr;  // written and read by the queue's thread

  // Of timing; the JavaScript thread's own. Times wait in the entries until those are used again.
  bool timing_ = false;
  std::chrono::steady_clock::time_point origin_;
  uint64_t harvested_ = 0;  // entries whose times were taken
  uint64_t untaken_ = 0;    // timed launches whose times were not
  std::vector<Span> spans_;

  std::unique_ptr<Entry[]> ring_;
  alignas(128) std::atomic<uint64_t> tail_{0};  // entries published
  alignas(128) std::atomic<uint64_t> head_{0};  // entries finished
  std::atomic<bool> stopping_{false};
  Waiter consumer_, producer_;
  std::thread thread_;
};

}  // namespace krait
