// Memory and elementwise kernels: y[r, c] = f(x[r, c], ...), on tiles of f32. A tile is read before it is written, so
// that y may be x where the kernel table says so.
#include "kernels.h"
#include "load.h"
#include "math.h"
#include "permute.h"
#include "philox.h"

namespace krait {
namespace KRAIT_VARIANT {
namespace {

/** Pieces of a command whose first `matrices` tensors are rows x cols. */
Pieces piecesOf(const Command& cmd, int matrices) {
  return Pieces(dim(cmd, 0), dim(cmd, 1), areDense(cmd, matrices, dim(cmd, 1)));
}

int planElements(const Command& cmd, Plan* plan, int matrices, const char* types) {
  *plan = Plan();
  piecesOf(cmd, matrices).plan(plan);
  return checkTypes(cmd, types);
}

/** y[i] = f(x[i]) */
template <class Function>
KRAIT_INLINE void map(int64_t n, const float* x, float* y, Function f) {
  eachVector(n, [&](auto where) { store(y, where, f(load(x, where))); });
}
/** y[i] = f(a[i], b[i]) */
template <class Function>
KRAIT_INLINE void map(int64_t n, const float* a, const float* b, float* y, Function f) {
  eachVector(n, [&](auto where) { store(y, where, f(load(a, where), load(b, where))); });
}

void fillFloats(float* to, int64_t n, float value) {
  eachVector(n, [&](auto where) { store(to, where, splat(value)); });
}

// ---- fill, copy, accumulate ----------------------------------------------------------------------------------------

int planFill(const Command& cmd, Plan* plan) { return planElements(cmd, plan, 1, "a"); }

void runFill(const Command& cmd, int, int64_t begin, int64_t end, void*, void*) {
  const Matrix y = matrix(cmd, 0);
  const double value = cmd.scalars[0];
  const bool isInt = y.type == I32;
  const int32_t whole = value != value            ? 0
                        : value <= -2147483648.0 ? INT32_MIN
                        : value >= 2147483647.0  ? INT32_MAX
                                                  : int32_t(value);
  alignas(64) float room[TILE];
  piecesOf(cmd, 1).eachTile(begin, end, [&](int64_t row, int64_t col, int64_t n) {
    for (int64_t i = 0; isInt && i < n; i++) y.ints(row, col)[i] = whole;
    if (isInt) return;
    float* to = target(y, row, col, room);
    fillFloats(to, n, float(value));
    write(y, row, col, n, to);
  });
}

int planCopy(const Command& cmd, Plan* plan) { return planElements(cmd, plan, 2, "aa"); }

void runCopy(const Command& cmd, int, int64_t begin, int64_t end, void*, void*) {
  const Matrix x = matrix(cmd, 0), y = matrix(cmd, 1);
  alignas(64) float room[TILE];
  piecesOf(cmd, 2).eachTile(begin, end, [&](int64_t row, int64_t col, int64_t n) {
    if (x.type == y.type) {
      __builtin_memcpy(y.at(row, col), x.at(row, col), size_t(n * bytesOf(x.type)));
    } else if (y.type == F32) {
      toFloats(x.type, x.at(row, col), n, y.floats(row, col));
    } else {
      fromFloats(y.type, read(x, row, col, n, room), n, y.at(row, col));
    }
  });
}

int planAccumulate(const Command& cmd, Plan* plan) { return planElements(cmd, plan, 2, "hh"); }

void runAccumulate(const Command& cmd, int, int64_t begin, int64_t end, void*, void*) {
  const Matrix x = matrix(cmd, 0), y = matrix(cmd, 1);
  const float alpha = float(cmd.scalars[0]);
  alignas(64) float xRoom[TILE], yRoom[TILE];
  piecesOf(cmd, 2).eachTile(begin, end, [&](int64_t row, int64_t col, int64_t n) {
    const float* before = read(y, row, col, n, yRoom);
    float* to = target(y, row, col, yRoom);
    map(n, read(x, row, col, n, xRoom), before, to, [&](F a, F b) { return b + a * alpha; });
    write(y, row, col, n, to);
  });
}

// ---- unary and its gradient ----------------------------------------------------------------------------------------

enum UnaryOp { NEG, ABS, SQUARE, SQRT, RSQRT, RECIPROCAL, EXP, LOG, SIGMOID, SILU, SOFTPLUS, TANH, RELU, GELU, SCALE,
               SHIFT };

void unary(int op, float param, int64_t n, const float* x, float* y) {
  switch (op) {
    case NEG: return map(n, x, y, [](F v) { return -v; });
    case ABS: return map(n, x, y, [](F v) { return absolute(v); });
    case SQUARE: return map(n, x, y, [](F v) { return v * v; });
    case SQRT: return map(n, x, y, [](F v) { return squareRoot(v); });
    case RSQRT: return map(n, x, y, [](F v) { return 1.0f / squareRoot(v); });
    case RECIPROCAL: return map(n, x, y, [](F v) { return 1.0f / v; });
    case EXP: return map(n, x, y, [](F v) { return exponential(v); });
    case LOG: return map(n, x, y, [](F v) { return logarithm(v); });
    case SIGMOID: return map(n, x, y, [](F v) { return sigmoid(v); });
    case SILU: return map(n, x, y, [](F v) { return silu(v); });
    case SOFTPLUS: return map(n, x, y, [](F v) { return softplus(v); });
    case TANH: return map(n, x, y, [](F v) { return tangentH(v); });
    case RELU: return map(n, x, y, [](F v) { return larger(v, splat(0)); });
    case GELU: return map(n, x, y, [](F v) { return v * normalCdf(v); });
    case SCALE: return map(n, x, y, [=](F v) { return v * param; });
    case SHIFT: return map(n, x, y, [=](F v) { return v + param; });
  }
}

/** dx = dy * slope of op at x; at the kink of abs and relu the slope is 0. */
void unaryBwd(int op, float param, int64_t n, const float* x, const float* dy, float* dx) {
  const F one = splat(1), zero = splat(0);
  switch (op) {
    case NEG: return map(n, x, dy, dx, [](F, F g) { return -g; });
    case ABS: return map(n, x, dy, dx, [=](F v, F g) { return g * select(v == 0.0f, zero, withSign(one, v)); });
    case SQUARE: return map(n, x, dy, dx, [](F v, F g) { return g * 2.0f * v; });
    case SQRT: return map(n, x, dy, dx, [](F v, F g) { return g * (0.5f / squareRoot(v)); });
    case RSQRT: return map(n, x, dy, dx, [](F v, F g) { return g * (-0.5f / (v * squareRoot(v))); });
    case RECIPROCAL: return map(n, x, dy, dx, [](F v, F g) { return g * (-1.0f / (v * v)); });
    case EXP: return map(n, x, dy, dx, [](F v, F g) { return g * exponential(v); });
    case LOG: return map(n, x, dy, dx, [](F v, F g) { return g / v; });
    case SIGMOID:
      return map(n, x, dy, dx, [](F v, F g) {
        const Sigmoid s = sigmoids(v);
        return g * s.value * s.rest;
      });
    case SILU: return map(n, x, dy, dx, [](F v, F g) { return g * siluSlope(v); });
    case SOFTPLUS: return map(n, x, dy, dx, [](F v, F g) { return g * sigmoid(v); });
    case TANH:
      return map(n, x, dy, dx, [](F v, F g) {  // 1 - tanh(x)^2 = 4 s (1 - s) with s = sigmoid(2x)
        const Sigmoid s = sigmoids(v * 2.0f);
        return g * 4.0f * s.value * s.rest;
      });
    case RELU: return map(n, x, dy, dx, [=](F v, F g) { return g * select(v > 0.0f, one, zero); });
    case GELU: return map(n, x, dy, dx, [](F v, F g) { return g * (normalCdf(v) + v * normalDensity(v)); });
    case SCALE: return map(n, x, dy, dx, [=](F, F g) { return g * param; });
    case SHIFT: return map(n, x, dy, dx, [](F, F g) { return g; });
  }
}

int planUnary(const Command& cmd, Plan* plan) { return planElements(cmd, plan, 2, "hh"); }

void runUnary(const Command& cmd, int, int64_t begin, int64_t end, void*, void*) {
  const Matrix x = matrix(cmd, 0), y = matrix(cmd, 1);
  alignas(64) float xRoom[TILE], yRoom[TILE];
  piecesOf(cmd, 2).eachTile(begin, end, [&](int64_t row, int64_t col, int64_t n) {
    float* to = target(y, row, col, yRoom);
    unary(int(cmd.dims[2]), float(cmd.scalars[0]), n, read(x, row, col, n, xRoom), to);
    write(y, row, col, n, to);
  });
}

int planUnaryBwd(const Command& cmd, Plan* plan) { return planElements(cmd, plan, 3, "hhh"); }

void runUnaryBwd(const Command& cmd, int, int64_t begin, int64_t end, void*, void*) {
  const Matrix x = matrix(cmd, 0), dy = matrix(cmd, 1), dx = matrix(cmd, 2);
  alignas(64) float xRoom[TILE], dyRoom[TILE], dxRoom[TILE];
  piecesOf(cmd, 3).eachTile(begin, end, [&](int64_t row, int64_t col, int64_t n) {
    const float *input = read(x, row, col, n, xRoom), *gradient = read(dy, row, col, n, dyRoom);
    float* to = target(dx, row, col, dxRoom);
    unaryBwd(int(cmd.dims[2]), float(cmd.scalars[0]), n, input, gradient, to);
    write(dx, row, col, n, to);
  });
}

// ---- binary --------------------------------------------------------------------------------------------------------

enum BinaryOp { ADD, SUB, MUL, DIV, MAX, RSUB, RDIV };
enum BroadcastMode { SAME, ROW, COLUMN, SCALAR };

void binary(int op, int64_t n, const float* a, const float* b, float* y) {
  switch (op) {
    case ADD: return map(n, a, b, y, [](F u, F v) { return u + v; });
    case SUB: return map(n, a, b, y, [](F u, F v) { return u - v; });
    case MUL: return map(n, a, b, y, [](F u, F v) { return u * v; });
    case DIV: return map(n, a, b, y, [](F u, F v) { return u / v; });
    case MAX: return map(n, a, b, y, [](F u, F v) { return largest(u, v); });
    case RSUB: return map(n, a, b, y, [](F u, F v) { return v - u; });
    case RDIV: return map(n, a, b, y, [](F u, F v) { return v / u; });
  }
}

/** All of a, b and y are one row if they are dense and no row of b stands for several. */
Pieces binaryPieces(const Command& cmd) {
  const int64_t rows = dim(cmd, 0), cols = dim(cmd, 1);
  const int mode = int(cmd.dims[3]);
  const bool isDense = int64_t(cmd.tensors[0].ld) == cols && int64_t(cmd.tensors[2].ld) == cols;
  return Pieces(rows, cols, isDense && (mode == SCALAR || (mode == SAME && int64_t(cmd.tensors[1].ld) == cols)));
}

int planBinary(const Command& cmd, Plan* plan) {
  *plan = Plan();
  binaryPieces(cmd).plan(plan);
  return checkTypes(cmd, "hhh");
}

void runBinary(const Command& cmd, int, int64_t begin, int64_t end, void*, void*) {
  const Matrix a = matrix(cmd, 0), b = matrix(cmd, 1), y = matrix(cmd, 2);
  const int op = int(cmd.dims[2]), mode = int(cmd.dims[3]);
  alignas(64) float aRoom[TILE], bRoom[TILE], yRoom[TILE];
  binaryPieces(cmd).eachTile(begin, end, [&](int64_t row, int64_t col, int64_t n) {
    const float* second = bRoom;
    if (mode == SAME || mode == ROW) {
      second = read(b, mode == SAME ? row : 0, col, n, bRoom);
    } else {
      float one;
      fillFloats(bRoom, n, *read(b, mode == COLUMN ? row : 0, 0, 1, &one));
    }
    float* to = target(y, row, col, yRoom);
    binary(op, n, read(a, row, col, n, aRoom), second, to);
    write(y, row, col, n, to);
  });
}

// ---- dropout, random_uniform ---------------------------------------------------------------------------------------

int planDropout(const Command& cmd, Plan* plan) { return planElements(cmd, plan, 2, "hh"); }

/** Draws are multiples of 2^-24, so that a threshold in f32 keeps the same elements everywhere. */
void runDropout(const Command& cmd, int, int64_t begin, int64_t end, void*, void*) {
  const Matrix x = matrix(cmd, 0), y = matrix(cmd, 1);
  const uint32_t seed = uint32_t(cmd.dims[2]), stream = uint32_t(cmd.dims[3]);
  const float p = float(cmd.scalars[0]), scale = float(1 / (1 - cmd.scalars[0]));
  const Pieces pieces = piecesOf(cmd, 2);
  alignas(64) float xRoom[TILE], yRoom[TILE], numbers[UNIFORMS];
  pieces.eachTile(begin, end, [&](int64_t row, int64_t col, int64_t n) {
    const float* draws = uniforms(seed, stream, uint64_t(row * pieces.cols + col), n, numbers);
    float* to = target(y, row, col, yRoom);
    map(n, read(x, row, col, n, xRoom), draws, to, [=](F v, F u) { return select(u >= p, v * scale, splat(0)); });
    write(y, row, col, n, to);
  });
}

int planRandomUniform(const Command& cmd, Plan* plan) { return planElements(cmd, plan, 1, "h"); }

void runRandomUniform(const Command& cmd, int, int64_t begin, int64_t end, void*, void*) {
  const Matrix y = matrix(cmd, 0);
  const uint32_t seed = uint32_t(cmd.dims[2]), stream = uint32_t(cmd.dims[3]);
  const float low = float(cmd.scalars[0]), span = float(cmd.scalars[1] - cmd.scalars[0]);
  const Pieces pieces = piecesOf(cmd, 1);
  alignas(64) float room[TILE], numbers[UNIFORMS];
  pieces.eachTile(begin, end, [&](int64_t row, int64_t col, int64_t n) {
    float* to = target(y, row, col, room);
    const float* draws = uniforms(seed, stream, uint64_t(row * pieces.cols + col), n, numbers);
    map(n, draws, to, [=](F u) { return u * span + low; });
    write(y, row, col, n, to);
  });
}

}  // namespace

const Kernel kFill = {"fill", planFill, runFill};
const Kernel kCopy = {"copy", planCopy, runCopy};
const Kernel kAccumulate = {"accumulate", planAccumulate, runAccumulate};
const Kernel kPermute = {"permute", planPermute, runPermute};
const Kernel kUnary = {"unary", planUnary, runUnary};
const Kernel kUnaryBwd = {"unary_bwd", planUnaryBwd, runUnaryBwd};
const Kernel kBinary = {"binary", planBinary, runBinary};
const Kernel kDropout = {"dropout", planDropout, runDropout};
const Kernel kRandomUniform = {"random_uniform", planRandomUniform, runRandomUniform};

}  // namespace KRAIT_VARIANT
}  // namespace krait
