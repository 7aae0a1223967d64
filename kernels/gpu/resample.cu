// A matrix applied along the rows or the columns of pictures: resizing, blurring, and their transposes.
//
// Such a matrix is nearly all zeros: a pixel looks at its neighbourhood. `bands` finds for each of its rows the first
// and the last entry that is not zero, and the sums run between these. Block x is a row of the result, threads run along
// it.
#include "common.cuh"

// One warp per row i of m (rows, size): band[i] = first, last + 1.
template <typename T>
DEVICE void bands(const T* m, int* band, i64 rows, i64 size) {
    i64 row = thread_number() / 32;
    int lane = threadIdx.x & 31;
    int first = (int)size, last = 0;
    for (i64 i = lane; row < rows && i < size; i += 32)
        if (typename Work<T>::type(m[row * size + i]) != 0) {
            first = i < first ? (int)i : first;
            last = (int)i + 1;
        }
    for (int by = 16; by; by /= 2) {
        int other = __shfl_xor_sync(0xffffffffu, first, by);
        first = other < first ? other : first;
        other = __shfl_xor_sync(0xffffffffu, last, by);
        last = other > last ? other : last;
    }
    if (lane == 0 && row < rows) {
        band[2 * row] = last ? first : 0;
        band[2 * row + 1] = last;
    }
}

// y[n,i,at] = sum over h of m[i,h] x[n,h,at]; at counts the `length` = W * C numbers of a row.
template <typename T>
DEVICE void along_rows(const T* x, const T* m, const int* band, T* y, int H, int OH, int length) {
    typedef typename Work<T>::type W;
    u32 at = blockIdx.y * blockDim.x + threadIdx.x;
    if (at >= (u32)length) return;
    i64 n = blockIdx.x / (u32)OH;
    int i = blockIdx.x % (u32)OH;
    const T* from = x + n * H * length + at;
    W sum = 0;
    for (int h = band[2 * i]; h < band[2 * i + 1]; h++) sum += W(m[(i64)i * H + h]) * W(from[(i64)h * length]);
    y[(i64)blockIdx.x * length + at] = T(sum);
}

// y[n,h,j,c] = sum over w of m[j,w] x[n,h,w,c]
template <typename T>
DEVICE void along_columns(const T* x, const T* m, const int* band, T* y, int width, int OW, int C) {
    typedef typename Work<T>::type W;
    u32 at = blockIdx.y * blockDim.x + threadIdx.x, j = at / (u32)C, c = at - j * (u32)C;
    if (j >= (u32)OW) return;
    const T* from = x + (i64)blockIdx.x * width * C + c;
    W sum = 0;
    for (int w = band[2 * j]; w < band[2 * j + 1]; w++) sum += W(m[(i64)j * width + w]) * W(from[(i64)w * C]);
    y[(i64)blockIdx.x * OW * C + at] = T(sum);
}

#define KERNELS(T, S)                                                                                              \
    extern "C" __global__ void bands_##S(const T* m, int* band, i64 rows, i64 size) { bands(m, band, rows, size); } \
    extern "C" __global__ void along_rows_##S(const T* x, const T* m, const int* band, T* y, int H, int OH, int length) { \
        along_rows(x, m, band, y, H, OH, length);                                                                  \
    }                                                                                                              \
    extern "C" __global__ void along_columns_##S(const T* x, const T* m, const int* band, T* y, int W, int OW, int C) { \
        along_columns(x, m, band, y, W, OW, C);                                                                    \
    }
EVERY_FLOAT(KERNELS)
