// Causal depthwise convolution of width k, along each of the d channels:
//   y[t] = f(bias + sum_j weight[j] window[t][j]),  f = SiLU or identity,
// where window[t] holds the last k inputs of t's document, oldest first, ending with x[t]; inputs that a document does
// not have are 0. Before the first position come the k-1 inputs of `stateIn`. Padding is skipped as if it were not
// there, and gets 0. Gradients, with dsum = dy f'(sum):
//   dx[s] = sum over windows that hold s of weight[j] dsum[t];  dweight[j] += sum_t dsum[t] window[t][j]
//
// A unit is 64 channels of one batch, walked in stretches (conv-stretch.h). Backward goes from the last stretch to the
// first, because dx needs dsum of the k-1 rows that follow.
#include "conv-stretch.h"
#include "kernels.h"
#include "math.h"

namespace krait {
namespace KRAIT_VARIANT {
namespace {

// ---- forward -------------------------------------------------------------------------------------------------------

/** `next`: the row after the stretch. */
void writeOutputs(const Conv& conv, const Stretch& stretch, const Matrix& y, int64_t next, Block block,
                  const Rooms& room) {
  for (int64_t i = 0; i < stretch.count; i++) {
    fetchBlock(conv.x, next + i, block);
    const float *sum = room.sum + i * CHANNELS, *decayed = room.decayed + i * CHANNELS;
    float* to = targetBlock(y, room.row[i], block, room.outputs);
    eachChannelVector([&](Whole c) {
      store(to, c, conv.isSilu ? silu(load(sum, c), load(decayed, c)) : load(sum, c));
    });
    writeBlock(y, room.row[i], block, to);
  }
}

/** One position, as decoding has it: its window is the state and the input, without copies of them. */
void stepUnit(const Conv& conv, const Matrix& y, const Matrix& stateOut, int64_t batch, bool isReset, Block block,
              const Rooms& room) {
  const int64_t past = conv.k - 1;
  for (int64_t j = 0; j < past; j++) {
    const bool isThere = conv.stateIn && !isReset;
    room.list[j] = isThere ? readBlock(conv.stateIn, batch * past + j, block, room.spare + j * CHANNELS) : room.zeros;
  }
  room.list[past] = readBlock(conv.x, batch, block, room.inputs);
  room.place[0] = past;
  room.row[0] = batch;
  const Stretch stretch = {conv.k, 1};
  sumWindows(conv, stretch, room);
  writeOutputs(conv, stretch, y, batch + 1, block, room);
  for (int64_t j = 0; stateOut && j < past; j++) {
    fromFloats(stateOut.type, room.list[j + 1], block.count, stateOut.at(batch * past + j, block.first));
  }
}

void convUnit(const Conv& conv, const Matrix& y, const Matrix& stateOut, int64_t batch, Block block, Rooms room) {
  const int64_t k = conv.k, past = k - 1;
  loadParameters(conv, block, room);
  const int flag = conv.l == 1 && conv.flags ? *conv.flags.ints(batch, 0) : 0;
  if (conv.l == 1 && !(flag & PAD)) return stepUnit(conv, y, stateOut, batch, flag & RESET, block, room);
  for (int64_t j = 0; j < past; j++) {
    float* to = room.history + j * CHANNELS;
    copyBlock(to, conv.stateIn ? readBlock(conv.stateIn, batch * past + j, block, room.outputs) : room.zeros);
  }
  for (int64_t from = 0; from < conv.l; from += STRETCH) {
    const int64_t to = from + STRETCH < conv.l ? from + STRETCH : conv.l;
    for (int64_t j = 0; j < past; j++) room.list[j] = room.history + j * CHANNELS;
    const Stretch stretch = listInputs(conv, batch, from, to, block, room);
    sumWindows(conv, stretch, room);
    writeOutputs(conv, stretch, y, batch * conv.l + to, block, room);
    clearPadding(conv, y, batch, from, to, block);
    for (int64_t j = 0; j < past; j++) copyBlock(room.spare + j * CHANNELS, room.list[stretch.length - past + j]);
    float* other = room.history;
    room.history = room.spare;
    room.spare = other;
  }
  for (int64_t j = 0; stateOut && j < past; j++) {
    fromFloats(stateOut.type, room.history + j * CHANNELS, block.count, stateOut.at(batch * past + j, block.first));
  }
}

int planCausalConv(const Command& cmd, Plan* plan) {
  const Conv conv(cmd);
  *plan = Plan();
  const int64_t positions = conv.l + 3;  // parameters take as long as three
  planUnits(plan, 0, conv.batches * conv.blocks, positions * CHANNELS * (conv.k + 4));
  plan->thread_scratch = Rooms::bytes(conv.k);
  return checkTypes(cmd, "hfhihhh");
}

Block blockOf(const Conv& conv, int64_t unit) {
  const int64_t first = unit % conv.blocks * CHANNELS;
  return {first, conv.d - first < CHANNELS ? conv.d - first : int64_t(CHANNELS)};
}

void runCausalConv(const Command& cmd, int, int64_t begin, int64_t end, void* scratch, void*) {
  const Conv conv(cmd);
  const Rooms room(scratch, conv.k);
  for (int64_t unit = begin; unit < end; unit++) {
    convUnit(conv, matrix(cmd, 5), matrix(cmd, 6), unit / conv.blocks, blockOf(conv, unit), room);
  }
}

// ---- backward ------------------------------------------------------------------------------------------------------

struct ConvBackward : Conv {
  Matrix dy, dstateOut, dx, dweight, dbias, dstateIn;

  explicit ConvBackward(const Command& cmd) : Conv(cmd) {
    const auto m = [&](int i) { return matrix(cmd, i); };
    dy = m(5), dstateOut = m(6), dx = m(7), dweight = m(8), dbias = m(9), dstateIn = m(10);
  }
  /** Whether anybody asks for sums over positions: not for weights that are frozen. */
  bool hasSums() const { return dweight || dbias; }
};

/** Puts the k-1 inputs before a position into the list: earlier positions of its document, then stateIn, then zeros. */
void listHistory(const Conv& conv, int64_t batch, int64_t before, Block block, const Rooms& room) {
  int64_t missing = conv.k - 1;
  bool isOpen = true;  // whether the document goes on before what was found
  for (int64_t t = before - 1; t >= 0 && missing > 0 && isOpen; t--) {
    const int flag = conv.flags ? *conv.flags.ints(batch, t) : 0;
    if (flag & PAD) continue;
    missing--;
    room.list[missing] = readBlock(conv.x, batch * conv.l + t, block, room.spare + missing * CHANNELS);
    isOpen = !(flag & RESET);
  }
  for (int64_t state = conv.k - 2; missing > 0; state--) {
    missing--;
    const bool isThere = isOpen && conv.stateIn;
    const int64_t row = batch * (conv.k - 1) + state;
    room.list[missing] = isThere ? readBlock(conv.stateIn, row, block, room.spare + missing * CHANNELS) : room.zeros;
  }
}

/** dsum of every position, in place of its sum. `next`: the first row of the stretch before, which comes next. */
void differentiate(const ConvBackward& conv, const Stretch& stretch, int64_t next, Block block, const Rooms& room) {
  if (conv.isSilu) sumWindows(conv, stretch, room);
  for (int64_t i = 0; i < stretch.count; i++) {
    fetchBlock(conv.x, next + i, block);
    fetchBlock(conv.dy, next + i, block);
    float *sum = room.sum + i * CHANNELS, *decayed = room.decayed + i * CHANNELS;
    const float* dy = readBlock(conv.dy, room.row[i], block, room.outputs);
    eachChannelVector([&](Whole c) {
      const F gradient = load(dy, c);
      store(sum, c, conv.isSilu ? gradient * siluSlope(load(sum, c), load(decayed, c)) : gradient);
    });
  }
}

/** Adds the sums over positions of dsum times input j..j+MANY-1 of its window; input k stands for 1, the bias. */
template <int MANY>
void sumGradients(int64_t k, int64_t j, const Stretch& stretch, const Rooms& room) {
  eachChannelVector([&](Whole c) {
    F sums[MANY] = {};
    for (int64_t i = 0; i < stretch.count; i++) {
      const float* const* window = room.list + room.place[i] - (k - 1);
      const F dsum = load(room.sum + i * CHANNELS, c);
      for (int m = 0; m < MANY; m++) sums[m] += j + m < k ? dsum * load(window[j + m], c) : dsum;
    }
    for (int m = 0; m < MANY; m++) {
      float* total = room.gradients + (j + m) * CHANNELS;
      store(total, c, load(total, c) + sums[m]);
    }
  });
}
void sumGradients(int64_t k, const Stretch& stretch, const Rooms& room) {
  if (k == 4) return sumGradients<5>(4, 0, stretch, room);
  for (int64_t j = 0; j <= k; j++) sumGradients<1>(k, j, stretch, room);
}

/** sum_i weight[k-1-i] following[i], where following[0] is dsum of the input's own position. */
KRAIT_INLINE F gathered(const Rooms& room, int64_t k, const float* const* following, Whole c) {
  F sum = splat(0);
  for (int64_t i = 0; i < k; i++) sum += load(room.weight + (k - 1 - i) * CHANNELS, c) * load(following[i], c);
  return sum;
}

/** dx of a stretch. The last `open` rows of the list are the first `open` rows of the state that comes out. */
void gatherInputs(const ConvBackward& conv, const Stretch& stretch, int64_t batch, int64_t open, Block block,
                  const Rooms& room) {
  alignas(64) float state[CHANNELS];
  for (int64_t i = 0; i < stretch.count; i++) {
    float* to = targetBlock(conv.dx, room.row[i], block, room.outputs);
    const int64_t index = open - (stretch.length - room.place[i]);
    const bool isInState = conv.dstateOut && index >= 0;
    const float* more = isInState ? readBlock(conv.dstateOut, batch * (conv.k - 1) + index, block, state) : room.zeros;
    eachChannelVector([&](Whole c) {
      store(to, c, gathered(room, conv.k, room.dlist + room.place[i], c) + load(more, c));
    });
    writeBlock(conv.dx, room.row[i], block, to);
  }
}

void convUnitBwd(const ConvBackward& conv, int64_t batch, Block block, Rooms room, float* sums) {
  const int64_t k = conv.k, past = k - 1;
  loadParameters(conv, block, room);
  __builtin_memset(room.gradients, 0, size_t(k + 1) * CHANNELS * 4);
  float* carry = room.history;  // dsum of the k-1 rows after the stretch
  __builtin_memset(carry, 0, size_t(past) * CHANNELS * 4);
  int64_t open = past;
  for (int64_t stretchIndex = ceilDiv(conv.l, STRETCH) - 1; stretchIndex >= 0; stretchIndex--) {
    const int64_t from = stretchIndex * STRETCH, to = from + STRETCH < conv.l ? from + STRETCH : conv.l;
    clearPadding(conv, conv.dx, batch, from, to, block);
    const Stretch stretch = listInputs(conv, batch, from, to, block, room);
    if (stretch.count == 0) continue;
    listHistory(conv, batch, from, block, room);
    differentiate(conv, stretch, batch * conv.l + from - STRETCH, block, room);
    if (conv.hasSums()) sumGradients(k, stretch, room);
    for (int64_t p = past; p < stretch.length; p++) room.dlist[p] = room.zeros;
    for (int64_t i = 0; i < stretch.count; i++) room.dlist[room.place[i]] = room.sum + i * CHANNELS;
    for (int64_t j = 0; j < past; j++) room.dlist[stretch.length + j] = carry + j * CHANNELS;
    gatherInputs(conv, stretch, batch, open, block, room);
    const int64_t entries = stretch.length - past;
    open = open > entries ? open - entries : 0;
    for (int64_t j = 0; j < past; j++) copyBlock(room.spare + j * CHANNELS, room.dlist[past + j]);
    float* other = carry;
    carry = room.spare;
    room.spare = other;
  }
  for (int64_t j = 0; conv.dstateIn && j < past; j++) {
    for (int64_t i = 0; i < k; i++) room.dlist[i] = j + i < past ? room.zeros : carry + (j + i - past) * CHANNELS;
    const int64_t index = j - (past - open);
    const bool isInState = conv.dstateOut && index >= 0;
    const float* more = isInState ? readBlock(conv.dstateOut, batch * past + index, block, room.inputs) : room.zeros;
    eachChannelVector([&](Whole c) { store(room.outputs, c, gathered(room, k, room.dlist, c) + load(more, c)); });
    fromFloats(conv.dstateIn.type, room.outputs, block.count, conv.dstateIn.at(batch * past + j, block.first));
  }
  for (int64_t j = 0; j <= k && conv.hasSums(); j++) {
    float* to = sums + (batch * (k + 1) + j) * conv.d + block.first;
    __builtin_memcpy(to, room.gradients + j * CHANNELS, size_t(block.count) * 4);
  }
}

int planCausalConvBwd(const Command& cmd, Plan* plan) {
  const ConvBackward conv(cmd);
  *plan = Plan();
  planUnits(plan, 0, conv.batches * conv.blocks, conv.l * CHANNELS * (conv.k + 4) * 2);
  plan->thread_scratch = Rooms::bytes(conv.k);
  if (conv.hasSums()) {
    planUnits(plan, 1, conv.blocks, conv.batches * conv.k * CHANNELS);
    plan->shared_scratch = size_t(conv.batches * (conv.k + 1) * conv.d) * 4;  // sums over positions, [b, k+1, d]
  }
  return checkTypes(cmd, "hfhihhhhffh");
}

void runCausalConvBwd(const Command& cmd, int phase, int64_t begin, int64_t end, void* scratch, void* shared) {
  const ConvBackward conv(cmd);
  float* sums = static_cast<float*>(shared);
  for (int64_t unit = begin; unit < end; unit++) {
    const Block block = blockOf(conv, unit);
    if (phase == 0) {
      convUnitBwd(conv, unit / conv.blocks, block, Rooms(scratch, conv.k), sums);
      continue;
    }
    for (int64_t c = block.first; c < block.first + block.count; c++) {
      for (int64_t j = 0; j <= conv.k; j++) {
        if (!(j < conv.k ? conv.dweight : conv.dbias)) continue;
        float* gradient = j < conv.k ? conv.dweight.floats(c, j) : conv.dbias.floats(0, c);
        for (int64_t batch = 0; batch < conv.batches; batch++) {
          *gradient += sums[(batch * (conv.k + 1) + j) * conv.d + c];
        }
      }
    }
  }
}

}  // namespace

const Kernel kCausalConv = {"causal_conv", planCausalConv, runCausalConv};
const Kernel kCausalConvBwd = {"causal_conv_bwd", planCausalConvBwd, runCausalConvBwd};

}  // namespace KRAIT_VARIANT
}  // namespace krait
