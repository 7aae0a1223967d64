// What every .cu file of this folder starts from.
//
// A kernel is `extern "C" __global__` and named NAME_f32 or NAME_f64; its body is a template. All sizes and indices are
// 64-bit. The same text is compiled by NVRTC, by nvcc, and, with MINIVIS_SHIM defined, by g++ (tools/cuda_shim), where
// one fiber stands for one thread. No header of the CUDA toolkit is needed.
#pragma once

typedef long long i64;
typedef unsigned char u8;
typedef unsigned int u32;

#ifndef MINIVIS_SHIM
// Shared memory whose size the launch gives: DYNAMIC_SHARED(float, tile) declares `float* tile`.
#define DYNAMIC_SHARED(T, name)                                            \
    extern __shared__ __align__(16) unsigned char minivis_dynamic_shared[]; \
    T* name = reinterpret_cast<T*>(minivis_dynamic_shared)
#endif

#define DEVICE __device__ __forceinline__

// The number of this thread among all threads of a one-dimensional launch, and how many there are.
DEVICE i64 thread_number() { return (i64)blockIdx.x * blockDim.x + threadIdx.x; }
DEVICE i64 thread_count() { return (i64)gridDim.x * blockDim.x; }

DEVICE i64 smaller(i64 a, i64 b) { return a < b ? a : b; }
DEVICE i64 larger(i64 a, i64 b) { return a > b ? a : b; }

// Half precision as it is stored; it is computed with in float.
struct f16 {
    unsigned short bits;
    f16() = default;
#ifdef MINIVIS_SHIM
    f16(float v) {
        _Float16 h = (_Float16)v;
        memcpy(&bits, &h, 2);
    }
    operator float() const {
        _Float16 h;
        memcpy(&h, &bits, 2);
        return (float)h;
    }
#else
    DEVICE f16(float v) { asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(v)); }
    DEVICE operator float() const {
        float v;
        asm("cvt.f32.f16 %0, %1;" : "=f"(v) : "h"(bits));
        return v;
    }
#endif
};

// The type in which numbers of type T are added up.
template <typename T>
struct Work {
    typedef T type;
};
template <>
struct Work<f16> {
    typedef float type;
};

// One kernel for each type: EVERY_FLOAT(KERNEL) with a macro KERNEL(T, suffix).
#define EVERY_FLOAT(KERNEL) KERNEL(f16, f16) KERNEL(float, f32) KERNEL(double, f64)

// A vector of N numbers that is loaded and stored in one instruction where N numbers fill at most 16 bytes. More are
// promised no more alignment than the launchers see to: from sm_100 on there are loads of 32 bytes that want theirs.
template <typename T, int N>
struct __align__(sizeof(T) * N < 16 ? sizeof(T) * N : 16) Vector {
    T at[N];
};

// How many numbers 16 bytes hold.
template <typename T>
struct Lanes {
    static const int count = 16 / sizeof(T);
};
