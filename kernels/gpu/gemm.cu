// Matrix products with one order of summation: fully connected layers, their gradients, and Gram matrices.
//
//     P[z][m][n] = sum over the depth k of slice z of  A[m][k] * B[k][n],      result = sum over z of P[z] (+ bias)
//
// The depth is cut into slices of one fixed length, every slice is summed in order, and the slices are added in order. So
// a number of the result does not depend on the tile it lies in, nor on how many rows or pictures there are; slices give
// work to the whole device where the result is small and the depth is long. cuBLAS promises nothing of this.
//
// A block makes a tile of TM x TN numbers, a thread RM x RN of them; steps of TK go through shared memory, the next step
// being fetched into registers while the present one is multiplied.
#include "common.cuh"

enum { TK = 16, GEMM_THREADS = 256 };

struct Gemm {               // see linear.py
    i64 M, N, K, slice;                     // slice: how much depth, a multiple of TK
    i64 a_m, a_k, b_k, b_n;                 // distances in memory
    i64 a_batch, b_batch;                   // from one product to the next
    i64 symmetric;                          // A^T = B: tiles below the diagonal are left out
};

// A TR x TK piece of a matrix, the depth last: through registers into shared memory. Lanes run along what is near in
// memory.
template <typename T, int TR>
struct Piece {
    enum { EACH = (TR * TK + GEMM_THREADS - 1) / GEMM_THREADS };
    typedef typename Work<T>::type W;
    W held[EACH];

    DEVICE static bool spot(int e, bool depth_near, int& r, int& k) {
        int at = threadIdx.x + e * GEMM_THREADS;
        r = depth_near ? at / TK : at % TR;
        k = depth_near ? at % TK : at / TR;
        return at < TR * TK;
    }

    DEVICE void fetch(const T* from, i64 row, i64 rows, i64 depth, i64 end, i64 row_step, i64 depth_step) {
        for (int e = 0; e < EACH; e++) {
            int r, k;
            bool mine = spot(e, depth_step == 1, r, k) && row + r < rows && depth + k < end;
            held[e] = mine ? W(from[(row + r) * row_step + (depth + k) * depth_step]) : W(0);
        }
    }

    DEVICE void put(W (*tile)[TR + 1], bool depth_near) {
        for (int e = 0; e < EACH; e++) {
            int r, k;
            if (spot(e, depth_near, r, k)) tile[k][r] = held[e];
        }
    }
};

template <typename T, int TM, int TN, int RM, int RN>
DEVICE void gemm(const T* a, const T* b, typename Work<T>::type* partial, const Gemm& g) {
    typedef typename Work<T>::type W;
    static_assert(TM / RM * (TN / RN) == GEMM_THREADS, "every thread has its RM x RN numbers");
    __shared__ W tile_a[TK][TM + 1], tile_b[TK][TN + 1];
    i64 tiles_n = (g.N + TN - 1) / TN;
    i64 m0 = blockIdx.x / tiles_n * TM, n0 = blockIdx.x % tiles_n * TN;
    if (g.symmetric && n0 + TN <= m0) return;
    i64 slices = (g.K + g.slice - 1) / g.slice, batch = blockIdx.y / slices, z = blockIdx.y % slices;
    i64 depth = z * g.slice, end = smaller(depth + g.slice, g.K);
    a += batch * g.a_batch, b += batch * g.b_batch;
    int tm = threadIdx.x / (TN / RN), tn = threadIdx.x % (TN / RN);
    W sum[RM][RN] = {};
    Piece<T, TM> next_a;
    Piece<T, TN> next_b;
    next_a.fetch(a, m0, g.M, depth, end, g.a_m, g.a_k);
    next_b.fetch(b, n0, g.N, depth, end, g.b_n, g.b_k);
    for (; depth < end; depth += TK) {
        next_a.put(tile_a, g.a_k == 1);
        next_b.put(tile_b, g.b_k == 1);
        __syncthreads();
        next_a.fetch(a, m0, g.M, depth + TK, end, g.a_m, g.a_k);
        next_b.fetch(b, n0, g.N, depth + TK, end, g.b_n, g.b_k);
#pragma unroll
        for (int k = 0; k < TK; k++) {
            W left[RM], right[RN];
            for (int i = 0; i < RM; i++) left[i] = tile_a[k][tm + i * (TM / RM)];
            for (int j = 0; j < RN; j++) right[j] = tile_b[k][tn + j * (TN / RN)];
            for (int i = 0; i < RM; i++)
                for (int j = 0; j < RN; j++) sum[i][j] += left[i] * right[j];
        }
        __syncthreads();
    }
    partial += (batch * slices + z) * g.M * g.N;
    for (int i = 0; i < RM; i++)
        for (int j = 0; j < RN; j++) {
            i64 m = m0 + tm + i * (TM / RM), n = n0 + tn + j * (TN / RN);
            if (m < g.M && n < g.N) partial[m * g.N + n] = sum[i][j];
        }
}

// y[batch][m][n] = sum over slices of the partial results (+ bias[n]); the lower triangle from the upper if symmetric.
template <typename T>
DEVICE void add_slices(const typename Work<T>::type* partial, const T* bias, T* y, i64 batches, i64 slices, i64 M, i64 N,
                       i64 symmetric) {
    typedef typename Work<T>::type W;
    i64 size = M * N;
    for (i64 i = thread_number(); i < batches * size; i += thread_count()) {
        i64 batch = i / size, at = i - batch * size, m = at / N, n = at - m * N;
        const W* from = partial + batch * slices * size + (symmetric && n < m ? n * N + m : at);
        W sum = bias ? W(bias[n]) : W(0);
        for (i64 z = 0; z < slices; z++) sum += from[z * size];
        y[i] = T(sum);
    }
}

#define KERNELS(T, S)                                                                                               \
    extern "C" __global__ void __launch_bounds__(GEMM_THREADS) gemm_##S(const T* a, const T* b, Work<T>::type* p, Gemm g) { \
        gemm<T, 64, 64, 4, 4>(a, b, p, g);                                                                          \
    }                                                                                                               \
    extern "C" __global__ void __launch_bounds__(GEMM_THREADS) gemm_flat_##S(const T* a, const T* b, Work<T>::type* p, Gemm g) { \
        gemm<T, 4, 256, 4, 1>(a, b, p, g);                                                                          \
    }                                                                                                               \
    extern "C" __global__ void add_slices_##S(const Work<T>::type* p, const T* bias, T* y, i64 batches, i64 slices, i64 M, \
                                              i64 N, i64 symmetric) {                                               \
        add_slices(p, bias, y, batches, slices, M, N, symmetric);                                                   \
    }
EVERY_FLOAT(KERNELS)
