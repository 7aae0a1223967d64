// Adds the partial sums of a convolution whose depth was cut into slices, in the order of the slices, and finishes
// them: bias, ReLU, masks. One warp per position and 32 channels. partial: (slices, positions, K).
#include "conv.cuh"

template <typename T>
DEVICE void conv_finish(const ConvShape& s, const typename Work<T>::type* partial, int slices,
                        const typename Work<T>::type* bias, T* y, const u32* mask, u32* bits, int finish) {
    typedef typename Work<T>::type Sum;
    const int words = mask_words(s.K), k = blockIdx.y * 32 + threadIdx.x;
    const i64 m = (i64)blockIdx.x * blockDim.y + threadIdx.y, last = positions(s);
    if (m >= last) return;                                  // the whole warp: m is the same for all its lanes
    const i64 cell = output_cell(s, position(s, m));
    Sum value = Sum(0);
    if (k < s.K) {
        Sum sum = bias != nullptr ? bias[k] : Sum(0);
        for (int slice = 0; slice < slices; ++slice) sum += partial[((i64)slice * last + m) * s.K + k];
        bool bit = false;
        if (reads_bits(finish)) bit = mask[cell * words + blockIdx.y] >> threadIdx.x & 1;
        value = finished(sum, finish, bit);
        y[cell * s.K + k] = T(value);
    }
    if (finish == FINISH_RELU_BITS) {
        u32 word = __ballot_sync(0xffffffffu, value > Sum(0));
        if (threadIdx.x == 0) bits[cell * words + blockIdx.y] = word;
    }
}

#define CONV_FINISH(T, suffix)                                                                                    \
    extern "C" __global__ void __launch_bounds__(256) conv_finish_##suffix(ConvShape s, const Work<T>::type* partial, \
            int slices, const Work<T>::type* bias, T* y, const u32* mask, u32* bits, int finish) {          \
        conv_finish<T>(s, partial, slices, bias, y, mask, bits, finish);                                              \
    }

EVERY_FLOAT(CONV_FINISH)
