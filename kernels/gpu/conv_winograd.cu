// Winograd's convolution F(4x4, 3x3) in float32: transforms around 36 matrix products (cuBLAS, conv_winograd.py).
//
//     Y = A^T [ (G g G^T) * (B^T d B) ] A         for each tile of 4x4 outputs, which reads 6x6 inputs
//
// with the points 0, +-3/4, +-3/2 and infinity: kernels/cpu/winograd_math.py derives the matrices and says why these.
// Rows of B^T for a point and its negative share their even and odd parts, and so do the columns of A^T.
// The 36 elements of a transformed tile lie apart, in 36 matrices (tiles x channels) and (channels x filters).
// A thread transforms one tile of one channel; neighbouring lanes have neighbouring channels.
// Lavin and Gray 2016, arXiv:1509.09308.
#include "conv.cuh"

constexpr int TILE = 4, PATCH = 6;

// r = B^T d
DEVICE void transform_input(const float (&d)[PATCH], float (&r)[PATCH]) {
    const float even1 = d[4] - 2.25f * d[2], odd1 = 0.75f * d[3] - 1.6875f * d[1];       // the points +-3/4
    const float even2 = d[4] - 0.5625f * d[2], odd2 = 1.5f * d[3] - 0.84375f * d[1];     // the points +-3/2
    r[0] = 1.265625f * d[0] - 2.8125f * d[2] + d[4];
    r[1] = even1 + odd1;
    r[2] = even1 - odd1;
    r[3] = even2 + odd2;
    r[4] = even2 - odd2;
    r[5] = 1.265625f * d[1] - 2.8125f * d[3] + d[5];
}

// r = A^T m
DEVICE void transform_output(const float (&m)[PATCH], float (&r)[TILE]) {
    const float plus1 = m[1] + m[2], minus1 = m[1] - m[2], plus2 = m[3] + m[4], minus2 = m[3] - m[4];
    r[0] = m[0] + plus1 + plus2;
    r[1] = 0.75f * minus1 + 1.5f * minus2;
    r[2] = 0.5625f * plus1 + 2.25f * plus2;
    r[3] = 0.421875f * minus1 + 3.375f * minus2 + m[5];
}

// r = G g
DEVICE void transform_filter(const float (&g)[3], float (&r)[PATCH]) {
    const float even1 = -128.0f / 243 * g[0] - 8.0f / 27 * g[2], odd1 = -32.0f / 81 * g[1];
    const float even2 = 32.0f / 243 * g[0] + 8.0f / 27 * g[2], odd2 = 16.0f / 81 * g[1];
    r[0] = 64.0f / 81 * g[0];
    r[1] = even1 + odd1;
    r[2] = even1 - odd1;
    r[3] = even2 + odd2;
    r[4] = even2 - odd2;
    r[5] = g[2];
}

struct Tile {
    int n, row, column;             // the first output it computes
};

DEVICE Tile tile_at(const ConvShape& s, i64 number) {
    const int across = (s.OW + TILE - 1) / TILE, down = (s.OH + TILE - 1) / TILE;
    const i64 line = number / across;
    Tile tile;
    tile.n = (int)(line / down);
    tile.row = (int)(line - (i64)tile.n * down) * TILE;
    tile.column = (int)(number - line * across) * TILE;
    return tile;
}

// w (3, 3, C, K) -> u (36, C, K)
extern "C" __global__ void __launch_bounds__(256) winograd_filter_f32(const float* w, float* u, i64 count) {
    const i64 i = thread_number();                                  // c * K + k
    if (i >= count) return;
    float half[PATCH][3], column[3], result[PATCH];
    #pragma unroll
    for (int q = 0; q < 3; ++q) {
        for (int p = 0; p < 3; ++p) column[p] = w[(p * 3 + q) * count + i];
        transform_filter(column, result);
        for (int a = 0; a < PATCH; ++a) half[a][q] = result[a];
    }
    #pragma unroll
    for (int a = 0; a < PATCH; ++a) {
        transform_filter(half[a], result);
        for (int b = 0; b < PATCH; ++b) u[(a * PATCH + b) * count + i] = result[b];
    }
}

// x -> v (36, tiles, C) of the tiles first_tile, ... With `cells`, x is the gradient of a 2x2 max pooling's output and
// is spread while it is read: only the cell that was chosen receives it.
extern "C" __global__ void __launch_bounds__(256) winograd_input_f32(ConvShape s, const float* x, const u8* cells,
        float* v, i64 first_tile, i64 tiles) {
    const i64 i = thread_number(), count = tiles * s.C;
    if (i >= count) return;
    const int c = (int)(i % s.C);
    const Tile tile = tile_at(s, first_tile + i / s.C);
    const int pooled_h = s.H / 2, pooled_w = s.W / 2;
    float half[PATCH][PATCH], line[PATCH], result[PATCH];
    #pragma unroll
    for (int b = 0; b < PATCH; ++b) {
        const int column = tile.column - s.left + b;
        #pragma unroll
        for (int a = 0; a < PATCH; ++a) {
            const int row = tile.row - s.top + a;
            line[a] = 0.0f;
            if (row >= 0 && row < s.H && column >= 0 && column < s.W) {
                if (cells == nullptr) {
                    line[a] = x[(((i64)tile.n * s.H + row) * s.W + column) * s.C + c];
                } else if (row / 2 < pooled_h && column / 2 < pooled_w) {
                    const i64 cell = (((i64)tile.n * pooled_h + row / 2) * pooled_w + column / 2) * s.C + c;
                    if (cells[cell] == row % 2 * 2 + column % 2) line[a] = x[cell];
                }
            }
        }
        transform_input(line, result);
        #pragma unroll
        for (int a = 0; a < PATCH; ++a) half[a][b] = result[a];
    }
    #pragma unroll
    for (int a = 0; a < PATCH; ++a) {
        transform_input(half[a], result);
        #pragma unroll
        for (int b = 0; b < PATCH; ++b) v[(a * PATCH + b) * count + i] = result[b];
    }
}

// m (36, tiles, K) -> the 4x4 results of each tile, transformed. A warp has one tile and 32 channels.
DEVICE void results(const float* m, i64 tiles, i64 local, int k, int K, float start, float (&y)[TILE][TILE]) {
    float half[TILE][PATCH], line[PATCH], result[TILE];
    #pragma unroll
    for (int b = 0; b < PATCH; ++b) {
        #pragma unroll
        for (int a = 0; a < PATCH; ++a) line[a] = m[((a * PATCH + b) * tiles + local) * K + k];
        transform_output(line, result);
        #pragma unroll
        for (int a = 0; a < TILE; ++a) half[a][b] = result[a];
    }
    #pragma unroll
    for (int a = 0; a < TILE; ++a) {
        transform_output(half[a], result);
        #pragma unroll
        for (int b = 0; b < TILE; ++b) y[a][b] = result[b] + start;
    }
}

extern "C" __global__ void __launch_bounds__(256) winograd_output_f32(ConvShape s, const float* m, const float* bias,
        float* y, const u32* mask, u32* bits, int finish, i64 first_tile, i64 tiles) {
    const int k = blockIdx.y * 32 + threadIdx.x, words = mask_words(s.K);
    const i64 local = (i64)blockIdx.x * blockDim.y + threadIdx.y;
    if (local >= tiles) return;                                     // the whole warp
    const bool there = k < s.K;
    const Tile tile = tile_at(s, first_tile + local);
    float value[TILE][TILE] = {};
    if (there) results(m, tiles, local, k, s.K, bias != nullptr ? bias[k] : 0.0f, value);
    #pragma unroll
    for (int a = 0; a < TILE; ++a)
        #pragma unroll
        for (int b = 0; b < TILE; ++b) {
            if (tile.row + a >= s.OH || tile.column + b >= s.OW) continue;      // the same for the whole warp
            const i64 cell = output_cell(s, Position{tile.n, tile.row + a, tile.column + b});
            bool bit = false;
            if (reads_bits(finish)) bit = mask[cell * words + blockIdx.y] >> threadIdx.x & 1;
            const float number = finished(value[a][b], finish, bit);
            if (there) y[cell * s.K + k] = number;
            if (finish == FINISH_RELU_BITS) {
                const u32 word = __ballot_sync(0xffffffffu, number > 0.0f);
                if (threadIdx.x == 0) bits[cell * words + blockIdx.y] = word;
            }
        }
}

// The same with ReLU and 2x2 max pooling: y (N, OH/2, OW/2, K); bits and cells (which may be null) say for each result
// whether it is above 0, and which cell of its window it was: row * 2 + column, the first of equals after the ReLU.
extern "C" __global__ void __launch_bounds__(256) winograd_output_pool_f32(ConvShape s, const float* m,
        const float* bias, float* y, u32* bits, u8* cells, i64 first_tile, i64 tiles) {
    const int k = blockIdx.y * 32 + threadIdx.x, words = mask_words(s.K);
    const i64 local = (i64)blockIdx.x * blockDim.y + threadIdx.y;
    if (local >= tiles) return;
    const bool there = k < s.K;
    const Tile tile = tile_at(s, first_tile + local);
    float value[TILE][TILE] = {};
    if (there) results(m, tiles, local, k, s.K, bias != nullptr ? bias[k] : 0.0f, value);
    #pragma unroll
    for (int a = 0; a < TILE; a += 2)
        #pragma unroll
        for (int b = 0; b < TILE; b += 2) {
            const int row = (tile.row + a) / 2, column = (tile.column + b) / 2;
            if (row >= s.OH / 2 || column >= s.OW / 2) continue;
            float best = value[a][b] <= 0.0f ? 0.0f : value[a][b];     // first the ReLU: then equals are zeros
            int chosen = 0;
            #pragma unroll
            for (int cell = 1; cell < 4; ++cell) {
                const float other = value[a + cell / 2][b + cell % 2];
                if (above(other, best)) {
                    best = other;
                    chosen = cell;
                }
            }
            const i64 window = ((i64)tile.n * (s.OH / 2) + row) * (s.OW / 2) + column;
            if (there) y[window * s.K + k] = best;
            if (there && cells != nullptr) cells[window * s.K + k] = (u8)chosen;
            if (bits != nullptr) {
                const u32 word = __ballot_sync(0xffffffffu, there && best > 0.0f);
                if (threadIdx.x == 0) bits[window * words + blockIdx.y] = word;
            }
        }
}
