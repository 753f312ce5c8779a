// The WASM device's queue: a ring of entries in linear memory, written by the JavaScript thread
// (src/backend/wasm/thread-queue.ts) and run in order by worker 0, with the other workers to share each kernel.
// Without shared memory there is no worker: JavaScript takes the same entries through `run`, a range at a time.
//
// What it is not: it allocates nothing. Scratch and staging memory come with the entry.
#pragma once
#include "abi.h"

#define KRAIT_EXPORT(name) extern "C" __attribute__((export_name(name), visibility("default")))

namespace krait {

enum { kCapacity = 4096, kMostThreads = 128 };  // the capacity is a power of two, so that counters may wrap
static_assert((kCapacity & (kCapacity - 1)) == 0, "see above");

enum Kind : int32_t { RUN = 0, WRITE = 1, READ = 2 };

// src/backend/wasm/instance.ts reads and writes it by offset, which `layout` tells.
struct Entry {
  Command command;
  double scratch_bytes;  // what `scratch` must hold; set by `plan`
  Kind kind;
  uint32_t ticket;        // READ: names the promise; RUN: not 0 if it is to be timed
  uint32_t to, from;      // WRITE: addresses; READ: from alone
  uint32_t bytes;
  uint32_t scratch;       // RUN: address, 64-byte aligned: shared scratch, then that of each thread
  Plan plan;
  double began, ended;    // RUN: milliseconds of the clock that `now` tells, if timed
};

// Each word that is written often has a cache line, and its neighbour, of its own.
struct Control {
  alignas(128) uint32_t tail;  // entries published, by JavaScript
  uint32_t asleep;             // worker 0 waits on `tail`
  alignas(128) uint32_t head;  // entries finished, by worker 0
  alignas(128) uint32_t wants_room;  // JavaScript: 1 waits on `head`, 2 wants to be told
  uint32_t failed;             // a worker has stopped for good
};

/** How many of `threads` a phase of a planned entry is worth. */
int partsOf(const Plan& plan, int phase, int threads);
/** Runs a range of units on the calling thread, which uses the scratch memory of `part`. */
void runRange(const Entry& entry, int phase, int64_t begin, int64_t end, int part);

}  // namespace krait
