// Tensor cores and asynchronous copies: each PTX instruction behind one function, with a twin for the host.
//
// The twins do what the PTX manual says, lane by lane. Between copy_async and the copy_async_wait that demands it, the
// destination holds nonsense: so does a kernel's result that reads too early, or fills what others have yet to read.
#pragma once
#include "common.cuh"

#ifdef MINIVIS_SHIM
#include "mma_twins.cuh"
#else

DEVICE u32 shared_address(const void* p) { return (u32)__cvta_generic_to_shared(p); }

// 16 bytes from global to shared memory, both aligned to 16; zeros, and no read at all, where `inside` is false.
DEVICE void copy_async_16(void* shared, const void* global, bool inside) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(shared_address(shared)), "l"(global),
                 "r"(inside ? 16 : 0) : "memory");
}

// The copies since the last commit are one group.
DEVICE void copy_async_commit() { asm volatile("cp.async.commit_group;\n" ::: "memory"); }

// Wait until at most N groups of this thread are under way.
template <int N>
DEVICE void copy_async_wait() { asm volatile("cp.async.wait_group %0;\n" ::"n"(N) : "memory"); }

// Four 8x8 matrices of 16-bit (or 8x4 of 32-bit) numbers. Lane l gives the address of row l%8 of matrix l/8, 16 bytes;
// r[i] receives word l%4 of row l/4 of matrix i.
DEVICE void load_matrices(u32 (&r)[4], const void* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];\n"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(shared_address(row)) : "memory");
}

// d (16x8) += a (16x8) b (8x8), TF32 in, float32 sums.
DEVICE void multiply_tf32(float (&d)[4], const u32 (&a)[4], const u32 (&b)[2]) {
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
                 "{%0, %1, %2, %3};\n"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// d (16x8) += a (16x16) b (16x8), half precision in, float32 sums.
DEVICE void multiply_f16(float (&d)[4], const u32 (&a)[4], const u32 (&b)[2]) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
                 "{%0, %1, %2, %3};\n"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// The float in `bits` rounded to TF32 (10 bits of mantissa), halves away from zero. Without it mma.sync cuts bits off.
DEVICE u32 to_tf32(u32 bits) {
    u32 r;
    asm("cvt.rna.tf32.f32 %0, %1;\n" : "=r"(r) : "f"(__uint_as_float(bits)));
    return r;
}

#endif
