// Convolution as an implicit matrix product on the ordinary floating-point units: strict float32 and float64.
//
//     (positions) x (taps and channels)  times  (taps and channels) x (filters)
//
// The left matrix is never stored: its columns are read out of the picture in place, channels being the fastest index.
// A block computes ROWS x COLUMNS results; slabs of DEPTH columns go through shared memory, the next slab being fetched
// into registers while the present one is multiplied. 256 threads, each RM rows in fours and CM columns in fours, so
// that a thread reads float4's. Where positions and filters are few, `slices` blocks share one sum: they write partial
// sums, which conv_finish (conv_finish.cu) adds in a fixed order.
#include "conv.cuh"

template <typename T, int ROWS, int COLUMNS, int DEPTH>
DEVICE void conv_implicit(const ConvShape& s, const T* x, const T* w, const T* bias, T* y,
                                              const unsigned* mask, unsigned* bits, int finish, T* partial, int slices) {
    constexpr int THREADS = 256;
    constexpr int RM = ROWS / 16, CM = COLUMNS / 16;                // numbers per thread
    constexpr int LEFT = ROWS * DEPTH / THREADS, RIGHT = COLUMNS * DEPTH / THREADS;     // loads per thread
    constexpr int SLOT = ROWS + 4;          // rows of the transposed left slab are padded: columns are written 16 apart
    __align__(16) __shared__ T left[2][DEPTH][SLOT];
    __align__(16) __shared__ T right[2][DEPTH][COLUMNS];

    const int t = threadIdx.x, tx = t % 16, ty = t / 16;
    const long long row0 = (long long)blockIdx.x * ROWS, last = positions(s);
    const int column0 = blockIdx.y * COLUMNS;
    const int depth = s.kh * s.kw * s.C;
    const int share = (depth + slices - 1) / slices, begin = blockIdx.z * share;
    const int end = begin + share < depth ? begin + share : depth;

    // what this thread fetches: column `mine` of LEFT rows, and RIGHT numbers of the filters
    const int mine = t % DEPTH;
    Position at[LEFT];
    #pragma unroll
    for (int r = 0; r < LEFT; ++r) {
        long long m = row0 + t / DEPTH + r * (THREADS / DEPTH);
        at[r] = position(s, m < last ? m : last - 1);
        at[r].i = at[r].i * s.stride_h - s.top;
        at[r].j = at[r].j * s.stride_w - s.left;
    }
    Taps taps;
    taps.go_to(s, begin + mine);
    T next_left[LEFT], next_right[RIGHT], sum[RM][CM] = {};

    auto fetch = [&](int base) {
        const bool some = base + mine < end;
        const int down = taps.p * s.dilation_h, along = taps.q * s.dilation_w;
        #pragma unroll
        for (int r = 0; r < LEFT; ++r) {
            int h = at[r].i + down, v = at[r].j + along;
            bool inside = some && h >= 0 && h < s.H && v >= 0 && v < s.W;
            next_left[r] = inside ? x[(((long long)at[r].n * s.H + h) * s.W + v) * s.C + taps.c] : T(0);
        }
        #pragma unroll
        for (int r = 0; r < RIGHT; ++r) {
            int d = base + t / COLUMNS + r * (THREADS / COLUMNS), k = column0 + t % COLUMNS;
            next_right[r] = d < end && k < s.K ? w[(long long)d * s.K + k] : T(0);
        }
        taps.advance(s, DEPTH);
    };
    auto store = [&](int buffer) {
        #pragma unroll
        for (int r = 0; r < LEFT; ++r) left[buffer][mine][t / DEPTH + r * (THREADS / DEPTH)] = next_left[r];
        #pragma unroll
        for (int r = 0; r < RIGHT; ++r)
            right[buffer][t / COLUMNS + r * (THREADS / COLUMNS)][t % COLUMNS] = next_right[r];
    };

    fetch(begin);
    store(0);
    __syncthreads();
    int buffer = 0;
    for (int base = begin; base < end; base += DEPTH) {
        if (base + DEPTH < end) fetch(base + DEPTH);
        #pragma unroll
        for (int d = 0; d < DEPTH; ++d) {
            T a[RM], b[CM];
            #pragma unroll
            for (int i = 0; i < RM; ++i) a[i] = left[buffer][d][i / 4 * 64 + ty * 4 + i % 4];
            #pragma unroll
            for (int j = 0; j < CM; ++j) b[j] = right[buffer][d][j / 4 * 64 + tx * 4 + j % 4];
            #pragma unroll
            for (int i = 0; i < RM; ++i)
                #pragma unroll
                for (int j = 0; j < CM; ++j) sum[i][j] += a[i] * b[j];
        }
        buffer ^= 1;
        if (base + DEPTH < end) store(buffer);      // nobody reads this buffer: its readers passed the last barrier
        __syncthreads();
    }

    const int words = mask_words(s.K);
    #pragma unroll
    for (int i = 0; i < RM; ++i) {
        const long long m = row0 + i / 4 * 64 + ty * 4 + i % 4;
        const bool row_there = m < last;
        const Position where = position(s, row_there ? m : last - 1);
        const long long cell = output_cell(s, where);
        #pragma unroll
        for (int quad = 0; quad < CM / 4; ++quad) {
            const int k0 = column0 + quad * 64 + tx * 4;
            if (partial != nullptr) {
                for (int j = 0; j < 4; ++j)
                    if (row_there && k0 + j < s.K)
                        partial[((long long)blockIdx.z * last + m) * s.K + k0 + j] = sum[i][quad * 4 + j];
                continue;
            }
            // 8 lanes hold the 32 channels of a mask word, 4 channels each
            unsigned word = 0;
            if (reads_bits(finish) && row_there && k0 < s.K) word = mask[cell * words + k0 / 32] >> k0 % 32;
            unsigned found = 0;
            #pragma unroll
            for (int j = 0; j < 4; ++j) {
                const int k = k0 + j;
                if (row_there && k < s.K) {
                    T value = finished(sum[i][quad * 4 + j] + (bias != nullptr ? bias[k] : T(0)), finish, word >> j & 1);
                    y[cell * s.K + k] = value;
                    found |= (value > T(0) ? 1u : 0u) << j;
                }
            }
            if (finish == FINISH_RELU_BITS) {
                found <<= 4 * (tx % 8);
                for (int other = 1; other < 8; other *= 2) found |= __shfl_xor_sync(0xffffffffu, found, other);
                if (tx % 8 == 0 && row_there && k0 < s.K) bits[cell * words + k0 / 32] = found;
            }
        }
    }
}

extern "C" __global__ void __launch_bounds__(256) conv_implicit_128_f32(ConvShape s, const float* x, const float* w,
        const float* bias, float* y, const unsigned* mask, unsigned* bits, int finish, float* partial, int slices) {
    conv_implicit<float, 128, 128, 8>(s, x, w, bias, y, mask, bits, finish, partial, slices);
}

extern "C" __global__ void __launch_bounds__(256) conv_implicit_64_f32(ConvShape s, const float* x, const float* w,
        const float* bias, float* y, const unsigned* mask, unsigned* bits, int finish, float* partial, int slices) {
    conv_implicit<float, 64, 64, 16>(s, x, w, bias, y, mask, bits, finish, partial, slices);
}

extern "C" __global__ void __launch_bounds__(256) conv_implicit_64_f64(ConvShape s, const double* x, const double* w,
        const double* bias, double* y, const unsigned* mask, unsigned* bits, int finish, double* partial, int slices) {
    conv_implicit<double, 64, 64, 16>(s, x, w, bias, y, mask, bits, finish, partial, slices);
}
