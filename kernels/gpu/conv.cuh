// What all convolution kernels share: the geometry of one contraction, and how a finished sum becomes an output number.
#pragma once
#include "common.cuh"

// y[n, first_h + i*step_h, first_w + j*step_w, k] = finish( sum over p, q, c of
//     x[n, i*stride_h + p*dilation_h - top, j*stride_w + q*dilation_w - left, c] * w[p, q, c, k] )
// for i < OH, j < OW, with zeros outside x. A forward convolution has first 0 and step 1. The gradient with respect to
// the input of a strided convolution is one such contraction for each residue of the row and column (conv_plan.py): then
// x is dy, and the results lie `step` apart in an image of YH x YW. top and left may be negative.
// The same 22 ints, in this order, are conv_plan.SHAPE in Python.
struct ConvShape {
    int N, H, W, C;                             // the input
    int OH, OW, K;                              // positions to compute, and output channels
    int kh, kw, stride_h, stride_w, top, left, dilation_h, dilation_w, groups;
    int YH, YW, first_h, first_w, step_h, step_w;
};

// What happens to a sum before it is written. Masks have one bit per number, a 32-bit word for each 32 channels.
enum Finish {
    FINISH_NONE = 0,                            // y = v
    FINISH_RELU = 1,                            // y = max(v, 0)
    FINISH_RELU_BITS = 2,                       // the same, and bit = v > 0 is written to the mask
    FINISH_PLAIN = 3,                           // y = v where bit: the derivative of the ReLU below
    FINISH_GUIDED = 4,                          // y = v where bit and v > 0
    FINISH_DECONV = 5                           // y = v where v > 0
};

template <typename T>
DEVICE T finished(T v, int finish, bool bit) {
    if (finish == FINISH_NONE) return v;
    if (finish <= FINISH_RELU_BITS) return v <= T(0) ? T(0) : v;        // a NaN stays one
    bool positive = v > T(0);
    bool passes = finish == FINISH_PLAIN ? bit : finish == FINISH_GUIDED ? bit && positive : positive;
    return passes ? v : T(0);
}

// Whether a max pooling takes `other` in the place of `best`, the first of its window so far: a NaN stays one.
template <typename T>
DEVICE bool above(T other, T best) { return other > best || (other != other && best == best); }

DEVICE bool reads_bits(int finish) { return finish == FINISH_PLAIN || finish == FINISH_GUIDED; }

// 32-bit mask words per position
DEVICE int mask_words(int channels) { return (channels + 31) / 32; }

// Number of positions (n, i, j) that are computed.
DEVICE i64 positions(const ConvShape& s) { return (i64)s.N * s.OH * s.OW; }

// One position, taken apart.
struct Position {
    int n, i, j;
};

DEVICE Position position(const ConvShape& s, i64 m) {
    i64 row = m / s.OW;
    Position at;
    at.j = (int)(m - row * s.OW);
    at.n = (int)(row / s.OH);
    at.i = (int)(row - (i64)at.n * s.OH);
    return at;
}

// Index of the output cell that a position belongs to, without channel: times K for y, times mask_words(K) for the mask.
DEVICE i64 output_cell(const ConvShape& s, Position at) {
    return ((i64)at.n * s.YH + s.first_h + (i64)at.i * s.step_h) * s.YW + s.first_w
           + (i64)at.j * s.step_w;
}

// A row of the implicit left matrix: the cell of x that tap (0, 0) reads (it may lie outside), and its place in memory.
struct Row {
    int h, v;
    i64 start;
};

DEVICE Row row_of(const ConvShape& s, i64 m) {
    const i64 last = positions(s) - 1;
    const Position at = position(s, m < last ? m : last);
    Row row;
    row.h = at.i * s.stride_h - s.top;
    row.v = at.j * s.stride_w - s.left;
    row.start = (((i64)at.n * s.H + row.h) * s.W + row.v) * s.C;
    return row;
}

// A column of it: tap (p, q) and channel c, as the distance from the cell that tap (0, 0) reads. C counts the channels
// that are stored.
struct Taps {
    int p, q, c;
    DEVICE void go_to(const ConvShape& s, int depth) {
        const int tap = depth / s.C;
        c = depth - tap * s.C;
        p = tap / s.kw;
        q = tap - p * s.kw;
    }
    DEVICE void advance(const ConvShape& s, int by) {
        c += by;
        while (c >= s.C) {
            c -= s.C;
            if (++q == s.kw) {
                q = 0;
                ++p;
            }
        }
    }
    DEVICE int down(const ConvShape& s) const { return p * s.dilation_h; }
    DEVICE int along(const ConvShape& s) const { return q * s.dilation_w; }
    DEVICE i64 distance(const ConvShape& s) const { return ((i64)down(s) * s.W + along(s)) * s.C + c; }
};

// Which columns of it a block takes when `slices` blocks share a sum.
struct Share {
    int begin, end;
    DEVICE Share(int all, int slice, int slices) {
        const int each = (all + slices - 1) / slices;
        begin = slice * each;
        end = begin + each < all ? begin + each : all;
    }
};
