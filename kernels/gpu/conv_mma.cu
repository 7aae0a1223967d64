// Convolution on tensor cores: the implicit matrix product of conv_implicit.cu with TF32 or half-precision factors and
// float32 sums.
//
// Slabs of 128 bytes of depth (32 TF32 or 64 half numbers) of ROWS positions and COLUMNS filters lie in shared memory,
// STAGES of them: cp.async fills the later ones while the first is multiplied. A slab's row is 8 chunks of 16 bytes,
// and chunk c of row r lies in place c ^ (r & 7): the 8 rows that ldmatrix reads at a time then meet all 32 banks once.
// Half and TF32 kernels move the same bytes and differ in one instruction.
//
// x (N,H,W,C) with C a multiple of 16 bytes, so a chunk never crosses a tap; w (K, kh, kw, C), already rounded to TF32
// (or half). Both are prepared by conv_launch.py. Each warp has 32 columns, that is one word of the ReLU's mask.
#include "conv.cuh"
#include "mma.cuh"

constexpr int ROW_BYTES = 128;

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

// The sizes of a block's work. Each warp has ROWS / WARP_ROWS rows and 32 columns.
template <typename Number, int ROWS_, int COLUMNS_, int WARP_ROWS>
struct Sizes {
    static constexpr int ROWS = ROWS_, COLUMNS = COLUMNS_, STAGES = 3;
    static constexpr int WARP_COLUMNS = COLUMNS / 32, THREADS = 32 * WARP_ROWS * WARP_COLUMNS;
    static constexpr int TILES = ROWS / WARP_ROWS / 16;                             // 16-row tiles of a warp
    static constexpr int CHUNK = 16 / sizeof(Number), SLAB = ROW_BYTES / sizeof(Number);
    static constexpr int STAGE_BYTES = (ROWS + COLUMNS) * ROW_BYTES;
};

// Brings slab after slab into shared memory: this thread copies one chunk of every THREADS/8th row.
template <typename Number, typename Z>
struct Fetcher {
    static constexpr int STRIDE = Z::THREADS / 8, LEFT = Z::ROWS / STRIDE, RIGHT = Z::COLUMNS / STRIDE;
    const Number *x, *w;
    u8* memory;
    int h[LEFT], v[LEFT], start[LEFT];      // of each row the cell that tap (0, 0) reads, and its place in chunks
    Taps taps;
    int depth, column, k, slab, end, stage;

    DEVICE Fetcher(const ConvShape& s, const Number* x_, const Number* w_, u8* memory_, Share slabs) {
        const int chunk = threadIdx.x % 8, row = threadIdx.x / 8;
        x = x_;
        w = w_;
        memory = memory_ + row * ROW_BYTES + (chunk ^ (row & 7)) * 16;      // STRIDE is a multiple of 8
        #pragma unroll
        for (int r = 0; r < LEFT; ++r) {
            const Row from = row_of(s, (i64)blockIdx.x * Z::ROWS + row + r * STRIDE);
            h[r] = from.h;
            v[r] = from.v;
            start[r] = (int)(from.start / Z::CHUNK);        // conv_launch.py refuses x of 2^31 chunks, 32 GB
        }
        depth = s.kh * s.kw * s.C;
        column = blockIdx.y * Z::COLUMNS + row;
        k = slabs.begin * Z::SLAB + chunk * Z::CHUNK;
        taps.go_to(s, k);
        slab = slabs.begin;
        end = slabs.end;
        stage = 0;
    }

    DEVICE void next(const ConvShape& s) {
        if (slab < end) {
            u8* left = memory + stage * Z::STAGE_BYTES;
            u8* right = left + Z::ROWS * ROW_BYTES;
            const int down = taps.down(s), along = taps.along(s);
            const int distance = (down * s.W + along) * (s.C / Z::CHUNK) + taps.c / Z::CHUNK;
            #pragma unroll
            for (int r = 0; r < LEFT; ++r) {
                const bool inside = k < depth && (u32)(h[r] + down) < (u32)s.H && (u32)(v[r] + along) < (u32)s.W;
                const Number* from = inside ? x + (i64)(start[r] + distance) * Z::CHUNK : x;
                copy_async_16(left + r * STRIDE * ROW_BYTES, from, inside);
            }
            #pragma unroll
            for (int r = 0; r < RIGHT; ++r) {
                const bool inside = k < depth && column + r * STRIDE < s.K;
                const Number* from = inside ? w + (i64)(column + r * STRIDE) * depth + k : w;
                copy_async_16(right + r * STRIDE * ROW_BYTES, from, inside);
            }
            taps.advance(s, Z::SLAB);
            k += Z::SLAB;
            ++slab;
            stage = stage + 1 == Z::STAGES ? 0 : stage + 1;
        }
        copy_async_commit();            // a group each time, if only an empty one: copy_async_wait counts them
    }
};

// sum += the slab in `left` (rows of positions) times the slab in `right` (rows of filters).
template <typename Number, int TILES>
DEVICE void multiply_slab(float (&sum)[TILES][4][4], const u8* left, const u8* right) {
    const int lane = threadIdx.x % 32;
    #pragma unroll
    for (int step = 0; step < 4; ++step) {              // 32 bytes of depth: one mma
        u32 b[4][2];
        #pragma unroll
        for (int pair = 0; pair < 2; ++pair) {          // two tiles of 8 columns
            const int r = pair * 16 + lane / 16 * 8 + lane % 8, c = 2 * step + lane / 8 % 2;
            u32 words[4];
            load_matrices(words, right + r * ROW_BYTES + (c ^ (r & 7)) * 16);
            b[2 * pair][0] = words[0];
            b[2 * pair][1] = words[1];
            b[2 * pair + 1][0] = words[2];
            b[2 * pair + 1][1] = words[3];
        }
        #pragma unroll
        for (int tile = 0; tile < TILES; ++tile) {
            const int r = tile * 16 + lane % 16, c = 2 * step + lane / 16;
            u32 a[4];
            load_matrices(a, left + r * ROW_BYTES + (c ^ (r & 7)) * 16);
            Factor<Number>::round(a);
            #pragma unroll
            for (int column = 0; column < 4; ++column) Factor<Number>::multiply(sum[tile][column], a, b[column]);
        }
    }
}

// One row of a warp's 32 columns from k0: this lane has columns 8*c + 2*(lane%4) and the next, as value[c][0] and [1].
template <typename Number>
DEVICE void write_row(const ConvShape& s, const float (&value)[4][2], i64 m, int k0, const float* bias, Number* y,
                      const u32* mask, u32* bits, int finish) {
    const i64 last = positions(s);
    const int words = mask_words(s.K), within = threadIdx.x % 4 * 2;
    const bool there = m < last && k0 < s.K;
    const i64 cell = output_cell(s, position(s, there ? m : last - 1));
    u32 word = 0, found = 0;
    if (reads_bits(finish) && there) word = mask[cell * words + k0 / 32];
    #pragma unroll
    for (int c = 0; c < 4; ++c) {
        const int k = k0 + 8 * c + within;
        float result[2];
        #pragma unroll
        for (int j = 0; j < 2; ++j) {
            result[j] = value[c][j] + (bias != nullptr && k + j < s.K ? bias[k + j] : 0.0f);
            result[j] = finished(result[j], finish, word >> (8 * c + within + j) & 1);
            if (k + j < s.K && result[j] > 0.0f) found |= 1u << (8 * c + within + j);
        }
        Number* target = y + cell * s.K + k;
        if (there && k + 1 < s.K && s.K % 2 == 0) {
            *reinterpret_cast<Vector<Number, 2>*>(target) = Vector<Number, 2>{{Number(result[0]), Number(result[1])}};
        } else {
            if (there && k < s.K) *target = Number(result[0]);
            if (there && k + 1 < s.K) target[1] = Number(result[1]);
        }
    }
    if (finish == FINISH_RELU_BITS) {                   // 4 lanes hold the 32 channels of a word
        found |= __shfl_xor_sync(0xffffffffu, found, 1);
        found |= __shfl_xor_sync(0xffffffffu, found, 2);
        if (there && threadIdx.x % 4 == 0) bits[cell * words + k0 / 32] = found;
    }
}

template <typename Number, int ROWS, int COLUMNS, int WARP_ROWS>
DEVICE void conv_mma(const ConvShape& s, const Number* x, const Number* w, const float* bias, Number* y,
                     const u32* mask, u32* bits, int finish, float* partial, int slices) {
    typedef Sizes<Number, ROWS, COLUMNS, WARP_ROWS> Z;
    DYNAMIC_SHARED(u8, memory);
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const int warp_row = warp / Z::WARP_COLUMNS * (ROWS / WARP_ROWS), warp_column = warp % Z::WARP_COLUMNS * 32;
    const Share slabs((s.kh * s.kw * s.C + Z::SLAB - 1) / Z::SLAB, blockIdx.z, slices);
    Fetcher<Number, Z> fetcher(s, x, w, memory, slabs);
    for (int stage = 0; stage < Z::STAGES - 1; ++stage) fetcher.next(s);

    float sum[Z::TILES][4][4] = {};
    int stage = 0;
    for (int slab = slabs.begin; slab < slabs.end; ++slab) {
        copy_async_wait<Z::STAGES - 2>();
        __syncthreads();                // everybody's copies have come, and nobody reads the stage that is filled next
        fetcher.next(s);
        const u8* left = memory + stage * Z::STAGE_BYTES;
        multiply_slab<Number, Z::TILES>(sum, left + warp_row * ROW_BYTES, left + (ROWS + warp_column) * ROW_BYTES);
        stage = stage + 1 == Z::STAGES ? 0 : stage + 1;
    }

    // lane holds columns 8*c + 2*(lane%4) and the next, of rows lane/4 and lane/4 + 8 of each tile
    const int k0 = blockIdx.y * COLUMNS + warp_column;
    #pragma unroll
    for (int tile = 0; tile < Z::TILES; ++tile)
        #pragma unroll
        for (int lower = 0; lower < 2; ++lower) {
            const i64 m = (i64)blockIdx.x * ROWS + warp_row + tile * 16 + lower * 8 + lane / 4;
            float value[4][2];
            #pragma unroll
            for (int c = 0; c < 4; ++c)
                #pragma unroll
                for (int j = 0; j < 2; ++j) value[c][j] = sum[tile][c][2 * lower + j];
            if (partial == nullptr) {
                write_row(s, value, m, k0, bias, y, mask, bits, finish);
                continue;
            }
            #pragma unroll
            for (int c = 0; c < 4; ++c)
                for (int j = 0; j < 2; ++j) {
                    const int k = k0 + 8 * c + lane % 4 * 2 + j;
                    if (m < positions(s) && k < s.K) partial[(blockIdx.z * positions(s) + m) * s.K + k] = value[c][j];
                }
        }
}

// conv_launch.py knows these tiles: 128x128 with 8 warps, 64x64 with 4, three stages each (96 and 48 KB).
#define CONV_MMA(name, Number, ROWS, COLUMNS, WARP_ROWS, THREADS)                                                 \
    extern "C" __global__ void __launch_bounds__(THREADS) name(ConvShape s, const Number* x, const Number* w,         \
            const float* bias, Number* y, const u32* mask, u32* bits, int finish, float* partial, int slices) {       \
        conv_mma<Number, ROWS, COLUMNS, WARP_ROWS>(s, x, w, bias, y, mask, bits, finish, partial, slices);            \
    }

CONV_MMA(conv_mma_128_tf32, float, 128, 128, 2, 256)
CONV_MMA(conv_mma_64_tf32, float, 64, 64, 2, 128)
CONV_MMA(conv_mma_128_f16, f16, 128, 128, 2, 256)
CONV_MMA(conv_mma_64_f16, f16, 64, 64, 2, 128)
