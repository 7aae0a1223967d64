// Weight gradient: dw[p,q,c,k] = sum over positions of x[n, i*stride + p*dilation - top, ..., c] * dy[n,i,j,k].
//
// A matrix product (taps and channels) x (positions) times (positions) x (filters) whose left matrix is read in place.
// A block computes 64 x 64 numbers of dw over one slice of the positions, 16 positions at a time through shared memory,
// 4 x 4 numbers per thread. Slices are summed in a fixed order by conv_weight_sum, so a result never depends on timing.
#include "conv.cuh"

constexpr int WEIGHT_TILE = 64;
constexpr int WEIGHT_DEPTH = 16;

template <typename T>
DEVICE void conv_weight(const ConvShape& s, const T* x, const T* dy, typename Work<T>::type* partial, int slices) {
    typedef typename Work<T>::type Sum;
    __shared__ Sum left[WEIGHT_DEPTH][WEIGHT_TILE];
    __shared__ Sum right[WEIGHT_DEPTH][WEIGHT_TILE];
    const int Cg = s.C / s.groups, Kg = s.K / s.groups, depth = s.kh * s.kw * Cg;
    const int group = blockIdx.z / slices, slice = blockIdx.z % slices;
    const int row0 = blockIdx.x * WEIGHT_TILE, column0 = blockIdx.y * WEIGHT_TILE;
    const int t = threadIdx.x, tx = t % 16, ty = t / 16;
    const i64 all = positions(s), share = (all + slices - 1) / slices;
    const i64 begin = slice * share, end = begin + share < all ? begin + share : all;

    // every thread loads one row of `left` and one column of `right`, of 4 positions each
    const int lane = t % WEIGHT_TILE, first = t / WEIGHT_TILE;
    const int row = row0 + lane, column = column0 + lane;
    const int tap = row / Cg, c = row - tap * Cg, p = tap / s.kw, q = tap - p * s.kw;
    Sum sum[4][4] = {};
    for (i64 base = begin; base < end; base += WEIGHT_DEPTH) {
        for (int d = first; d < WEIGHT_DEPTH; d += 256 / WEIGHT_TILE) {
            Sum a = Sum(0), b = Sum(0);
            if (base + d < end) {
                Position at = position(s, base + d);
                int h = at.i * s.stride_h + p * s.dilation_h - s.top, v = at.j * s.stride_w + q * s.dilation_w - s.left;
                if (row < depth && h >= 0 && h < s.H && v >= 0 && v < s.W)
                    a = x[(((i64)at.n * s.H + h) * s.W + v) * s.C + group * Cg + c];
                if (column < Kg) b = dy[(base + d) * s.K + group * Kg + column];
            }
            left[d][lane] = a;
            right[d][lane] = b;
        }
        __syncthreads();
        #pragma unroll
        for (int d = 0; d < WEIGHT_DEPTH; ++d) {
            Sum a[4], b[4];
            #pragma unroll
            for (int i = 0; i < 4; ++i) {
                a[i] = left[d][ty * 4 + i];
                b[i] = right[d][tx * 4 + i];
            }
            #pragma unroll
            for (int i = 0; i < 4; ++i)
                #pragma unroll
                for (int j = 0; j < 4; ++j) sum[i][j] += a[i] * b[j];
        }
        __syncthreads();
    }
    Sum* target = partial + (i64)slice * depth * s.K;
    for (int i = 0; i < 4; ++i)
        for (int j = 0; j < 4; ++j) {
            int r = row0 + ty * 4 + i, k = column0 + tx * 4 + j;
            if (r < depth && k < Kg) target[(i64)r * s.K + group * Kg + k] = sum[i][j];
        }
}

template <typename T>
DEVICE void conv_weight_sum(const typename Work<T>::type* partial, T* dw, i64 count, int slices) {
    typedef typename Work<T>::type Sum;
    i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= count) return;
    Sum total = Sum(0);
    for (int slice = 0; slice < slices; ++slice) total += partial[slice * count + i];
    dw[i] = T(total);
}

#define CONV_WEIGHT(T, suffix)                                                                                    \
    extern "C" __global__ void __launch_bounds__(256) conv_weight_##suffix(ConvShape s, const T* x, const T* dy,      \
            Work<T>::type* partial, int slices) {                                                                     \
        conv_weight<T>(s, x, dy, partial, slices);                                                                    \
    }                                                                                                                 \
    extern "C" __global__ void conv_weight_sum_##suffix(const Work<T>::type* partial, T* dw, i64 count,         \
            int slices) {                                                                                             \
        conv_weight_sum<T>(partial, dw, count, slices);                                                               \
    }

EVERY_FLOAT(CONV_WEIGHT)
