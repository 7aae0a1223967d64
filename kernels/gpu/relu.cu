// ReLU and the rules of looking back through it.
//
// One thread takes four consecutive numbers and their bits of the mask.
#include "four.cuh"

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
        store_some(y, first, count, v);
        store_bits(mask, first, count, bits);
    }
}

// dx = dy where the mask has a bit; guided: and dy > 0.
template <typename T>
DEVICE void relu_backward(const T* dy, const u32* mask, T* dx, i64 count, bool guided) {
    typedef typename Work<T>::type W;
    for (i64 first = thread_number() * PER_THREAD; first < count; first += thread_count() * PER_THREAD) {
        Vector<T, PER_THREAD> v = load_some(dy, first, count);
        u32 bits = load_bits(mask, first);
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
    extern "C" __global__ void relu_backward_##S(const T* dy, const u32* mask, T* dx, i64 count, i64 g) {   \
        relu_backward(dy, mask, dx, count, g != 0);                                                         \
    }                                                                                                       \
    extern "C" __global__ void deconv_relu_backward_##S(const T* dy, T* dx, i64 count) {                    \
        deconv_backward(dy, dx, count);                                                                     \
    }
EVERY_FLOAT(KERNELS)
