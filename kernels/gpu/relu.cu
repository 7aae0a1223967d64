// ReLU and the rules of looking back through it.
//
// One thread takes four consecutive numbers. A mask holds one bit per number: bit i % 32 of word i / 32 says whether
// x[i] was above 0. Eight neighbouring lanes make one word of it.
#include "common.cuh"

enum { PER_THREAD = 4 };

template <typename T>
DEVICE Vector<T, PER_THREAD> load_some(const T* x, i64 first, i64 count) {
    typedef Vector<T, PER_THREAD> Four;
    if (first + PER_THREAD <= count) return *reinterpret_cast<const Four*>(x + first);
    Four v;
    for (int j = 0; j < PER_THREAD; j++) v.at[j] = first + j < count ? x[first + j] : T(0.0f);
    return v;
}

template <typename T>
DEVICE void store_some(T* y, i64 first, i64 count, const Vector<T, PER_THREAD>& v) {
    typedef Vector<T, PER_THREAD> Four;
    if (first + PER_THREAD <= count) {
        *reinterpret_cast<Four*>(y + first) = v;
        return;
    }
    for (int j = 0; j < PER_THREAD; j++)
        if (first + j < count) y[first + j] = v.at[j];
}

// y = max(x, 0), a NaN stays; the mask of x > 0. All lanes of a warp take the same number of turns.
template <typename T>
DEVICE void relu_forward(const T* x, T* y, u32* mask, i64 count) {
    typedef typename Work<T>::type W;
    i64 rounded = (count + 127) / 128 * 128;
    for (i64 first = thread_number() * PER_THREAD; first < rounded; first += thread_count() * PER_THREAD) {
        Vector<T, PER_THREAD> v = load_some(x, first, count);
        u32 bits = 0;
        for (int j = 0; j < PER_THREAD; j++) {
            W value = W(v.at[j]);
            bits |= (value > W(0) ? 1u : 0u) << j;
            if (value <= W(0)) v.at[j] = T(0.0f);
        }
        bits <<= 4 * (threadIdx.x & 7);
        for (int by = 1; by < 8; by *= 2) bits |= __shfl_xor_sync(0xffffffffu, bits, by);
        store_some(y, first, count, v);
        if ((threadIdx.x & 7) == 0 && first < count) mask[first / 32] = bits;
    }
}

// dx = dy where the mask has a bit; guided: and dy > 0.
template <typename T>
DEVICE void relu_backward(const T* dy, const u32* mask, T* dx, i64 count, bool guided) {
    typedef typename Work<T>::type W;
    for (i64 first = thread_number() * PER_THREAD; first < count; first += thread_count() * PER_THREAD) {
        Vector<T, PER_THREAD> v = load_some(dy, first, count);
        u32 bits = mask[first / 32] >> (first & 31);
        for (int j = 0; j < PER_THREAD; j++)
            if (!(bits >> j & 1) || (guided && !(W(v.at[j]) > W(0)))) v.at[j] = T(0.0f);
        store_some(dx, first, count, v);
    }
}

// dx = max(dy, 0)
template <typename T>
DEVICE void deconv_backward(const T* dy, T* dx, i64 count) {
    typedef typename Work<T>::type W;
    for (i64 first = thread_number() * PER_THREAD; first < count; first += thread_count() * PER_THREAD) {
        Vector<T, PER_THREAD> v = load_some(dy, first, count);
        for (int j = 0; j < PER_THREAD; j++)
            if (W(v.at[j]) <= W(0)) v.at[j] = T(0.0f);
        store_some(dx, first, count, v);
    }
}

extern "C" __global__ void unpack_mask(const u32* mask, bool* positive, i64 count) {
    for (i64 i = thread_number(); i < count; i += thread_count()) positive[i] = mask[i / 32] >> (i & 31) & 1;
}

#define KERNELS(T, S)                                                                                       \
    extern "C" __global__ void relu_forward_##S(const T* x, T* y, u32* mask, i64 count) {                   \
        relu_forward(x, y, mask, count);                                                                    \
    }                                                                                                       \
    extern "C" __global__ void relu_backward_##S(const T* dy, const u32* mask, T* dx, i64 count, i64 guided) { \
        relu_backward(dy, mask, dx, count, guided != 0);                                                    \
    }                                                                                                       \
    extern "C" __global__ void deconv_relu_backward_##S(const T* dy, T* dx, i64 count) { deconv_backward(dy, dx, count); }
EVERY_FLOAT(KERNELS)
