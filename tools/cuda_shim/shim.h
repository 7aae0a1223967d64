// CUDA's language on the host, for one block at a time: every CUDA thread is a fiber with a stack of its own, and a
// barrier hands control to the next. What it shows: the results of the very source that runs on a GPU, reads and writes
// outside of arrays (address sanitizer), misaligned vectors, barriers that not all threads reach, results that depend on
// the order in which threads happen to run, and, in a build of its own (races.h), two threads that touch the same
// memory with nothing between them that orders them. What it cannot show: whatever depends on the memory order of the
// device beyond that, wrong assumptions that the twins of instructions share with the kernels, and speed.
#pragma once
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "races.h"

#define MINIVIS_SHIM 1
#ifdef MINIVIS_SHIM_LIST                // only to find the kernels' names in the preprocessed text
#define __global__ minivis_shim_global
#else
#define __global__
#endif
#define __device__
#define __host__
#define __constant__ static
#define __shared__ static
#define __forceinline__ inline
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __align__(n) alignas(n)
#define __grid_constant__
#define DYNAMIC_SHARED(T, name) T* name = reinterpret_cast<T*>(shim::dynamic_shared)

struct dim3 {
    unsigned x, y, z;
};
typedef dim3 uint3;

template <typename T> struct alignas(2 * sizeof(T)) shim_vector2 { T x, y; };
template <typename T> struct alignas(4 * sizeof(T) < 16 ? 4 * sizeof(T) : 16) shim_vector4 { T x, y, z, w; };
typedef shim_vector2<float> float2;
typedef shim_vector4<float> float4;
typedef shim_vector2<double> double2;
typedef shim_vector2<int> int2;
typedef shim_vector4<int> int4;
typedef shim_vector2<unsigned> uint2;
typedef shim_vector4<unsigned> uint4;
static inline float2 make_float2(float x, float y) { return {x, y}; }
static inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
static inline double2 make_double2(double x, double y) { return {x, y}; }
static inline int4 make_int4(int x, int y, int z, int w) { return {x, y, z, w}; }
static inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }

namespace shim {
extern dim3 thread, block, block_size, grid_size;       // of the fiber that runs
extern unsigned char* dynamic_shared;
int lane();
void block_barrier(const char* file, int line);
void warp_sync(unsigned mask, const char* file, int line);
void fail(const char* format, ...);
// One value per lane of the running warp. A lane that does not take part keeps what it held.
void warp_exchange(unsigned mask, const void* mine, size_t size, void* all, unsigned* present, const char* file, int line);

// Every lane's value, for the twins of instructions that work on a whole warp.
template <class T>
void warp_gather(const T& mine, T (&all)[32]) {
    unsigned present = 0;
    warp_exchange(0xffffffffu, &mine, sizeof(T), all, &present, __FILE__, __LINE__);
    if (present != 0xffffffffu) fail("an instruction of a whole warp was reached by some lanes only (%08x)", present);
}

template <class T>
T shuffle(unsigned mask, T mine, int from, const char* file, int line) {
    T all[32];
    unsigned present = 0;
    warp_exchange(mask, &mine, sizeof(T), all, &present, file, line);
    if (from < 0 || from > 31) return mine;
    if (!(present >> from & 1)) fail("%s:%d: a shuffle reads from lane %d, which takes no part (mask %08x)", file, line, from, mask);
    return all[from];
}
static inline int segment(int width) { return lane() & ~(width - 1); }
template <class T>
T shuffle_from(unsigned mask, T v, int from, int width, const char* f, int l) {
    return shuffle(mask, v, segment(width) + (from & (width - 1)), f, l);
}
template <class T>
T shuffle_down(unsigned mask, T v, int by, int width, const char* f, int l) {
    int from = lane() + by;
    return shuffle(mask, v, from < segment(width) + width ? from : lane(), f, l);
}
template <class T>
T shuffle_up(unsigned mask, T v, int by, int width, const char* f, int l) {
    int from = lane() - by;
    return shuffle(mask, v, from >= segment(width) ? from : lane(), f, l);
}
template <class T>
T shuffle_xor(unsigned mask, T v, int by, int width, const char* f, int l) {
    int from = lane() ^ by;
    return shuffle(mask, v, from < segment(width) + width ? from : lane(), f, l);
}
static inline unsigned ballot(unsigned mask, bool mine, const char* file, int line) {
    bool all[32] = {};
    unsigned present = 0, bits = 0;
    warp_exchange(mask, &mine, sizeof(bool), all, &present, file, line);
    for (int i = 0; i < 32; i++) bits |= (present >> i & 1 && all[i]) ? 1u << i : 0;
    return bits;
}
// Width is CUDA's optional last argument.
template <class T> T down(const char* f, int l, unsigned m, T v, int by, int width = 32) { return shuffle_down(m, v, by, width, f, l); }
template <class T> T up(const char* f, int l, unsigned m, T v, int by, int width = 32) { return shuffle_up(m, v, by, width, f, l); }
template <class T> T exor(const char* f, int l, unsigned m, T v, int by, int width = 32) { return shuffle_xor(m, v, by, width, f, l); }
template <class T> T from(const char* f, int l, unsigned m, T v, int at, int width = 32) { return shuffle_from(m, v, at, width, f, l); }
inline void sync_warp(const char* f, int l, unsigned m = 0xffffffffu) { warp_sync(m, f, l); }
template <class T> T add(T* p, T v) { T old = *p; *p = old + v; return old; }
}  // namespace shim

#define threadIdx shim::thread
#define blockIdx shim::block
#define blockDim shim::block_size
#define gridDim shim::grid_size
#define warpSize 32
#define __syncthreads() shim::block_barrier(__FILE__, __LINE__)
#define __syncwarp(...) shim::sync_warp(__FILE__, __LINE__ __VA_OPT__(, ) __VA_ARGS__)
#define __shfl_sync(...) shim::from(__FILE__, __LINE__, __VA_ARGS__)
#define __shfl_down_sync(...) shim::down(__FILE__, __LINE__, __VA_ARGS__)
#define __shfl_up_sync(...) shim::up(__FILE__, __LINE__, __VA_ARGS__)
#define __shfl_xor_sync(...) shim::exor(__FILE__, __LINE__, __VA_ARGS__)
#define __ballot_sync(mask, v) shim::ballot(mask, v, __FILE__, __LINE__)
#define __any_sync(mask, v) (shim::ballot(mask, v, __FILE__, __LINE__) != 0)
#define __all_sync(mask, v) (shim::ballot(mask, !(v), __FILE__, __LINE__) == 0)

// Fibers never run at the same time, so an atomic operation is the operation.
template <class T> T atomicAdd(T* p, T v) { return shim::add(p, v); }
template <class T> T atomicMax(T* p, T v) { T old = *p; if (v > old) *p = v; return old; }
template <class T> T atomicMin(T* p, T v) { T old = *p; if (v < old) *p = v; return old; }
template <class T> T atomicOr(T* p, T v) { T old = *p; *p = old | v; return old; }
template <class T> T atomicExch(T* p, T v) { T old = *p; *p = v; return old; }
template <class T> T atomicCAS(T* p, T expected, T v) { T old = *p; if (old == expected) *p = v; return old; }
static inline void __threadfence() {}
static inline void __threadfence_block() {}
template <class T> T __ldg(const T* p) { return *p; }
template <class T> T __ldcs(const T* p) { return *p; }
template <class T> void __stcs(T* p, T v) { *p = v; }

static inline int __popc(unsigned v) { return __builtin_popcount(v); }
static inline int __ffs(int v) { return __builtin_ffs(v); }
static inline int __clz(int v) { return v ? __builtin_clz((unsigned)v) : 32; }
static inline float __int_as_float(int v) { float f; memcpy(&f, &v, 4); return f; }
static inline int __float_as_int(float f) { int v; memcpy(&v, &f, 4); return v; }
static inline unsigned __float_as_uint(float f) { unsigned v; memcpy(&v, &f, 4); return v; }
static inline float __uint_as_float(unsigned v) { float f; memcpy(&f, &v, 4); return f; }
static inline double __longlong_as_double(long long v) { double f; memcpy(&f, &v, 8); return f; }
static inline long long __double_as_longlong(double f) { long long v; memcpy(&v, &f, 8); return v; }
static inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
static inline float rsqrtf(float v) { return 1.0f / sqrtf(v); }
static inline double rsqrt(double v) { return 1.0 / sqrt(v); }
template <class T> static inline T min(T a, T b) { return b < a ? b : a; }
template <class T> static inline T max(T a, T b) { return a < b ? b : a; }
