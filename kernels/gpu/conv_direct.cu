// Direct convolution: every sum as it stands, for any geometry and any number of groups.
//
// One warp computes 32 neighbouring output channels of 4 positions. Its lanes read neighbouring weights (one
// transaction of 128 bytes) and the same inputs (a broadcast), and each weight serves the 4 positions.
// It is the kernel of grouped and depthwise layers, of few input channels, and the plainest statement of the others.
#include "conv.cuh"

constexpr int DIRECT_POSITIONS = 4;         // per thread; conv_launch.py knows both numbers
constexpr int DIRECT_WARPS = 8;

template <typename T>
DEVICE void conv_direct(const ConvShape& s, const T* x, const T* w, const typename Work<T>::type* bias, T* y,
                        const u32* mask, u32* bits, int finish) {
    typedef typename Work<T>::type Sum;
    const int Cg = s.C / s.groups, Kg = s.K / s.groups, words = mask_words(s.K);
    const int k = blockIdx.y * 32 + threadIdx.x;
    const bool in_range = k < s.K;
    const int group = in_range ? k / Kg : 0;
    const i64 first = ((i64)blockIdx.x * DIRECT_WARPS + threadIdx.y) * DIRECT_POSITIONS;
    const i64 last = positions(s);
    Position at[DIRECT_POSITIONS];
    Sum sum[DIRECT_POSITIONS];
    #pragma unroll
    for (int r = 0; r < DIRECT_POSITIONS; ++r) {
        at[r] = position(s, first + r < last ? first + r : last - 1);
        sum[r] = bias != nullptr && in_range ? bias[k] : Sum(0);
    }
    for (int p = 0; p < s.kh && in_range; ++p)
        for (int q = 0; q < s.kw; ++q) {
            const T* cell[DIRECT_POSITIONS];
            #pragma unroll
            for (int r = 0; r < DIRECT_POSITIONS; ++r) {
                int row = at[r].i * s.stride_h + p * s.dilation_h - s.top;
                int column = at[r].j * s.stride_w + q * s.dilation_w - s.left;
                bool inside = row >= 0 && row < s.H && column >= 0 && column < s.W;
                cell[r] = inside ? x + (((i64)at[r].n * s.H + row) * s.W + column) * s.C + group * Cg : nullptr;
            }
            const T* weight = w + ((i64)p * s.kw + q) * Cg * s.K + k;
            for (int c = 0; c < Cg; ++c) {
                Sum factor = weight[(i64)c * s.K];
                #pragma unroll
                for (int r = 0; r < DIRECT_POSITIONS; ++r)
                    if (cell[r] != nullptr) sum[r] += Sum(cell[r][c]) * factor;
            }
        }
    #pragma unroll
    for (int r = 0; r < DIRECT_POSITIONS; ++r) {        // the whole warp leaves together: r is the same for all lanes
        if (first + r >= last) break;
        i64 cell = output_cell(s, at[r]);
        bool bit = false;
        if (reads_bits(finish)) bit = mask[cell * words + blockIdx.y] >> threadIdx.x & 1;
        Sum value = finished(sum[r], finish, bit);
        if (in_range) y[cell * s.K + k] = T(value);
        if (finish == FINISH_RELU_BITS) {
            u32 word = __ballot_sync(0xffffffffu, in_range && value > Sum(0));
            if (threadIdx.x == 0) bits[cell * words + blockIdx.y] = word;
        }
    }
}

#define CONV_DIRECT(T, suffix)                                                                                    \
    extern "C" __global__ void __launch_bounds__(256) conv_direct_##suffix(ConvShape s, const T* x, const T* w,       \
            const Work<T>::type* bias, T* y, const u32* mask, u32* bits, int finish) {                      \
        conv_direct<T>(s, x, w, bias, y, mask, bits, finish);                                                         \
    }

EVERY_FLOAT(CONV_DIRECT)
