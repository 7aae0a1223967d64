// Batch normalisation with the batch's own statistics, with the ReLU behind it in the same pass. x is rows of C channels.
//
// Sums over the rows of a channel are made in two steps of fixed order: a block adds up one slice of the rows for 32
// channels, each thread a few rows in the working precision and the block in double; then the slices are added in double.
// Forward the numbers are taken relative to the channel's first row, so that nothing cancels when the mean is far from
// zero (Chan, Golub, LeVeque 1983).
#include "four.cuh"

enum { CHANNELS = 32, LINES = 8 };      // a block: 32 channels wide, 8 rows at a time

// partial[slice][0 or 1][C]: what the block's threads hold in `one` and `two`, added up.
DEVICE void add_block(double one, double two, double* partial, i64 C, i64 c) {
    __shared__ double sums[2][LINES][CHANNELS];
    int x = threadIdx.x % CHANNELS, y = threadIdx.x / CHANNELS;
    sums[0][y][x] = one, sums[1][y][x] = two;
    __syncthreads();
    if (y == 0 && c < C)
        for (int which = 0; which < 2; which++) {
            double sum = 0;
            for (int line = 0; line < LINES; line++) sum += sums[which][line][x];
            partial[((i64)blockIdx.y * 2 + which) * C + c] = sum;
        }
}

DEVICE double add_slices(const double* partial, i64 slices, i64 C, i64 c, int which) {
    double sum = 0;
    for (i64 s = 0; s < slices; s++) sum += partial[(s * 2 + which) * C + c];
    return sum;
}

// Sums of x - x0 and (x - x0)^2 with x0 the first row.
template <typename T>
DEVICE void moments(const T* x, double* partial, i64 rows, i64 C, i64 slice) {
    typedef typename Work<T>::type W;
    i64 c = (i64)blockIdx.x * CHANNELS + threadIdx.x % CHANNELS, end = smaller(rows, (blockIdx.y + 1) * slice);
    W one = 0, two = 0, first = c < C ? W(x[c]) : W(0);
    for (i64 r = blockIdx.y * slice + threadIdx.x / CHANNELS; c < C && r < end; r += LINES) {
        W away = W(x[r * C + c]) - first;
        one += away;
        two += away * away;
    }
    add_block(one, two, partial, C, c);
}

// One thread per channel: mean and (biased) variance, and y = (x - mean) * factor + shift.
template <typename T>
DEVICE void moments_end(const double* partial, const T* x, const T* scale, T* mean, T* var, T* factor, i64 rows, i64 C,
                        i64 slices, double eps) {
    i64 c = thread_number();
    if (c >= C) return;
    double away = add_slices(partial, slices, C, c, 0) / rows;
    double spread = add_slices(partial, slices, C, c, 1) / rows - away * away;
    if (spread < 0) spread = 0;                 // all values equal, up to rounding
    typedef typename Work<T>::type W;
    mean[c] = T((W)((double)(W)x[c] + away));
    var[c] = T((W)spread);
    factor[c] = T((W)((double)(W)scale[c] / sqrt(spread + eps)));
}

template <typename T>
DEVICE void normalize(const T* x, const T* mean, const T* factor, const T* shift, T* y, u32* mask, i64 count, i64 C) {
    typedef typename Work<T>::type W;
    i64 rounded = (count + 127) / 128 * 128;
    for (i64 first = thread_number() * PER_THREAD; first < rounded; first += thread_count() * PER_THREAD) {
        Vector<T, PER_THREAD> v = load_some(x, first, count);
        i64 c = first % C;
        u32 bits = 0;
        for (int j = 0; j < PER_THREAD; j++) {
            W value = (W(v.at[j]) - W(mean[c])) * W(factor[c]) + W(shift[c]);
            bits |= (value > W(0) ? 1u : 0u) << j;
            v.at[j] = T(mask && value <= W(0) ? W(0) : value);
            c = c + 1 == C ? 0 : c + 1;
        }
        store_some(y, first, count, v);
        if (mask) store_bits(mask, first, count, bits);
    }
}

// dy where the ReLU behind let it pass.
template <typename T>
DEVICE typename Work<T>::type passed(const T* dy, const u32* mask, i64 i) {
    typedef typename Work<T>::type W;
    return mask && !(mask[i / 32] >> (i & 31) & 1) ? W(0) : W(dy[i]);
}

// Sums of dy and dy * z with z = (x - mean) * inverse.
template <typename T>
DEVICE void gradient_sums(const T* dy, const T* x, const u32* mask, const T* mean, const T* var, double* partial, i64 rows,
                          i64 C, i64 slice, double eps) {
    typedef typename Work<T>::type W;
    i64 c = (i64)blockIdx.x * CHANNELS + threadIdx.x % CHANNELS, end = smaller(rows, (blockIdx.y + 1) * slice);
    W one = 0, two = 0, centre = c < C ? W(mean[c]) : W(0), inverse = c < C ? W(1 / sqrt((double)(W)var[c] + eps)) : W(0);
    for (i64 r = blockIdx.y * slice + threadIdx.x / CHANNELS; c < C && r < end; r += LINES) {
        W d = passed(dy, mask, r * C + c);
        one += d;
        two += d * ((W(x[r * C + c]) - centre) * inverse);
    }
    add_block(one, two, partial, C, c);
}

template <typename T>
DEVICE void gradient_end(const double* partial, T* dscale, T* dshift, typename Work<T>::type* means, i64 rows, i64 C,
                         i64 slices) {
    typedef typename Work<T>::type W;
    i64 c = thread_number();
    if (c >= C) return;
    double shift = add_slices(partial, slices, C, c, 0), scale = add_slices(partial, slices, C, c, 1);
    dshift[c] = T((W)shift), dscale[c] = T((W)scale);
    means[c] = (W)(shift / rows), means[C + c] = (W)(scale / rows);
}

// dx = scale * inverse * (dy - mean(dy) - z * mean(dy z))
template <typename T>
DEVICE void gradient_input(const T* dy, const T* x, const u32* mask, const T* scale, const T* mean, const T* var,
                           const typename Work<T>::type* means, T* dx, i64 count, i64 C, double eps) {
    typedef typename Work<T>::type W;
    for (i64 i = thread_number(); i < count; i += thread_count()) {
        i64 c = i % C;
        W inverse = W(1 / sqrt((double)(W)var[c] + eps)), z = (W(x[i]) - W(mean[c])) * inverse;
        dx[i] = T(W(scale[c]) * inverse * (passed(dy, mask, i) - means[c] - z * means[C + c]));
    }
}

#define KERNELS(T, S)                                                                                                  \
    extern "C" __global__ void moments_##S(const T* x, double* p, i64 rows, i64 C, i64 slice) {                        \
        moments(x, p, rows, C, slice);                                                                                 \
    }                                                                                                                  \
    extern "C" __global__ void moments_end_##S(const double* p, const T* x, const T* scale, T* mean, T* var, T* factor, \
                                               i64 rows, i64 C, i64 slices, double eps) {                              \
        moments_end(p, x, scale, mean, var, factor, rows, C, slices, eps);                                             \
    }                                                                                                                  \
    extern "C" __global__ void normalize_##S(const T* x, const T* mean, const T* factor, const T* shift, T* y,         \
                                             u32* mask, i64 count, i64 C) {                                            \
        normalize(x, mean, factor, shift, y, mask, count, C);                                                          \
    }                                                                                                                  \
    extern "C" __global__ void gradient_sums_##S(const T* dy, const T* x, const u32* mask, const T* mean, const T* var, \
                                                 double* p, i64 rows, i64 C, i64 slice, double eps) {                  \
        gradient_sums(dy, x, mask, mean, var, p, rows, C, slice, eps);                                                 \
    }                                                                                                                  \
    extern "C" __global__ void gradient_end_##S(const double* p, T* dscale, T* dshift, Work<T>::type* means, i64 rows, \
                                                i64 C, i64 slices) {                                                   \
        gradient_end(p, dscale, dshift, means, rows, C, slices);                                                       \
    }                                                                                                                  \
    extern "C" __global__ void gradient_input_##S(const T* dy, const T* x, const u32* mask, const T* scale,            \
                                                  const T* mean, const T* var, const Work<T>::type* means, T* dx,      \
                                                  i64 count, i64 C, double eps) {                                      \
        gradient_input(dy, x, mask, scale, mean, var, means, dx, count, C, eps);                                       \
    }
EVERY_FLOAT(KERNELS)
