// Local response normalisation between neighbouring channels, y_c = x_c / s_c^beta with
// s_c = k + a * sum over the channels around c of x^2. Block x is a row of the picture, threads run along it.
#include "common.cuh"

struct Lrn {                // see lrn.py
    int length, C, before, after;
    double a, beta, k;
};

// pow in the precision of the type
DEVICE float power(float base, float exponent) { return powf(base, exponent); }
DEVICE double power(double base, double exponent) { return pow(base, exponent); }

template <typename T>
DEVICE void lrn_forward(const T* x, T* y, T* s, const Lrn& p) {
    typedef typename Work<T>::type W;
    u32 at = blockIdx.y * blockDim.x + threadIdx.x;
    if (at >= (u32)p.length) return;
    int c = at % (u32)p.C;
    i64 here = (i64)blockIdx.x * p.length + at;
    int first = c < p.before ? -c : -p.before, last = c + p.after < p.C ? p.after : p.C - 1 - c;
    W sum = 0;
    for (int d = first; d <= last; d++) {
        W v = W(x[here + d]);
        sum += v * v;
    }
    T size = T(W(p.k) + W(p.a) * sum);          // as it is kept: the way back reads the same number
    s[here] = size;
    y[here] = T(W(x[here]) * power(W(size), -W(p.beta)));
}

// dx_c = dy_c s_c^-beta - 2 a beta x_c * sum over the d whose window holds c of t_d, t_d = dy_d x_d s_d^(-beta-1).
// A block makes the t of its stretch of the row, and of the few neighbours beside it, once, in shared memory.
template <typename T>
DEVICE void lrn_backward(const T* dy, const T* x, const T* s, T* dx, const Lrn& p) {
    typedef typename Work<T>::type W;
    DYNAMIC_SHARED(W, t);
    int start = (int)(blockIdx.y * blockDim.x) - p.before, count = blockDim.x + p.before + p.after;
    i64 row = (i64)blockIdx.x * p.length;
    for (int i = threadIdx.x; i < count; i += blockDim.x) {
        int at = start + i;
        bool inside = at >= 0 && at < p.length;
        t[i] = inside ? W(dy[row + at]) * W(x[row + at]) * power(W(s[row + at]), -W(p.beta) - W(1)) : W(0);
    }
    __syncthreads();
    int at = blockIdx.y * blockDim.x + threadIdx.x;
    if (at >= p.length) return;
    int c = (u32)at % (u32)p.C;
    int first = c < p.before ? -c : -p.before, last = c + p.after < p.C ? p.after : p.C - 1 - c;
    W sum = 0;
    for (int d = first; d <= last; d++) sum += t[threadIdx.x + p.before + d];
    i64 here = row + at;
    dx[here] = T(W(dy[here]) * power(W(s[here]), -W(p.beta)) - W(2) * W(p.a) * W(p.beta) * W(x[here]) * sum);
}

#define KERNELS(T, S)                                                                                          \
    extern "C" __global__ void lrn_forward_##S(const T* x, T* y, T* s, Lrn p) { lrn_forward(x, y, s, p); }     \
    extern "C" __global__ void lrn_backward_##S(const T* dy, const T* x, const T* s, T* dx, Lrn p) {           \
        lrn_backward(dy, x, s, dx, p);                                                                         \
    }
EVERY_FLOAT(KERNELS)
