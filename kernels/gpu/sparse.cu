// A sparse matrix applied to the positions of pictures: the views of a picture that is shifted, scaled and turned.
//
// One thread makes one number: it adds up the entries of its row in their order, so the sum has one order. Neighbouring
// threads have neighbouring channels.
#include "common.cuh"

// y[n, row, c] = sum over j = starts[row] ... starts[row + 1] - 1 of weights[j] * x[n, cells[j], c]
template <typename T>
DEVICE void sparse_rows(const T* x, const int* starts, const int* cells, const typename Work<T>::type* weights, T* y,
                        i64 count, i64 rows, i64 P, i64 C) {
    typedef typename Work<T>::type W;
    for (i64 i = thread_number(); i < count; i += thread_count()) {
        const i64 place = i / C, c = i - place * C, n = place / rows, row = place - n * rows;
        const T* picture = x + n * P * C + c;
        W sum = 0;
        for (int j = starts[row]; j < starts[row + 1]; j++) sum += weights[j] * W(picture[cells[j] * C]);
        y[i] = T(sum);
    }
}

#define KERNELS(T, S)                                                                                               \
    extern "C" __global__ void sparse_rows_##S(const T* x, const int* starts, const int* cells,                     \
                                               const Work<T>::type* weights, T* y, i64 count, i64 rows, i64 P, i64 C) { \
        sparse_rows(x, starts, cells, weights, y, count, rows, P, C);                                               \
    }
EVERY_FLOAT(KERNELS)
