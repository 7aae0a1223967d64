// What lies between convolutions whose kernels do not do it themselves: 2x2 max pooling of a ReLU's output and its way
// back, and the rules of a ReLU on a gradient. Memory-bound: every number is read and written once.
//
// Decisions are a word of bits for 32 channels (above 0?) and a byte for each pooled number (which cell of its window:
// row * 2 + column, the first of equals), as conv_winograd.cu writes them. A warp has 32 channels of one position.
#include "conv.cuh"

// y = max(x, 0), a NaN stays one; bits (which may be null): x > 0.
template <typename T>
DEVICE void relu_bits(const T* x, T* y, u32* bits, i64 positions, i64 C) {
    typedef typename Work<T>::type Number;
    const i64 place = (i64)blockIdx.x * blockDim.y + threadIdx.y, c = blockIdx.y * 32 + threadIdx.x;
    if (place >= positions) return;                                 // the whole warp
    const Number value = c < C ? Number(x[place * C + c]) : Number(0);
    if (c < C) y[place * C + c] = T(finished(value, FINISH_RELU, false));
    if (bits != nullptr) {
        const u32 word = __ballot_sync(0xffffffffu, value > Number(0));
        if (threadIdx.x == 0) bits[place * ((C + 31) / 32) + blockIdx.y] = word;
    }
}

// x (N, H, W, C) -> y (N, H/2, W/2, C) = max over the window, and not below 0; a NaN stays one. bits and cells may be
// null.
template <typename T>
DEVICE void relu_pool(const T* x, T* y, u32* bits, u8* cells, i64 N, i64 H, i64 W, i64 C) {
    typedef typename Work<T>::type Number;
    const i64 words = (C + 31) / 32, PH = H / 2, PW = W / 2, c = blockIdx.y * 32 + threadIdx.x;
    const i64 window = (i64)blockIdx.x * blockDim.y + threadIdx.y;
    if (window >= N * PH * PW) return;                              // the whole warp
    const i64 column = window % PW, line = window / PW, row = line % PH, n = line / PH;
    Number best = Number(0);
    if (c < C) {
        const T* corner = x + ((n * H + 2 * row) * W + 2 * column) * C + c;
        int chosen = 0;
        if (!(Number(corner[0]) <= best)) best = Number(corner[0]);     // first the ReLU: then equals are zeros
        #pragma unroll
        for (int cell = 1; cell < 4; ++cell) {
            Number value = Number(corner[((i64)(cell / 2) * W + cell % 2) * C]);
            if (above(value, best)) {
                best = value;
                chosen = cell;
            }
        }
        y[window * C + c] = T(best);
        if (cells != nullptr) cells[window * C + c] = (u8)chosen;
    }
    if (bits != nullptr) {
        const u32 word = __ballot_sync(0xffffffffu, c < C && best > Number(0));
        if (threadIdx.x == 0) bits[window * words + blockIdx.y] = word;
    }
}

// dx (N, H, W, C): dy (N, H/2, W/2, C) in the cells that were chosen, zero elsewhere.
template <typename T>
DEVICE void spread(const T* dy, const u8* cells, T* dx, i64 N, i64 H, i64 W, i64 C) {
    const i64 i = thread_number();
    if (i >= N * H * W * C) return;
    const i64 c = i % C, place = i / C, column = place % W, line = place / W, row = line % H, n = line / H;
    T value = T(0.0f);
    if (row / 2 < H / 2 && column / 2 < W / 2) {
        const i64 window = ((n * (H / 2) + row / 2) * (W / 2) + column / 2) * C + c;
        if (cells[window] == row % 2 * 2 + column % 2) value = dy[window];
    }
    dx[i] = value;
}

// dx = the rule (a Finish) applied to dy; dx may be dy.
template <typename T>
DEVICE void pull(const T* dy, const u32* bits, T* dx, i64 positions, i64 C, int rule) {
    typedef typename Work<T>::type Number;
    const i64 i = thread_number();
    if (i >= positions * C) return;
    const i64 place = i / C, c = i - place * C;
    const bool bit = bits[place * ((C + 31) / 32) + c / 32] >> c % 32 & 1;
    dx[i] = T(finished(Number(dy[i]), rule, bit));
}

// The bits as one number per unit, 1 or 0.
extern "C" __global__ void unpack_bits(const u32* bits, u8* positive, i64 positions, i64 C) {
    const i64 i = thread_number();
    if (i >= positions * C) return;
    const i64 place = i / C, c = i - place * C;
    positive[i] = (u8)(bits[place * ((C + 31) / 32) + c / 32] >> c % 32 & 1);
}

#define DECISIONS(T, suffix)                                                                                       \
    extern "C" __global__ void __launch_bounds__(256) relu_bits_##suffix(const T* x, T* y, u32* bits,               \
            i64 positions, i64 C) {                                                                                 \
        relu_bits<T>(x, y, bits, positions, C);                                                                     \
    }                                                                                                               \
    extern "C" __global__ void __launch_bounds__(256) relu_pool_##suffix(const T* x, T* y, u32* bits, u8* cells,    \
            i64 N, i64 H, i64 W, i64 C) {                                                                           \
        relu_pool<T>(x, y, bits, cells, N, H, W, C);                                                                \
    }                                                                                                               \
    extern "C" __global__ void __launch_bounds__(256) spread_##suffix(const T* dy, const u8* cells, T* dx, i64 N,   \
            i64 H, i64 W, i64 C) {                                                                                  \
        spread<T>(dy, cells, dx, N, H, W, C);                                                                       \
    }                                                                                                               \
    extern "C" __global__ void __launch_bounds__(256) pull_##suffix(const T* dy, const u32* bits, T* dx,            \
            i64 positions, i64 C, int rule) {                                                                       \
        pull<T>(dy, bits, dx, positions, C, rule);                                                                  \
    }

EVERY_FLOAT(DECISIONS)
