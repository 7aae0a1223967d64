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

constexpr int THREADS = 256;

// What a thread multiplied: RM rows in fours 64 apart, beginning at row, and CM columns likewise.
template <typename T, int RM, int CM>
DEVICE void write_results(const ConvShape& s, const T (&sum)[RM][CM], i64 row0, int column0, const T* bias, T* y,
                          const u32* mask, u32* bits, int finish, T* partial) {
    const int words = mask_words(s.K), lane = threadIdx.x % 8;
    const i64 last = positions(s);
    #pragma unroll
    for (int i = 0; i < RM; ++i) {
        const i64 m = row0 + i / 4 * 64 + i % 4;
        const bool row_there = m < last;
        const i64 cell = output_cell(s, position(s, row_there ? m : last - 1));
        #pragma unroll
        for (int quad = 0; quad < CM / 4; ++quad) {
            const int k0 = column0 + quad * 64;
            if (partial != nullptr) {
                for (int j = 0; j < 4; ++j)
                    if (row_there && k0 + j < s.K)
                        partial[((i64)blockIdx.z * last + m) * s.K + k0 + j] = sum[i][quad * 4 + j];
                continue;
            }
            // 8 lanes hold the 32 channels of a mask word, 4 channels each
            u32 word = 0, found = 0;
            if (reads_bits(finish) && row_there && k0 < s.K) word = mask[cell * words + k0 / 32] >> k0 % 32;
            #pragma unroll
            for (int j = 0; j < 4; ++j) {
                const int k = k0 + j;
                if (row_there && k < s.K) {
                    T value = sum[i][quad * 4 + j] + (bias != nullptr ? bias[k] : T(0));
                    value = finished(value, finish, word >> j & 1);
                    y[cell * s.K + k] = value;
                    found |= (value > T(0) ? 1u : 0u) << j;
                }
            }
            if (finish == FINISH_RELU_BITS) {
                found <<= 4 * lane;
                for (int other = 1; other < 8; other *= 2) found |= __shfl_xor_sync(0xffffffffu, found, other);
                if (lane == 0 && row_there && k0 < s.K) bits[cell * words + k0 / 32] = found;
            }
        }
    }
}

template <typename T, int ROWS, int COLUMNS, int DEPTH>
DEVICE void conv_implicit(const ConvShape& s, const T* x, const T* w, const T* bias, T* y, const u32* mask,
                          u32* bits, int finish, T* partial, int slices) {
    constexpr int RM = ROWS / 16, CM = COLUMNS / 16;                // numbers per thread
    constexpr int LEFT = ROWS * DEPTH / THREADS, RIGHT = COLUMNS * DEPTH / THREADS;     // loads per thread
    constexpr int SLOT = ROWS + 4;          // rows of the transposed left slab are padded: columns are written 16 apart
    __align__(16) __shared__ T left[2][DEPTH][SLOT];
    __align__(16) __shared__ T right[2][DEPTH][COLUMNS];

    const int t = threadIdx.x, tx = t % 16, ty = t / 16;
    const i64 row0 = (i64)blockIdx.x * ROWS;
    const int column0 = blockIdx.y * COLUMNS;
    const Share share(s.kh * s.kw * s.C, blockIdx.z, slices);

    // what this thread fetches: column `mine` of LEFT rows, and RIGHT numbers of the filters
    const int mine = t % DEPTH;
    Row rows[LEFT];
    #pragma unroll
    for (int r = 0; r < LEFT; ++r) rows[r] = row_of(s, row0 + t / DEPTH + r * (THREADS / DEPTH));
    Taps taps;
    taps.go_to(s, share.begin + mine);
    T next_left[LEFT], next_right[RIGHT], sum[RM][CM] = {};

    auto fetch = [&](int base) {
        const bool some = base + mine < share.end;
        const int down = taps.down(s), along = taps.along(s);
        const i64 distance = taps.distance(s);
        #pragma unroll
        for (int r = 0; r < LEFT; ++r) {
            const int h = rows[r].h + down, v = rows[r].v + along;
            const bool inside = some && h >= 0 && h < s.H && v >= 0 && v < s.W;
            next_left[r] = inside ? x[rows[r].start + distance] : T(0);
        }
        #pragma unroll
        for (int r = 0; r < RIGHT; ++r) {
            const int d = base + t / COLUMNS + r * (THREADS / COLUMNS), k = column0 + t % COLUMNS;
            next_right[r] = d < share.end && k < s.K ? w[(i64)d * s.K + k] : T(0);
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

    fetch(share.begin);
    store(0);
    __syncthreads();
    int buffer = 0;
    for (int base = share.begin; base < share.end; base += DEPTH) {
        const bool more = base + DEPTH < share.end;
        if (more) fetch(base + DEPTH);
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
        if (more) store(buffer);        // nobody reads this buffer: its readers passed the last barrier
        __syncthreads();
    }
    write_results<T, RM, CM>(s, sum, row0 + ty * 4, column0 + tx * 4, bias, y, mask, bits, finish, partial);
}

#define CONV_IMPLICIT(name, T, TILE, DEPTH)                                                                       \
    extern "C" __global__ void __launch_bounds__(256) name(ConvShape s, const T* x, const T* w, const T* bias, T* y,  \
            const u32* mask, u32* bits, int finish, T* partial, int slices) {                               \
        conv_implicit<T, TILE, TILE, DEPTH>(s, x, w, bias, y, mask, bits, finish, partial, slices);                   \
    }

CONV_IMPLICIT(conv_implicit_128_f32, float, 128, 8)
CONV_IMPLICIT(conv_implicit_64_f32, float, 64, 16)
CONV_IMPLICIT(conv_implicit_64_f64, double, 64, 16)
