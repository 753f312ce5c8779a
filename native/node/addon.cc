// The Node-API face of a device: arguments in, promises out, nothing else. src/backend/native/addon.ts types it.
#include <math.h>

#include <exception>
#include <string>

#include "isa.h"
#include "session.h"

namespace krait {
namespace {

constexpr size_t kSlots = sizeof(Command) / sizeof(double);

napi_value undefined(napi_env env) {
  napi_value value;
  napi_get_undefined(env, &value);
  return value;
}

napi_value fail(napi_env env, const char* message) {
  napi_throw_error(env, nullptr, message);
  return nullptr;
}

// ---- arguments --------------------------------------------------------------------------------------------

template <size_t N>
bool arguments(napi_env env, napi_callback_info info, napi_value (&out)[N]) {
  size_t count = N;
  if (napi_get_cb_info(env, info, &count, out, nullptr, nullptr) == napi_ok && count >= N) return true;
  fail(env, "native device: too few arguments");
  return false;
}

bool sessionOf(napi_env env, napi_value value, Session** out) {
  void* data = nullptr;
  if (napi_get_value_external(env, value, &data) != napi_ok) {
    fail(env, "native device: the first argument is not a device");
    return false;
  }
  *out = static_cast<Session*>(data);
  if ((*out)->device) return true;
  fail(env, "the native device is closed; create another one");
  return false;
}

// A size or an address: a whole number from 0 to 2^53.
bool wholeOf(napi_env env, napi_value value, const char* what, double* out) {
  const bool number = napi_get_value_double(env, value, out) == napi_ok;
  if (number && *out >= 0 && *out <= 9007199254740992.0 && floor(*out) == *out) return true;
  const std::string message = std::string("native device: ") + what + " must be a whole number from 0";
  napi_throw_range_error(env, nullptr, message.c_str());
  return false;
}

std::string textOf(napi_env env, napi_value value) {
  char text[64];
  size_t length = 0;
  if (napi_get_value_string_utf8(env, value, text, sizeof text, &length) != napi_ok) return std::string();
  return std::string(text, length);
}

// ---- functions --------------------------------------------------------------------------------------------

/** variants(): { name, runnable }[] */
napi_value jsVariants(napi_env env, napi_callback_info) {
  napi_value list;
  napi_create_array(env, &list);
  uint32_t at = 0;
  for (const Variant& variant : variants()) {
    napi_value item, name, runnable;
    napi_create_object(env, &item);
    napi_create_string_utf8(env, variant.catalogue->variant, NAPI_AUTO_LENGTH, &name);
    napi_get_boolean(env, variant.runnable, &runnable);
    napi_set_named_property(env, item, "name", name);
    napi_set_named_property(env, item, "runnable", runnable);
    napi_set_element(env, list, at++, item);
  }
  return list;
}

/** kernels(variant): string[] */
napi_value jsKernels(napi_env env, napi_callback_info info) {
  napi_value args[1];
  if (!arguments(env, info, args)) return nullptr;
  const Catalogue* catalogue = findVariant(textOf(env, args[0]).c_str());
  if (!catalogue) return fail(env, "native device: no such variant on this machine");
  napi_value list;
  napi_create_array(env, &list);
  for (int i = 0; i < catalogue->count; i++) {
    napi_value name;
    napi_create_string_utf8(env, catalogue->kernels[i].name, NAPI_AUTO_LENGTH, &name);
    napi_set_element(env, list, uint32_t(i), name);
  }
  return list;
}

/** open(variant, threads): device */
napi_value jsOpen(napi_env env, napi_callback_info info) {
  napi_value args[2];
  double threads;
  if (!arguments(env, info, args) || !wholeOf(env, args[1], "threads", &threads)) return nullptr;
  const Catalogue* catalogue = findVariant(textOf(env, args[0]).c_str());
  if (!catalogue) return fail(env, "native device: no such variant on this machine");
  if (threads < 1 || threads > 1024) return fail(env, "native device: threads must be from 1 to 1024");

  return openSession(env, *catalogue, int(threads));
}

/** commandBuffer(device): Float64Array whose contents launch() takes */
napi_value jsCommandBuffer(napi_env env, napi_callback_info info) {
  napi_value args[1], buffer, array;
  Session* session;
  if (!arguments(env, info, args) || !sessionOf(env, args[0], &session)) return nullptr;
  napi_get_reference_value(env, session->command, &buffer);
  napi_create_typedarray(env, napi_float64_array, kSlots, buffer, 0, &array);
  return array;
}

/** threads(device): number */
napi_value jsThreads(napi_env env, napi_callback_info info) {
  napi_value args[1], count;
  Session* session;
  if (!arguments(env, info, args) || !sessionOf(env, args[0], &session)) return nullptr;
  napi_create_int32(env, session->device->threads(), &count);
  return count;
}

/** alloc(device, bytes): address, 0 if there is no memory */
napi_value jsAlloc(napi_env env, napi_callback_info info) {
  napi_value args[2], address;
  Session* session;
  double bytes;
  if (!arguments(env, info, args) || !sessionOf(env, args[0], &session)) return nullptr;
  if (!wholeOf(env, args[1], "bytes", &bytes)) return nullptr;
  napi_create_double(env, double(reinterpret_cast<uintptr_t>(session->device->alloc(size_t(bytes)))), &address);
  return address;
}

bool sound(const Command& command, int kernels) {
  if (!(command.kernel >= 0 && command.kernel < kernels)) return false;
  if (!(command.tensor_count >= 0 && command.tensor_count <= MAX_TENSORS)) return false;
  for (int i = 0; i < int(command.tensor_count); i++) {
    const TensorArg& tensor = command.tensors[i];
    if (!(tensor.address >= 0 && tensor.ld >= 0 && tensor.ld <= 9007199254740992.0)) return false;
  }
  for (double dim : command.dims) {
    if (!(fabs(dim) <= 9007199254740992.0 && floor(dim) == dim)) return false;
  }
  return true;
}

const char* const kUnsound = "native device: a command has a size or address that is not a whole number";

/** launch(device): takes the command buffer; 0, or 1 + the index of the tensor whose dtype is refused */
napi_value jsLaunch(napi_env env, napi_callback_info info) {
  napi_value args[1], refused;
  Session* session;
  if (!arguments(env, info, args) || !sessionOf(env, args[0], &session)) return nullptr;
  const Command& command = *reinterpret_cast<const Command*>(session->slots);
  if (!sound(command, session->device->catalogue().count)) {
    return fail(env, kUnsound);
  }
  napi_create_int32(env, session->device->launch(command), &refused);
  return refused;
}

/**
 * makeList(device, commands: Float64Array): the number of a list of packed commands; or below 0 where a dtype is refused:
 * -(1 + 32 c + t) for tensor t of command c.
 */
napi_value jsMakeList(napi_env env, napi_callback_info info) {
  napi_value args[2], result;
  Session* session;
  if (!arguments(env, info, args) || !sessionOf(env, args[0], &session)) return nullptr;
  napi_typedarray_type type;
  size_t slots = 0, id = 0, refused = 0;
  void* data = nullptr;
  const napi_status status = napi_get_typedarray_info(env, args[1], &type, &slots, &data, nullptr, nullptr);
  if (status != napi_ok || type != napi_float64_array || slots % kSlots != 0) {
    return fail(env, "native device: commands must be a Float64Array of whole commands");
  }
  const Command* commands = static_cast<const Command*>(data);
  for (size_t i = 0; i < slots / kSlots; i++) {
    if (!sound(commands[i], session->device->catalogue().count)) return fail(env, kUnsound);
  }
  const int tensor = session->device->makeList(commands, slots / kSlots, &id, &refused);
  napi_create_double(env, tensor ? -double(1 + 32 * refused + size_t(tensor - 1)) : double(id), &result);
  return result;
}

/** The arguments (device, list); false if an error is pending. */
bool listOf(napi_env env, napi_callback_info info, Session** session, size_t* id) {
  napi_value args[2];
  double number;
  if (!arguments(env, info, args) || !sessionOf(env, args[0], session)) return false;
  if (!wholeOf(env, args[1], "list", &number)) return false;
  *id = size_t(number);
  if ((*session)->device->hasList(*id)) return true;
  fail(env, "native device: no such list");
  return false;
}

/** launchList(device, list) */
napi_value jsLaunchList(napi_env env, napi_callback_info info) {
  Session* session;
  size_t id;
  if (!listOf(env, info, &session, &id)) return nullptr;
  session->device->launchList(id);
  return undefined(env);
}

/** dropList(device, list) */
napi_value jsDropList(napi_env env, napi_callback_info info) {
  Session* session;
  size_t id;
  if (!listOf(env, info, &session, &id)) return nullptr;
  session->device->dropList(id);
  return undefined(env);
}

/** write(device, address, data: Uint8Array) */
napi_value jsWrite(napi_env env, napi_callback_info info) {
  napi_value args[3];
  Session* session;
  double address;
  if (!arguments(env, info, args) || !sessionOf(env, args[0], &session)) return nullptr;
  if (!wholeOf(env, args[1], "address", &address)) return nullptr;
  napi_typedarray_type type;
  size_t bytes = 0;
  void* data = nullptr;
  const napi_status status = napi_get_typedarray_info(env, args[2], &type, &bytes, &data, nullptr, nullptr);
  if (status != napi_ok || type != napi_uint8_array) {
    return fail(env, "native device: data must be a Uint8Array");
  }
  if (!session->device->write(reinterpret_cast<void*>(uintptr_t(address)), data, bytes)) {
    return fail(env, "native device: out of memory for an upload; use smaller pieces");
  }
  return undefined(env);
}

/** read(device, address, bytes): Promise<Uint8Array> */
napi_value jsRead(napi_env env, napi_callback_info info) {
  napi_value args[3];
  Session* session;
  double address, bytes;
  if (!arguments(env, info, args) || !sessionOf(env, args[0], &session)) return nullptr;
  if (!wholeOf(env, args[1], "address", &address) || !wholeOf(env, args[2], "bytes", &bytes)) return nullptr;
  return queueRead(env, session, reinterpret_cast<const void*>(uintptr_t(address)), size_t(bytes), true);
}

/** load(device, address, file, offset, bytes): Promise<void>; `file` is a descriptor that stays open until then */
napi_value jsLoad(napi_env env, napi_callback_info info) {
  napi_value args[5];
  Session* session;
  double address, file, offset, bytes;
  if (!arguments(env, info, args) || !sessionOf(env, args[0], &session)) return nullptr;
  if (!wholeOf(env, args[1], "address", &address) || !wholeOf(env, args[2], "file", &file)) return nullptr;
  if (!wholeOf(env, args[3], "offset", &offset) || !wholeOf(env, args[4], "bytes", &bytes)) return nullptr;
  void* to = reinterpret_cast<void*>(uintptr_t(address));
  return queueLoad(env, session, int(file), uint64_t(offset), to, size_t(bytes));
}

/** sync(device): Promise<void> */
napi_value jsSync(napi_env env, napi_callback_info info) {
  napi_value args[1];
  Session* session;
  if (!arguments(env, info, args) || !sessionOf(env, args[0], &session)) return nullptr;
  return queueRead(env, session, nullptr, 0, false);
}

/** setTiming(device, on) */
napi_value jsSetTiming(napi_env env, napi_callback_info info) {
  napi_value args[2];
  Session* session;
  bool on = false;
  if (!arguments(env, info, args) || !sessionOf(env, args[0], &session)) return nullptr;
  napi_get_value_bool(env, args[1], &on);
  session->device->setTiming(on);
  return undefined(env);
}

/** takeTimes(device): Float64Array of start and duration in nanoseconds of each timed launch that has run */
napi_value jsTakeTimes(napi_env env, napi_callback_info info) {
  napi_value args[1], buffer, array;
  Session* session;
  if (!arguments(env, info, args) || !sessionOf(env, args[0], &session)) return nullptr;
  const std::vector<Device::Span> spans = session->device->takeTimes();
  void* data = nullptr;
  const size_t bytes = spans.size() * 2 * sizeof(double);
  if (napi_create_arraybuffer(env, bytes, &data, &buffer) != napi_ok) return nullptr;  // a RangeError is pending
  double* out = static_cast<double*>(data);
  for (const Device::Span& span : spans) {
    *out++ = double(span.begin);
    *out++ = double(span.end - span.begin);
  }
  napi_create_typedarray(env, napi_float64_array, spans.size() * 2, buffer, 0, &array);
  return array;
}

/** close(device): see Device::close */
napi_value jsClose(napi_env env, napi_callback_info info) {
  napi_value args[1];
  void* data = nullptr;
  if (!arguments(env, info, args)) return nullptr;
  if (napi_get_value_external(env, args[0], &data) != napi_ok) return fail(env, "native device: not a device");
  endSession(env, static_cast<Session*>(data));
  return undefined(env);
}

struct Row {
  const char* name;
  napi_callback function;
};
/** Calls a row's function: what the system refuses it (memory, threads) becomes an error of JavaScript. */
napi_value call(napi_env env, napi_callback_info info) {
  void* row = nullptr;
  napi_get_cb_info(env, info, nullptr, nullptr, nullptr, &row);
  try {
    return static_cast<const Row*>(row)->function(env, info);
  } catch (const std::exception& error) {
    return fail(env, error.what());
  }
}

napi_value exportAll(napi_env env, napi_value exports) {
  static const Row table[] = {
      {"variants", jsVariants}, {"kernels", jsKernels},
      {"open", jsOpen},         {"commandBuffer", jsCommandBuffer},
      {"threads", jsThreads},   {"alloc", jsAlloc},
      {"launch", jsLaunch},     {"write", jsWrite},
      {"read", jsRead},         {"sync", jsSync},
      {"close", jsClose},       {"setTiming", jsSetTiming},
      {"takeTimes", jsTakeTimes}, {"makeList", jsMakeList},
      {"launchList", jsLaunchList}, {"dropList", jsDropList},
      {"load", jsLoad},
  };
  for (const Row& row : table) {
    napi_value function;
    napi_create_function(env, row.name, NAPI_AUTO_LENGTH, call, const_cast<Row*>(&row), &function);
    napi_set_named_property(env, exports, row.name, function);
  }
  return exports;
}

}  // namespace
}  // namespace krait

NAPI_MODULE_INIT() { return krait::exportAll(env, exports); }
