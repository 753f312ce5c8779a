// A device as JavaScript holds it: a handle, a channel on which results come back from the queue's thread, and their
// lives. A session ends with close, with its handle, or with the environment (process or worker), whichever is first.
#pragma once
#define NAPI_VERSION 8
#include <node_api.h>

#include "device.h"

namespace krait {

/** What a JavaScript handle stands for. Freed when the handle and the completion channel are both gone. */
struct Session {
  Device* device = nullptr;  // null once closed
  napi_threadsafe_function channel = nullptr;
  napi_ref self = nullptr;     // strong while promises are pending
  napi_ref command = nullptr;  // keeps the buffer below alive
  double* slots = nullptr;
  int pending = 0;
  int owners = 2;
};

/** A handle of a new device. @throws what the device throws when its threads cannot start. */
napi_value openSession(napi_env env, const Catalogue& catalogue, int threads);

/** Queues a read of an open file into the device's memory and returns its promise, which rejects if it fails. */
napi_value queueLoad(napi_env env, Session* session, int file, uint64_t offset, void* to, size_t bytes);

/** Closes the device if that has not happened. */
void endSession(napi_env env, Session* session);

/** A promise of `bytes` from device memory as a Uint8Array, or of undefined when everything before is done (no `wanted`). */
napi_value queueRead(napi_env env, Session* session, const void* from, size_t bytes, bool wanted);

}  // namespace krait
