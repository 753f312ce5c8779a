// The workers' side of the queue. Worker 0 takes entries from the ring; for each phase of a kernel it hands a
// contiguous range of units to as many others as the phase is worth, runs the first range itself, and waits.
//
// Waiting is looking for some microseconds, then sleep. Looking longer pays when the answer comes while looking, so
// the patience adapts within bounds. Only JavaScript tells the time, so it is counted in looks of a nanosecond or so.
#include "queue.h"

// To JavaScript, from worker 0: the bytes of a READ, or with ticket 0 that there is room in the ring again.
extern "C" __attribute__((import_module("env"), import_name("send"))) void krait_send(uint32_t ticket, uint32_t address,
                                                                                      uint32_t bytes);
// The time in milliseconds.
extern "C" __attribute__((import_module("env"), import_name("now"))) double krait_now();

namespace krait {
namespace {

struct Member {
  alignas(128) uint32_t turn;  // counts the ranges it was given
  uint32_t asleep;
  int patience;
};

struct Job {
  const Entry* entry;
  int phase, parts;
};

Entry ring[kCapacity];
Entry draft;
Control control;
Member members[kMostThreads];
alignas(128) Job job;
alignas(128) uint32_t left;
uint32_t leftAsleep;
int leftPatience, tailPatience;

uint32_t get(const uint32_t* word) { return __atomic_load_n(word, __ATOMIC_SEQ_CST); }
void set(uint32_t* word, uint32_t value) { __atomic_store_n(word, value, __ATOMIC_SEQ_CST); }

// Waits until `*word` is not `seen`. Whoever changes the word afterwards calls wake.
void waitWhile(uint32_t* word, uint32_t seen, uint32_t* asleep, int* patience) {
  constexpr int kLeast = 2000, kMost = 40000, kStep = 2000;
  for (int look = 0; look < *patience; look++) {
    if (get(word) != seen) {
      if (*patience < kMost) *patience += kStep;
      return;
    }
  }
  *patience = *patience > 2 * kLeast ? *patience / 2 : kLeast;
  set(asleep, 1);
  while (get(word) == seen) __builtin_wasm_memory_atomic_wait32(reinterpret_cast<int*>(word), int(seen), -1);
  set(asleep, 0);
}

void wake(uint32_t* word, const uint32_t* asleep) {
  if (get(asleep)) __builtin_wasm_memory_atomic_notify(reinterpret_cast<int*>(word), 1);
}

void runPart(const Job& job, int part) {
  const int64_t units = job.entry->plan.units[job.phase];
  // Ranges differ by one unit at most.
  runRange(*job.entry, job.phase, units * part / job.parts, units * (part + 1) / job.parts, part);
}

void runKernel(const Entry& entry, int threads) {
  for (int phase = 0; phase < entry.plan.phases; phase++) {
    if (entry.plan.units[phase] <= 0) continue;
    const int parts = partsOf(entry.plan, phase, threads);
    job = Job{&entry, phase, parts};
    set(&left, uint32_t(parts - 1));
    for (int part = 1; part < parts; part++) {
      Member& member = members[part];
      set(&member.turn, member.turn + 1);
      wake(&member.turn, &member.asleep);
    }
    runPart(job, 0);
    for (uint32_t now = get(&left); now != 0; now = get(&left)) waitWhile(&left, now, &leftAsleep, &leftPatience);
  }
}

void finish(uint32_t head) {
  set(&control.head, head);
  const uint32_t wanted = get(&control.wants_room);
  if (wanted == 0 || get(&control.tail) - head > kCapacity / 2) return;
  set(&control.wants_room, 0);
  if (wanted == 1) __builtin_wasm_memory_atomic_notify(reinterpret_cast<int*>(&control.head), 1);
  if (wanted == 2) krait_send(0, 0, 0);
}

void lead(int threads) {
  for (uint32_t head = 0;;) {
    waitWhile(&control.tail, head, &control.asleep, &tailPatience);
    Entry& entry = ring[head % kCapacity];
    switch (entry.kind) {
      case RUN:
        if (entry.ticket) entry.began = krait_now();
        runKernel(entry, threads);
        if (entry.ticket) entry.ended = krait_now();
        break;
      case WRITE:
        // JavaScript may have grown the memory while this thread slept. Loads and stores know of it at once, but an engine
        // may hold a copy of many bytes against the size that it last heard of; asking for the size anew tells it.
        __builtin_wasm_memory_grow(0, 0);
        __builtin_memcpy(reinterpret_cast<void*>(entry.to), reinterpret_cast<const void*>(entry.from), entry.bytes);
        break;
      case READ:
        krait_send(entry.ticket, entry.from, entry.bytes);
        break;
    }
    finish(++head);
  }
}

void follow(int part) {
  Member& self = members[part];
  for (uint32_t turn = 0;; turn++) {
    waitWhile(&self.turn, turn, &self.asleep, &self.patience);
    runPart(job, part);
    if (__atomic_sub_fetch(&left, 1, __ATOMIC_SEQ_CST) == 0) wake(&left, &leftAsleep);
  }
}

}  // namespace

// Never returns; the thread is ended from outside.
KRAIT_EXPORT("serve") void serve(int part, int threads) {
  if (part == 0) lead(threads);
  follow(part);
}

// Addresses and sizes, in the order in which src/backend/wasm/instance.ts reads them.
KRAIT_EXPORT("layout") const uint32_t* layout() {
  static uint32_t words[14];
  uint32_t* out = words;
  *out++ = kMostThreads;
  *out++ = kCapacity;
  *out++ = sizeof(Entry);
  *out++ = uint32_t(reinterpret_cast<uintptr_t>(ring));
  *out++ = uint32_t(reinterpret_cast<uintptr_t>(&draft));
  *out++ = offsetof(Entry, scratch_bytes);
  *out++ = offsetof(Entry, kind);
  *out++ = offsetof(Entry, scratch);
  *out++ = uint32_t(reinterpret_cast<uintptr_t>(&control.tail));
  *out++ = uint32_t(reinterpret_cast<uintptr_t>(&control.asleep));
  *out++ = uint32_t(reinterpret_cast<uintptr_t>(&control.head));
  *out++ = uint32_t(reinterpret_cast<uintptr_t>(&control.wants_room));
  *out++ = uint32_t(reinterpret_cast<uintptr_t>(&control.failed));
  *out++ = offsetof(Entry, began);
  return words;
}

}  // namespace krait
