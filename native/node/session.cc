#include "session.h"

namespace krait {
namespace {

struct Completion {
  Session* session;
  napi_deferred deferred;
  napi_ref buffer;  // null for a sync
  size_t bytes;
  const char* error;
};

void release(Session* session) {
  if (--session->owners == 0) delete session;
}

// ---- completions ------------------------------------------------------------------------------------------

void onDone(void* token, const char* error) {
  Completion* completion = static_cast<Completion*>(token);
  completion->error = error;
  napi_call_threadsafe_function(completion->session->channel, completion, napi_tsfn_nonblocking);
}

napi_value nothing(napi_env env) {
  napi_value value;
  napi_get_undefined(env, &value);
  return value;
}

napi_value resultOf(napi_env env, const Completion& completion) {
  if (!completion.buffer) return nothing(env);
  napi_value buffer, array = nullptr;
  napi_get_reference_value(env, completion.buffer, &buffer);
  napi_create_typedarray(env, napi_uint8_array, completion.bytes, buffer, 0, &array);
  return array;
}

void settle(napi_env env, napi_value, void*, void* data) {
  Completion* completion = static_cast<Completion*>(data);
  Session* session = completion->session;
  if (env) {  // null while the environment is being torn down: nobody is left to hear of it
    if (completion->error) {
      napi_value text, error;
      napi_create_string_utf8(env, completion->error, NAPI_AUTO_LENGTH, &text);
      napi_create_error(env, nullptr, text, &error);
      napi_reject_deferred(env, completion->deferred, error);
    } else {
      napi_resolve_deferred(env, completion->deferred, resultOf(env, *completion));
    }
    if (completion->buffer) napi_delete_reference(env, completion->buffer);
    if (--session->pending == 0) {
      if (session->device) napi_unref_threadsafe_function(env, session->channel);
      uint32_t count;
      napi_reference_unref(env, session->self, &count);
    }
  }
  delete completion;
}

void expect(napi_env env, Session* session) {
  if (session->pending++ > 0) return;
  napi_ref_threadsafe_function(env, session->channel);
  uint32_t count;
  napi_reference_ref(env, session->self, &count);
}

Completion* promised(napi_env env, Session* session, napi_ref buffer, size_t bytes, napi_value* promise) {
  Completion* completion = new Completion{session, nullptr, buffer, bytes, nullptr};
  napi_create_promise(env, &completion->deferred, promise);
  expect(env, session);
  return completion;
}

// ---- life of a session ------------------------------------------------------------------------------------

void closeSession(Session* session) {
  if (!session->device) return;
  Device* device = session->device;
  session->device = nullptr;
  device->close();
  delete device;
  napi_release_threadsafe_function(session->channel, napi_tsfn_release);
}

// Runs before the channel's own hook, which was added earlier: the queue's thread is gone when the channel goes.
void onExit(void* data) { closeSession(static_cast<Session*>(data)); }

void onCollected(napi_env env, void* data, void*) {
  Session* session = static_cast<Session*>(data);
  endSession(env, session);
  napi_delete_reference(env, session->self);
  napi_delete_reference(env, session->command);
  release(session);
}

void onChannelGone(napi_env, void* data, void*) { release(static_cast<Session*>(data)); }

}  // namespace

napi_value openSession(napi_env env, const Catalogue& catalogue, int threads) {
  Device* device = new Device(catalogue, threads, onDone);
  Session* session = new Session;
  session->device = device;
  napi_value name, buffer, handle;
  napi_create_string_utf8(env, "krait", NAPI_AUTO_LENGTH, &name);
  napi_create_threadsafe_function(env, nullptr, nullptr, name, 0, 1, session, onChannelGone, nullptr, settle,
                                  &session->channel);
  napi_unref_threadsafe_function(env, session->channel);
  napi_add_env_cleanup_hook(env, onExit, session);
  void* slots = nullptr;
  napi_create_arraybuffer(env, sizeof(Command), &slots, &buffer);
  session->slots = static_cast<double*>(slots);
  napi_create_reference(env, buffer, 1, &session->command);
  napi_create_external(env, session, onCollected, nullptr, &handle);
  napi_create_reference(env, handle, 0, &session->self);
  return handle;
}

void endSession(napi_env env, Session* session) {
  if (!session->device) return;
  napi_remove_env_cleanup_hook(env, onExit, session);
  closeSession(session);
}

napi_value queueRead(napi_env env, Session* session, const void* from, size_t bytes, bool wanted) {
  void* to = nullptr;
  napi_ref reference = nullptr;
  if (wanted) {
    napi_value buffer;
    if (napi_create_arraybuffer(env, bytes, &to, &buffer) != napi_ok) return nullptr;  // a RangeError is pending
    napi_create_reference(env, buffer, 1, &reference);
  }
  napi_value promise;
  Completion* completion = promised(env, session, reference, bytes, &promise);
  session->device->read(from, to, bytes, completion);
  return promise;
}

napi_value queueLoad(napi_env env, Session* session, int file, uint64_t offset, void* to, size_t bytes) {
  napi_value promise;
  Completion* completion = promised(env, session, nullptr, bytes, &promise);
  session->device->load(file, offset, to, bytes, completion);
  return promise;
}

}  // namespace krait
