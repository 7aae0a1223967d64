// Pooling over windows of (N, H, W, C) pictures.
//
// Forward, one thread makes one number of y; backward, one thread makes one number of dx: it looks up every window that
// holds its cell, so nothing is added by two threads and the sum has one order. Block x is a row of the result (one
// picture, one line); threads along the row have neighbouring channels and so neighbouring addresses.
#include "common.cuh"

struct Pool {               // see pooling.py
    int H, W, C, OH, OW, kh, kw, sh, sw, top, bottom, left, right, count_pad;
};

// The cells of window `o` along one side that lie in the picture: [first, last).
DEVICE void window_range(int o, int stride, int pad, int k, int size, int& first, int& last) {
    int start = o * stride - pad;
    first = start < 0 ? 0 : start;
    last = start + k < size ? start + k : size;
}

// The windows that hold cell `i` along one side: [first, last].
DEVICE void windows_of(int i, int stride, int pad, int k, int out, int& first, int& last) {
    int at = i + pad;
    first = at < k ? 0 : (at - k) / stride + 1;
    last = at / stride < out - 1 ? at / stride : out - 1;
}

// How many cells of window `o` an average divides by, along one side.
DEVICE int counted(int o, int stride, int before, int k, int size, int after, int count_pad) {
    int start = o * stride - before, end = start + k;
    int low = count_pad ? -before : 0, high = count_pad ? size + after : size;
    int cells = (end < high ? end : high) - (start > low ? start : low);
    return cells > 0 ? cells : 0;
}

// Where this thread stands in its row of `length` columns of C channels; false if outside.
DEVICE bool column_of(int length, int C, u32& column, u32& c) {
    u32 at = blockIdx.y * blockDim.x + threadIdx.x;
    column = at / (u32)C, c = at - column * (u32)C;
    return column < (u32)length;
}

// y = the largest number of the window, the switch = which cell it was (row * kw + column), the first of equals.
template <typename T, typename S>
DEVICE void max_forward(const T* x, T* y, S* switches, const Pool& p) {
    typedef typename Work<T>::type W;
    u32 j, c;
    if (!column_of(p.OW, p.C, j, c)) return;
    i64 n = blockIdx.x / (u32)p.OH;
    int i = blockIdx.x % (u32)p.OH, row, rows, first, columns;
    window_range(i, p.sh, p.top, p.kh, p.H, row, rows);
    window_range(j, p.sw, p.left, p.kw, p.W, first, columns);
    W best = -W(__int_as_float(0x7f800000));
    int chosen = 0;
    for (; row < rows; row++) {
        const T* line = x + ((n * p.H + row) * p.W) * p.C + c;
        int code = (row - i * p.sh + p.top) * p.kw - (int)j * p.sw + p.left;
        for (int column = first; column < columns; column++) {
            W v = W(line[(i64)column * p.C]);
            if (v > best || (v != v && best == best)) best = v, chosen = code + column;
        }
    }
    i64 at = ((i64)blockIdx.x * p.OW + j) * p.C + c;
    y[at] = T(best);
    switches[at] = (S)chosen;
}

template <typename T, typename S>
DEVICE void max_backward(const T* dy, const S* switches, T* dx, const Pool& p) {
    typedef typename Work<T>::type W;
    u32 w, c;
    if (!column_of(p.W, p.C, w, c)) return;
    i64 n = blockIdx.x / (u32)p.H;
    int h = blockIdx.x % (u32)p.H, top, i, left, right;
    windows_of(h, p.sh, p.top, p.kh, p.OH, top, i);
    windows_of(w, p.sw, p.left, p.kw, p.OW, left, right);
    W sum = 0;
    for (; i >= top; i--)                       // windows from the last to the first: their cells in rising order
        for (int j = right; j >= left; j--) {
            i64 at = ((n * p.OH + i) * p.OW + j) * p.C + c;
            int code = (h + p.top - i * p.sh) * p.kw + (int)w + p.left - j * p.sw;
            if ((int)switches[at] == code) sum += W(dy[at]);
        }
    dx[((i64)blockIdx.x * p.W + w) * p.C + c] = T(sum);
}

template <typename T>
DEVICE void average_forward(const T* x, T* y, const Pool& p) {
    typedef typename Work<T>::type W;
    u32 j, c;
    if (!column_of(p.OW, p.C, j, c)) return;
    i64 n = blockIdx.x / (u32)p.OH;
    int i = blockIdx.x % (u32)p.OH, row, rows, first, columns;
    window_range(i, p.sh, p.top, p.kh, p.H, row, rows);
    window_range(j, p.sw, p.left, p.kw, p.W, first, columns);
    W sum = 0;
    for (; row < rows; row++) {
        const T* line = x + ((n * p.H + row) * p.W) * p.C + c;
        for (int column = first; column < columns; column++) sum += W(line[(i64)column * p.C]);
    }
    int cells = counted(i, p.sh, p.top, p.kh, p.H, p.bottom, p.count_pad)
        * counted(j, p.sw, p.left, p.kw, p.W, p.right, p.count_pad);
    y[((i64)blockIdx.x * p.OW + j) * p.C + c] = T(sum / W(cells));
}

template <typename T>
DEVICE void average_backward(const T* dy, T* dx, const Pool& p) {
    typedef typename Work<T>::type W;
    u32 w, c;
    if (!column_of(p.W, p.C, w, c)) return;
    i64 n = blockIdx.x / (u32)p.H;
    int h = blockIdx.x % (u32)p.H, top, i, left, right;
    windows_of(h, p.sh, p.top, p.kh, p.OH, top, i);
    windows_of(w, p.sw, p.left, p.kw, p.OW, left, right);
    W sum = 0;
    for (; i >= top; i--) {
        int cells = counted(i, p.sh, p.top, p.kh, p.H, p.bottom, p.count_pad);
        for (int j = right; j >= left; j--)
            sum += W(dy[((n * p.OH + i) * p.OW + j) * p.C + c])
                / W(cells * counted(j, p.sw, p.left, p.kw, p.W, p.right, p.count_pad));
    }
    dx[((i64)blockIdx.x * p.W + w) * p.C + c] = T(sum);
}

#define MAX_KERNELS(T, S, NAME)                                                                                     \
    extern "C" __global__ void max_pool_forward_##NAME(const T* x, T* y, S* s, Pool p) { max_forward(x, y, s, p); } \
    extern "C" __global__ void max_pool_backward_##NAME(const T* dy, const S* s, T* dx, Pool p) {                   \
        max_backward(dy, s, dx, p);                                                                                 \
    }
MAX_KERNELS(f16, u8, u8_f16)
MAX_KERNELS(float, u8, u8_f32)
MAX_KERNELS(double, u8, u8_f64)
MAX_KERNELS(f16, int, i32_f16)
MAX_KERNELS(float, int, i32_f32)
MAX_KERNELS(double, int, i32_f64)

#define AVERAGE_KERNELS(T, S)                                                                                  \
    extern "C" __global__ void avg_pool_forward_##S(const T* x, T* y, Pool p) { average_forward(x, y, p); }    \
    extern "C" __global__ void avg_pool_backward_##S(const T* dy, T* dx, Pool p) { average_backward(dy, dx, p); }
EVERY_FLOAT(AVERAGE_KERNELS)
