// Convolution on tensor cores: the implicit matrix product of conv_implicit.cu with TF32 or half-precision factors and
// float32 sums.
//
// Slabs of 128 bytes of depth (32 TF32 or 64 half numbers) of ROWS positions and COLUMNS filters lie in shared memory,
// STAGES of them: cp.async fills the later ones while the first is multiplied. A slab's row is 8 chunks of 16 bytes, and
// chunk c of row r lies in place c ^ (r & 7): the 8 rows that ldmatrix reads at a time then meet all 32 banks once. Half
// and TF32 kernels move the same bytes and differ in one instruction.
//
// x (N,H,W,C) with C a multiple of 16 bytes, so a chunk never crosses a tap; w (K, kh, kw, C), already rounded to TF32
// (or half). Both are prepared by conv_pack.py. Each warp has 32 columns, that is one word of the ReLU's mask.
#include "conv.cuh"
#include "mma.cuh"

constexpr int MMA_ROW_BYTES = 128;

template <typename In>
struct Factor;          // the instruction, and what has to happen to the left factor before it

template <>
struct Factor<float> {
    static DEVICE void round(u32 (&a)[4]) {
        #pragma unroll
        for (int i = 0; i < 4; ++i) a[i] = to_tf32(a[i]);
    }
    static DEVICE void multiply(float (&d)[4], const u32 (&a)[4], const u32 (&b)[2]) { multiply_tf32(d, a, b); }
};

template <>
struct Factor<f16> {
    static DEVICE void round(u32 (&)[4]) {}
    static DEVICE void multiply(float (&d)[4], const u32 (&a)[4], const u32 (&b)[2]) { multiply_f16(d, a, b); }
};

DEVICE void store_pair(float* y, float a, float b) { *reinterpret_cast<Vector<float, 2>*>(y) = Vector<float, 2>{{a, b}}; }
DEVICE void store_pair(f16* y, float a, float b) { *reinterpret_cast<Vector<f16, 2>*>(y) = Vector<f16, 2>{{f16(a), f16(b)}}; }

template <typename In, typename Out, int ROWS, int COLUMNS, int WARP_ROWS, int STAGES>
DEVICE void conv_mma(const ConvShape& s, const In* x, const In* w, const float* bias, Out* y, const u32* mask,
                     u32* bits, int finish, float* partial, int slices) {
    constexpr int WARP_COLUMNS = COLUMNS / 32, THREADS = 32 * WARP_ROWS * WARP_COLUMNS;
    constexpr int TILES = ROWS / WARP_ROWS / 16;                            // 16-row tiles per warp
    constexpr int CHUNK = 16 / sizeof(In), SLAB = MMA_ROW_BYTES / sizeof(In);
    constexpr int LEFT = ROWS * 8 / THREADS, RIGHT = COLUMNS * 8 / THREADS;  // chunks per thread
    constexpr int STAGE_BYTES = (ROWS + COLUMNS) * MMA_ROW_BYTES;
    DYNAMIC_SHARED(u8, memory);

    const int t = threadIdx.x, lane = t % 32, warp = t / 32;
    const int warp_row = warp / WARP_COLUMNS * (ROWS / WARP_ROWS), warp_column = warp % WARP_COLUMNS * 32;
    const i64 row0 = (i64)blockIdx.x * ROWS, last = positions(s);
    const int column0 = blockIdx.y * COLUMNS;
    const int depth = s.kh * s.kw * s.C, slabs = (depth + SLAB - 1) / SLAB;
    const int share = (slabs + slices - 1) / slices, begin = blockIdx.z * share;
    const int end = begin + share < slabs ? begin + share : slabs;

    // fetching: this thread copies chunk `chunk` of rows `row`, row + THREADS/8, ...
    const int chunk = t % 8, row = t / 8, place = (chunk ^ (row & 7)) * 16;
    Position at[LEFT];
    #pragma unroll
    for (int r = 0; r < LEFT; ++r) {
        i64 m = row0 + row + r * (THREADS / 8);
        at[r] = position(s, m < last ? m : last - 1);
        at[r].i = at[r].i * s.stride_h - s.top;
        at[r].j = at[r].j * s.stride_w - s.left;
    }
    Taps taps;
    taps.go_to(s, begin * SLAB + chunk * CHUNK);
    int fetched = begin;

    auto fetch = [&]() {
        if (fetched < end) {
            u8* left = memory + (fetched - begin) % STAGES * STAGE_BYTES;
            u8* right = left + ROWS * MMA_ROW_BYTES;
            const int k = fetched * SLAB + chunk * CHUNK;
            const int down = taps.p * s.dilation_h, along = taps.q * s.dilation_w;
            #pragma unroll
            for (int r = 0; r < LEFT; ++r) {
                int h = at[r].i + down, v = at[r].j + along;
                bool inside = k < depth && h >= 0 && h < s.H && v >= 0 && v < s.W;
                const In* from = inside ? x + (((i64)at[r].n * s.H + h) * s.W + v) * s.C + taps.c : x;
                copy_async_16(left + (row + r * (THREADS / 8)) * MMA_ROW_BYTES + place, from, inside);
            }
            #pragma unroll
            for (int r = 0; r < RIGHT; ++r) {
                int column = column0 + row + r * (THREADS / 8);
                bool inside = k < depth && column < s.K;
                copy_async_16(right + (row + r * (THREADS / 8)) * MMA_ROW_BYTES + place,
                              inside ? w + (i64)column * depth + k : w, inside);
            }
            taps.advance(s, SLAB);
            ++fetched;
        }
        copy_async_commit();            // a group each time, if only an empty one: the count below stays right
    };

    float sum[TILES][4][4] = {};
    for (int stage = 0; stage < STAGES - 1; ++stage) fetch();
    for (int slab = begin; slab < end; ++slab) {
        copy_async_wait<STAGES - 2>();
        __syncthreads();                // everybody's copies have come, and nobody reads the stage that fetch() fills
        fetch();
        const u8* left = memory + (slab - begin) % STAGES * STAGE_BYTES;
        const u8* right = left + ROWS * MMA_ROW_BYTES;
        #pragma unroll
        for (int step = 0; step < 4; ++step) {          // 32 bytes of depth: one mma
            u32 b[4][2];
            #pragma unroll
            for (int pair = 0; pair < 2; ++pair) {      // two tiles of 8 columns
                int r = warp_column + pair * 16 + lane / 16 * 8 + lane % 8, c = 2 * step + lane / 8 % 2;
                u32 words[4];
                load_matrices(words, right + r * MMA_ROW_BYTES + (c ^ (r & 7)) * 16);
                b[2 * pair][0] = words[0];
                b[2 * pair][1] = words[1];
                b[2 * pair + 1][0] = words[2];
                b[2 * pair + 1][1] = words[3];
            }
            #pragma unroll
            for (int tile = 0; tile < TILES; ++tile) {
                int r = warp_row + tile * 16 + lane % 16, c = 2 * step + lane / 16;
                u32 a[4];
                load_matrices(a, left + r * MMA_ROW_BYTES + (c ^ (r & 7)) * 16);
                Factor<In>::round(a);
                #pragma unroll
                for (int column = 0; column < 4; ++column) Factor<In>::multiply(sum[tile][column], a, b[column]);
            }
        }
    }

    // lane holds columns 8*c + 2*(lane%4) and the next, of rows lane/4 and lane/4 + 8 of each tile
    const int k0 = column0 + warp_column, words = mask_words(s.K), within = 2 * (lane % 4);
    #pragma unroll
    for (int tile = 0; tile < TILES; ++tile)
        #pragma unroll
        for (int lower = 0; lower < 2; ++lower) {
            const i64 m = row0 + warp_row + tile * 16 + lower * 8 + lane / 4;
            const bool there = m < last && k0 < s.K;
            if (partial != nullptr) {
                #pragma unroll
                for (int c = 0; c < 4; ++c)
                    for (int j = 0; j < 2; ++j)
                        if (there && k0 + 8 * c + within + j < s.K)
                            partial[((i64)blockIdx.z * last + m) * s.K + k0 + 8 * c + within + j] = sum[tile][c][2 * lower + j];
                continue;
            }
            const i64 cell = output_cell(s, position(s, there ? m : last - 1));
            u32 word = 0, found = 0;
            if (reads_bits(finish) && there) word = mask[cell * words + k0 / 32];
            #pragma unroll
            for (int c = 0; c < 4; ++c) {
                const int k = k0 + 8 * c + within;
                float value[2];
                #pragma unroll
                for (int j = 0; j < 2; ++j) {
                    value[j] = sum[tile][c][2 * lower + j] + (bias != nullptr && k + j < s.K ? bias[k + j] : 0.0f);
                    value[j] = finished(value[j], finish, word >> (8 * c + within + j) & 1);
                    if (k + j < s.K && value[j] > 0.0f) found |= 1u << (8 * c + within + j);
                }
                Out* target = y + cell * s.K + k;
                if (there && k + 1 < s.K && s.K % 2 == 0) {
                    store_pair(target, value[0], value[1]);
                } else {
                    if (there && k < s.K) *target = Out(value[0]);
                    if (there && k + 1 < s.K) target[1] = Out(value[1]);
                }
            }
            if (finish == FINISH_RELU_BITS) {           // 4 lanes hold the 32 channels of a word
                found |= __shfl_xor_sync(0xffffffffu, found, 1);
                found |= __shfl_xor_sync(0xffffffffu, found, 2);
                if (there && lane % 4 == 0) bits[cell * words + k0 / 32] = found;
            }
        }
}

// conv_launch.py knows these tiles: 128x128 with 8 warps, 64x64 with 4, three stages each (96 and 48 KB).
#define CONV_MMA(name, In, Out, ROWS, COLUMNS, WARP_ROWS, THREADS)                                                    \
    extern "C" __global__ void __launch_bounds__(THREADS) name(ConvShape s, const In* x, const In* w, const float* bias, \
            Out* y, const u32* mask, u32* bits, int finish, float* partial, int slices) {                             \
        conv_mma<In, Out, ROWS, COLUMNS, WARP_ROWS, 3>(s, x, w, bias, y, mask, bits, finish, partial, slices);        \
    }

CONV_MMA(conv_mma_128_tf32, float, float, 128, 128, 2, 256)
CONV_MMA(conv_mma_64_tf32, float, float, 64, 64, 2, 128)
CONV_MMA(conv_mma_128_f16, f16, f16, 128, 128, 2, 256)
CONV_MMA(conv_mma_64_f16, f16, f16, 64, 64, 2, 128)
