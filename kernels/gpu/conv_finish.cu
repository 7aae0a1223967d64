// Adds the partial sums of a convolution whose depth was cut into slices, in the order of the slices, and finishes them:
// bias, ReLU, masks. One warp per position and 32 channels. partial: (slices, positions, K).
#include "conv.cuh"

template <typename T>
__device__ __forceinline__ void conv_finish(const ConvShape& s, const T* partial, int slices, const T* bias, T* y,
                                            const unsigned* mask, unsigned* bits, int finish) {
    const int words = mask_words(s.K), k = blockIdx.y * 32 + threadIdx.x;
    const long long m = (long long)blockIdx.x * blockDim.y + threadIdx.y, last = positions(s);
    if (m >= last) return;                                  // the whole warp: m is the same for all its lanes
    const long long cell = output_cell(s, position(s, m));
    T value = T(0);
    if (k < s.K) {
        T sum = bias != nullptr ? bias[k] : T(0);
        for (int slice = 0; slice < slices; ++slice) sum += partial[((long long)slice * last + m) * s.K + k];
        bool bit = false;
        if (reads_bits(finish)) bit = mask[cell * words + blockIdx.y] >> threadIdx.x & 1;
        value = finished(sum, finish, bit);
        y[cell * s.K + k] = value;
    }
    if (finish == FINISH_RELU_BITS) {
        unsigned word = __ballot_sync(0xffffffffu, value > T(0));
        if (threadIdx.x == 0) bits[cell * words + blockIdx.y] = word;
    }
}

extern "C" __global__ void __launch_bounds__(256) conv_finish_f32(ConvShape s, const float* partial, int slices,
        const float* bias, float* y, const unsigned* mask, unsigned* bits, int finish) {
    conv_finish<float>(s, partial, slices, bias, y, mask, bits, finish);
}

extern "C" __global__ void __launch_bounds__(256) conv_finish_f64(ConvShape s, const double* partial, int slices,
        const double* bias, double* y, const unsigned* mask, unsigned* bits, int finish) {
    conv_finish<double>(s, partial, slices, bias, y, mask, bits, finish);
}
