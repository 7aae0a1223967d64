// Convolution into at most 4 channels: the gradient that arrives at a picture, or a layer that paints one.
//
// A block of a matrix product would be empty but for 4 columns. Here the lanes of a warp share the input channels: each
// reads neighbouring ones (whole transactions), keeps sums for 4 positions and 4 filters, and at the end the warp adds
// its lanes' sums in a fixed order. Filters are read once for 4 positions.
#include "conv.cuh"

constexpr int FEW_CHANNELS = 4;
constexpr int FEW_POSITIONS = 4;        // per warp; conv_launch.py knows both numbers
constexpr int FEW_WARPS = 8;

template <typename T>
DEVICE void conv_few(const ConvShape& s, const T* x, const T* w, const typename Work<T>::type* bias, T* y,
                     const u32* mask, u32* bits, int finish) {
    typedef typename Work<T>::type Sum;
    const int lane = threadIdx.x;
    const i64 first = ((i64)blockIdx.x * FEW_WARPS + threadIdx.y) * FEW_POSITIONS, last = positions(s);
    Position at[FEW_POSITIONS];
    Sum sum[FEW_POSITIONS][FEW_CHANNELS] = {};
    #pragma unroll
    for (int r = 0; r < FEW_POSITIONS; ++r) at[r] = position(s, first + r < last ? first + r : last - 1);

    for (int p = 0; p < s.kh; ++p)
        for (int q = 0; q < s.kw; ++q) {
            const T* cell[FEW_POSITIONS];
            #pragma unroll
            for (int r = 0; r < FEW_POSITIONS; ++r) {
                int row = at[r].i * s.stride_h + p * s.dilation_h - s.top;
                int column = at[r].j * s.stride_w + q * s.dilation_w - s.left;
                bool inside = row >= 0 && row < s.H && column >= 0 && column < s.W;
                cell[r] = inside ? x + (((i64)at[r].n * s.H + row) * s.W + column) * s.C : nullptr;
            }
            const T* tap = w + ((i64)p * s.kw + q) * s.C * s.K;
            for (int c = lane; c < s.C; c += 32) {
                Sum factor[FEW_CHANNELS];
                #pragma unroll
                for (int k = 0; k < FEW_CHANNELS; ++k) factor[k] = k < s.K ? Sum(tap[(i64)c * s.K + k]) : Sum(0);
                #pragma unroll
                for (int r = 0; r < FEW_POSITIONS; ++r) {
                    Sum value = cell[r] != nullptr ? Sum(cell[r][c]) : Sum(0);
                    #pragma unroll
                    for (int k = 0; k < FEW_CHANNELS; ++k) sum[r][k] += value * factor[k];
                }
            }
        }

    // all lanes receive all sums; lane 4*r + k writes number k of position r, lane 4*r the mask of that position
    Sum mine = Sum(0);
    u32 found = 0;
    #pragma unroll
    for (int r = 0; r < FEW_POSITIONS; ++r)
        #pragma unroll
        for (int k = 0; k < FEW_CHANNELS; ++k) {
            Sum total = sum[r][k];
            for (int other = 16; other > 0; other /= 2) total += __shfl_xor_sync(0xffffffffu, total, other);
            if (k < s.K && bias != nullptr) total += bias[k];
            if (lane == 4 * r + k) mine = total;
            if (lane / 4 == r && k < s.K && total > Sum(0)) found |= 1u << k;
        }
    const int r = lane / 4, k = lane % 4;
    if (r >= FEW_POSITIONS || first + r >= last) return;
    const i64 cell = output_cell(s, position(s, first + r));
    bool bit = false;
    if (reads_bits(finish)) bit = mask[cell] >> k & 1;
    if (k < s.K) y[cell * s.K + k] = T(finished(mine, finish, bit));
    if (finish == FINISH_RELU_BITS && k == 0) bits[cell] = found;
}

#define CONV_FEW(T, suffix)                                                                                       \
    extern "C" __global__ void __launch_bounds__(256) conv_few_##suffix(ConvShape s, const T* x, const T* w,          \
            const Work<T>::type* bias, T* y, const u32* mask, u32* bits, int finish) {                                \
        conv_few<T>(s, x, w, bias, y, mask, bits, finish);                                                            \
    }

EVERY_FLOAT(CONV_FEW)
