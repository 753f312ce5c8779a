// What both directions of the causal convolution share: a unit is 64 channels of one batch, walked in stretches. Each
// stretch is a list of input rows: k-1 rows of history, then one row for each position that is not padding, with k-1
// rows of zeros before one that starts a document. Every window is k neighbours of that list.
#pragma once
#include "load.h"
#include "math.h"

namespace krait {
namespace KRAIT_VARIANT {
namespace {

constexpr int CHANNELS = 64;
constexpr int64_t STRETCH = 32;

struct Conv {
  Matrix x, weight, bias, flags, stateIn;
  int64_t batches, l, d, k, blocks;
  bool isSilu;

  explicit Conv(const Command& cmd) {
    const auto m = [&](int i) { return matrix(cmd, i); };
    x = m(0), weight = m(1), bias = m(2), flags = m(3), stateIn = m(4);
    batches = dim(cmd, 0), l = dim(cmd, 1), d = dim(cmd, 2), k = dim(cmd, 3);
    isSilu = cmd.dims[4] != 0;
    blocks = ceilDiv(d, CHANNELS);
  }
};

/** Channels first .. first+count-1. */
struct Block {
  int64_t first, count;
};

/** The block's channels of a row as CHANNELS floats: memory itself if it holds just that, else `room`, 0 at the end. */
inline const float* readBlock(const Matrix& m, int64_t row, Block block, float* room) {
  if (m.type == F32 && block.count == CHANNELS) return m.floats(row, block.first);
  toFloats(m.type, m.at(row, block.first), block.count, room);
  for (int64_t c = block.count; c < CHANNELS; c++) room[c] = 0;
  return room;
}
inline void copyBlock(float* to, const float* from) { __builtin_memcpy(to, from, CHANNELS * 4); }

/** Fetches the block's channels of a row that will be read soon: rows are far apart, processors do not see them coming. */
KRAIT_INLINE void fetchBlock(const Matrix& m, int64_t row, Block block) {
  const char* line = m.at(row, block.first);
  for (int64_t at = 0; at < CHANNELS * bytesOf(m.type); at += 64) __builtin_prefetch(line + at);
}

/** The same for output: where to compute it, and then `writeBlock`. */
inline float* targetBlock(const Matrix& m, int64_t row, Block block, float* room) {
  return m.type == F32 && block.count == CHANNELS ? m.floats(row, block.first) : room;
}
inline void writeBlock(const Matrix& m, int64_t row, Block block, const float* from) {
  if (m.type != F32 || block.count != CHANNELS) fromFloats(m.type, from, block.count, m.at(row, block.first));
}

/**
 * A thread's scratch space. Rows of CHANNELS floats: the parameters; k-1 inputs or gradients of the neighbouring stretch
 * and room for the next; inputs, sums (then their gradients) and e^-|sum| of each position; one row on its way out;
 * gradients of the k weights and the bias. Then the lists of a stretch: its inputs, and the gradients of their sums.
 */
struct Rooms {
  float *weight, *bias, *zeros, *history, *spare, *inputs, *sum, *decayed, *outputs, *gradients;
  const float **list, **dlist;
  int64_t *place, *row;

  Rooms(void* from, int64_t k) : next_(uintptr_t(from)) {
    weight = rows(k), bias = rows(1), zeros = rows(1), history = rows(k - 1), spare = rows(k - 1);
    inputs = rows(STRETCH), sum = rows(STRETCH), decayed = rows(STRETCH), outputs = rows(1), gradients = rows(k + 1);
    const int64_t longest = STRETCH * k + 2 * (k - 1);
    list = reinterpret_cast<const float**>(take(size_t(longest) * sizeof(float*)));
    dlist = reinterpret_cast<const float**>(take(size_t(longest) * sizeof(float*)));
    place = reinterpret_cast<int64_t*>(take(STRETCH * 8));
    row = reinterpret_cast<int64_t*>(take(STRETCH * 8));
  }
  static size_t bytes(int64_t k) { return size_t(Rooms(nullptr, k).next_); }

 private:
  uintptr_t next_;
  uintptr_t take(size_t bytes) {
    const uintptr_t part = next_;
    next_ += rounded64(bytes);
    return part;
  }
  float* rows(int64_t count) { return reinterpret_cast<float*>(take(size_t(count) * CHANNELS * 4)); }
};

/** Weights as k rows, and the bias, with 0 beyond the channels. */
inline void loadParameters(const Conv& conv, Block block, const Rooms& room) {
  for (int64_t j = 0; j < conv.k; j++) {
    for (int64_t c = block.count; c < CHANNELS; c++) room.weight[j * CHANNELS + c] = 0;
  }
  const float* taps = conv.weight.floats(block.first, 0);
  const int64_t step = conv.weight.ld;
  int64_t c = 0;
  for (; conv.k == 4 && c + 4 <= block.count; c += 4) transposeFour(taps + c * step, step, room.weight + c, CHANNELS);
  for (; c < block.count; c++) {
    for (int64_t j = 0; j < conv.k; j++) room.weight[j * CHANNELS + c] = taps[c * step + j];
  }
  __builtin_memset(room.zeros, 0, CHANNELS * 4);
  copyBlock(room.bias, conv.bias ? readBlock(conv.bias, 0, block, room.inputs) : room.zeros);
}

/** The list of a stretch: its length, and for each position that is not padding its place in the list and its row. */
struct Stretch {
  int64_t length, count;
};

/** Appends the positions from .. to-1 of a batch to the k-1 rows of history that stand in the list. */
inline Stretch listInputs(const Conv& conv, int64_t batch, int64_t from, int64_t to, Block block, const Rooms& room) {
  Stretch stretch = {conv.k - 1, 0};
  for (int64_t t = from; t < to; t++) {
    const int flag = conv.flags ? *conv.flags.ints(batch, t) : 0;
    if (flag & PAD) continue;
    for (int64_t j = 0; (flag & RESET) && j < conv.k - 1; j++) room.list[stretch.length++] = room.zeros;
    const int64_t row = batch * conv.l + t;
    room.place[stretch.count] = stretch.length;
    room.row[stretch.count] = row;
    room.list[stretch.length++] = readBlock(conv.x, row, block, room.inputs + stretch.count * CHANNELS);
    stretch.count++;
  }
  return stretch;
}

template <class Body>
KRAIT_INLINE void eachChannelVector(Body body) {
  for (int c = 0; c < CHANNELS; c += LANES) body(Whole{c});
}

/** bias + sum of weight and window for every position, in room.sum; K = k where it is known. */
template <int K>
void sumWindows(int64_t k, const Stretch& stretch, const Rooms& room) {
  if (K) k = K;
  for (int64_t i = 0; i < stretch.count; i++) {
    const float* const* window = room.list + room.place[i] - (k - 1);
    eachChannelVector([&](Whole c) {
      F sum = load(room.bias, c);
      for (int64_t j = 0; j < k; j++) sum += load(room.weight + j * CHANNELS, c) * load(window[j], c);
      store(room.sum + i * CHANNELS, c, sum);
    });
  }
}
inline void sumWindows(const Conv& conv, const Stretch& stretch, const Rooms& room) {
  if (conv.k == 4) {
    sumWindows<4>(conv.k, stretch, room);
  } else {
    sumWindows<0>(conv.k, stretch, room);
  }
  if (conv.isSilu) decaySizes(room.sum, stretch.count * CHANNELS, room.decayed);
}

/** Zeros in the positions from .. to-1 of a batch that are padding. */
inline void clearPadding(const Conv& conv, const Matrix& m, int64_t batch, int64_t from, int64_t to, Block block) {
  for (int64_t t = from; conv.flags && t < to; t++) {
    if (*conv.flags.ints(batch, t) & PAD) {
      __builtin_memset(m.at(batch * conv.l + t, block.first), 0, size_t(block.count * bytesOf(m.type)));
    }
  }
}

}  // namespace
}  // namespace KRAIT_VARIANT
}  // namespace krait
