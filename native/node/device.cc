#include "device.h"

#include "file-load.h"

#include <stdlib.h>
#include <string.h>

#include <algorithm>

namespace krait {
namespace {

/**
 * One phase, shared out: each thread has a stretch of the units, cut in a few chunks, and takes from the others'
 * stretches when its own is done. Threads that are slow or late do not hold up the rest, and those that are not
 * touch the same memory in one kernel after the other.
 */
struct PhaseJob {
  const Kernel* kernel;
  const Command* command;
  ThreadPool* pool;
  std::atomic<int>* taken;  // chunks of each part that somebody took
  void* shared;
  int64_t units;
  int phase, parts, chunks;
};

void runPart(void* context, int part) {
  const PhaseJob& job = *static_cast<const PhaseJob*>(context);
  void* scratch = job.pool->scratch(part).atLeast(0);
  for (int i = 0; i < job.parts; i++) {
    const int owner = (part + i) % job.parts;
    for (;;) {
      const int chunk = job.taken[owner].fetch_add(1, std::memory_order_relaxed);
      if (chunk >= job.chunks) break;
      const int64_t at = int64_t(owner) * job.chunks + chunk, all = int64_t(job.parts) * job.chunks;
      job.kernel->run(*job.command, job.phase, job.units * at / all, job.units * (at + 1) / all, scratch, job.shared);
    }
  }
}

constexpr int kChunks = 4;  // of each thread's stretch

const char* const kNoMemory = "out of memory for the scratch space of a kernel; create another device, and use a smaller batch or sequence";
const char* const kClosed = "the device was closed before this could be read";

}  // namespace

Device::Device(const Catalogue& catalogue, int threads, Done done)
    : catalogue_(catalogue),
      done_(done),
      pool_(threads),
      taken_(new std::atomic<int>[pool_.threads()]),
      ring_(new Entry[kCapacity]),
      thread_([this] { serve(); }) {}

void* Device::alloc(size_t bytes) {
  void* address = acquireBlock(bytes);
  if (address) blocks_.push_back({address, bytes});
  return address;
}

Device::Entry& Device::reserve() {
  const uint64_t tail = tail_.load(std::memory_order_relaxed);
  producer_.wait([&] { return tail - head_.load(std::memory_order_seq_cst) < kCapacity; });
  if (untaken_ > 0 && tail - harvested_ >= kCapacity) harvest();
  return ring_[tail % kCapacity];
}

void Device::publish() {
  tail_.fetch_add(1, std::memory_order_seq_cst);
  consumer_.wake();
}

int Device::launch(const Command& command) {
  Entry& entry = reserve();
  const Kernel& kernel = catalogue_.kernels[int(command.kernel)];
  entry.kind = Kind::Run;
  entry.planned.command = command;
  entry.planned.plan = Plan();
  const int refused = kernel.plan(entry.planned.command, &entry.planned.plan);
  if (refused) return refused;
  entry.timed = timing_;
  if (timing_ && untaken_++ == 0) harvested_ = tail_.load(std::memory_order_relaxed);  // there is none before it
  publish();
  return 0;
}

int Device::makeList(const Command* commands, size_t count, size_t* id, size_t* refused) {
  sweepLists();
  auto list = std::make_unique<List>();
  list->commands.resize(count);
  for (size_t i = 0; i < count; i++) {
    Planned& planned = list->commands[i];
    planned.command = commands[i];
    planned.plan = Plan();
    *refused = i;
    const int tensor = catalogue_.kernels[int(planned.command.kernel)].plan(planned.command, &planned.plan);
    if (tensor) return tensor;
  }
  *id = size_t(std::find(lists_.begin(), lists_.end(), nullptr) - lists_.begin());
  if (*id == lists_.size()) lists_.emplace_back();
  lists_[*id] = std::move(list);
  return 0;
}

void Device::launchList(size_t id) {
  Entry& entry = reserve();
  entry.kind = Kind::List;
  entry.list = lists_[id].get();
  lists_[id]->lastUse = tail_.load(std::memory_order_relaxed) + 1;
  publish();
}

void Device::dropList(size_t id) {
  lists_[id]->isDropped = true;
  sweepLists();
}

void Device::sweepLists() {
  const uint64_t head = head_.load(std::memory_order_seq_cst);
  for (auto& list : lists_) {
    if (list && list->isDropped && head >= list->lastUse) list.reset();
  }
}

bool Device::write(void* to, const void* data, size_t bytes) {
  if (bytes == 0) return true;
  if (idle()) {  // nothing is queued or running, so nobody looks at the memory now
    memcpy(to, data, bytes);
    return true;
  }
  producer_.wait([&] { return staged_.load(std::memory_order_seq_cst) < kMostStaged; });
  void* copy = malloc(bytes);
  if (!copy) return false;
  memcpy(copy, data, bytes);
  staged_.fetch_add(bytes, std::memory_order_seq_cst);
  Entry& entry = reserve();
  entry.kind = Kind::Write;
  entry.from = copy;
  entry.to = to;
  entry.bytes = bytes;
  publish();
  return true;
}

void Device::read(const void* from, void* to, size_t bytes, void* token) {
  Entry& entry = reserve();
  entry.kind = Kind::Read;
  entry.from = from;
  entry.to = to;
  entry.bytes = bytes;
  entry.token = token;
  publish();
}

void Device::load(int file, uint64_t offset, void* to, size_t bytes, void* token) {
  Entry& entry = reserve();
  entry.kind = Kind::Load;
  entry.file = file;
  entry.offset = offset;
  entry.to = to;
  entry.bytes = bytes;
  entry.token = token;
  publish();
}

void Device::serve() {
  for (uint64_t head = 0;;) {
    consumer_.wait([&] {
      return tail_.load(std::memory_order_seq_cst) != head || stopping_.load(std::memory_order_seq_cst);
    });
    if (stopping_.load(std::memory_order_seq_cst)) return;
    execute(ring_[head % kCapacity]);
    head_.store(++head, std::memory_order_seq_cst);
    producer_.wake();
  }
}

void Device::execute(Entry& entry) {
  switch (entry.kind) {
    case Kind::Run:
      if (entry.timed) {
        runTimed(entry);
      } else {
        runKernel(entry.planned);
      }
      break;
    case Kind::List:
      for (const Planned& planned : entry.list->commands) {
        if (stopping_.load(std::memory_order_relaxed)) break;
        runKernel(planned);
      }
      break;
    case Kind::Write:
      memcpy(entry.to, entry.from, entry.bytes);
      free(const_cast<void*>(entry.from));
      staged_.fetch_sub(entry.bytes, std::memory_order_seq_cst);
      break;
    case Kind::Read:
      if (entry.bytes && !failure_) memcpy(entry.to, entry.from, entry.bytes);
      done_(entry.token, failure_);
      break;
    case Kind::Load:
      done_(entry.token, failure_ ? failure_ : loadFile(pool_, entry.file, entry.offset, entry.to, entry.bytes));
      break;
  }
}

void Device::runTimed(Entry& entry) {
  using std::chrono::steady_clock;
  const auto begin = steady_clock::now() - origin_;
  runKernel(entry.planned);
  const auto end = steady_clock::now() - origin_;
  entry.span.begin = std::chrono::duration_cast<std::chrono::nanoseconds>(begin).count();
  entry.span.end = std::chrono::duration_cast<std::chrono::nanoseconds>(end).count();
}

void Device::runKernel(const Planned& planned) {
  const Plan& plan = planned.plan;
  void* shared = plan.shared_scratch ? shared_.atLeast(plan.shared_scratch) : nullptr;
  if (plan.shared_scratch && !shared) failure_ = kNoMemory;
  for (int phase = 0; phase < plan.phases && !failure_; phase++) {
    if (plan.units[phase] > 0) runPhase(planned, phase, shared);
  }
}

void Device::runPhase(const Planned& planned, int phase, void* shared) {
  const Plan& plan = planned.plan;
  const int64_t units = plan.units[phase];
  const int64_t worthwhile = std::max<int64_t>(1, units / std::max<int64_t>(1, plan.grain[phase]));
  const int parts = int(std::min<int64_t>(pool_.threads(), worthwhile));
  const int chunks = parts == 1 ? 1 : int(std::min<int64_t>(kChunks, worthwhile / parts));
  for (int part = 0; part < parts; part++) {
    // From here on the memory of the device is not what it should be: every later read says so.
    if (!pool_.scratch(part).atLeast(plan.thread_scratch)) failure_ = kNoMemory;
    taken_[part].store(0, std::memory_order_relaxed);
  }
  if (failure_) return;
  const Kernel* kernel = &catalogue_.kernels[int(planned.command.kernel)];
  PhaseJob job{kernel, &planned.command, &pool_, taken_.get(), shared, units, phase, parts, chunks};
  pool_.run(parts, runPart, &job);
}

void Device::setTiming(bool on) {
  if (on && !timing_) origin_ = std::chrono::steady_clock::now();
  timing_ = on;
}

void Device::harvest() {
  for (const uint64_t head = head_.load(std::memory_order_seq_cst); harvested_ < head; harvested_++) {
    const Entry& entry = ring_[harvested_ % kCapacity];
    if (entry.kind != Kind::Run || !entry.timed) continue;
    spans_.push_back(entry.span);
    untaken_--;
  }
}

std::vector<Device::Span> Device::takeTimes() {
  if (untaken_ > 0) harvest();
  std::vector<Span> taken;
  taken.swap(spans_);
  return taken;
}

void Device::close() {
  if (!thread_.joinable()) return;
  stopping_.store(true, std::memory_order_seq_cst);
  consumer_.wake();
  thread_.join();
  for (uint64_t at = head_.load(); at != tail_.load(); at++) {
    Entry& entry = ring_[at % kCapacity];
    if (entry.kind == Kind::Write) free(const_cast<void*>(entry.from));
    if (entry.kind == Kind::Read || entry.kind == Kind::Load) done_(entry.token, kClosed);
  }
  for (const Block& block : blocks_) releaseBlock(block.address, block.bytes);
  blocks_.clear();
}

}  // namespace krait
