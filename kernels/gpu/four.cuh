// Four consecutive numbers per thread, and the mask of a ReLU that belongs to them: bit i % 32 of word i / 32 says whether
// the i-th number was above 0, so eight neighbouring lanes make one word of it.
#pragma once
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

// The four bits of this thread, and those of its seven neighbours, to a word of the mask. `first` is the number of the
// first of the four; all lanes of a warp must come here.
DEVICE void store_bits(u32* mask, i64 first, i64 count, u32 bits) {
    bits <<= 4 * (threadIdx.x & 7);
    for (int by = 1; by < 8; by *= 2) bits |= __shfl_xor_sync(0xffffffffu, bits, by);
    if ((threadIdx.x & 7) == 0 && first < count) mask[first / 32] = bits;
}

DEVICE u32 load_bits(const u32* mask, i64 first) { return mask[first / 32] >> (first & 31); }
