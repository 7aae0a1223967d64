"""The stand-in for a GPU notices what it is there for: each test plants one mistake in a small kernel."""
import os

import numpy as np
import pytest

from minivis.kernels.gpu import launch
from minivis.kernels.gpu import source as sources
from tools import cuda_shim

pytestmark = [
    pytest.mark.skipif(os.environ.get("MINIVIS_SKIP_CUDA_CHECK") == "1", reason="MINIVIS_SKIP_CUDA_CHECK=1"),
    pytest.mark.skipif(cuda_shim.compiler() is None, reason="g++ is missing"),
]

# One file, so that g++ runs once.
SOURCE = """#include "common.cuh"
struct Two { int a; double b; };
extern "C" __global__ void good(const float* x, float* y, i64 n, Two two) {
    DYNAMIC_SHARED(float, tile);
    i64 i = thread_number();
    tile[threadIdx.x] = i < n ? x[i] : 0;
    __syncthreads();
    if (i < n) y[i] = tile[threadIdx.x ^ 1] + two.a + (float)two.b;
}
extern "C" __global__ void past_the_end(const float* x, float* y, i64 n) { y[thread_number()] = x[n]; }
extern "C" __global__ void shared_past_the_end(float* y) {
    DYNAMIC_SHARED(float, tile);
    tile[threadIdx.x + 1] = 1;
    y[0] = tile[0];
}
extern "C" __global__ void no_barrier(float* y) {
    __shared__ float tile[64];
    tile[threadIdx.x] = threadIdx.x;
    y[threadIdx.x] = tile[63 - threadIdx.x];
}
extern "C" __global__ void two_barriers(float* y) {
    if (threadIdx.x < 32) __syncthreads();
    else
        __syncthreads();
    y[threadIdx.x] = 1;
}
extern "C" __global__ void some_leave(float* y) {
    if (threadIdx.x < 5) return;
    __syncthreads();
    y[threadIdx.x] = 1;
}
extern "C" __global__ void half_a_warp(float* y) {
    if (threadIdx.x < 16) y[threadIdx.x] = __shfl_xor_sync(0xffffffffu, 1.0f, 1);
}
extern "C" __global__ void absent_lane(float* y) {
    if (threadIdx.x < 16) y[threadIdx.x] = __shfl_sync(0xffffu, 1.0f, 20);
}
extern "C" __global__ void misaligned(const float* x, float* y) {
    y[threadIdx.x] = reinterpret_cast<const float4*>(x + 1)[0].x;
}
extern "C" __global__ void overwrites(const float* x) { const_cast<float*>(x)[0] = 7; }
extern "C" __global__ void sums(const float* x, float* y) {
    float v = x[threadIdx.x];
    for (int by = 16; by; by /= 2) v += __shfl_down_sync(0xffffffffu, v, by);
    u32 odd = __ballot_sync(0xffffffffu, threadIdx.x & 1);
    if (threadIdx.x % 32 == 0) y[threadIdx.x / 32] = v + (odd == 0xaaaaaaaau ? 0.5f : 0);
}
extern "C" __global__ void same_value(float* y) {
    __shared__ float tile[64];
    tile[threadIdx.x] = 1;
    y[threadIdx.x] = tile[63 - threadIdx.x];
}
extern "C" __global__ void refilled(float* y, i64 wait) {
    __shared__ float tile[64];
    float sum = 0;
    for (int i = 0; i < 3; i++) {
        tile[threadIdx.x] = i;
        __syncthreads();
        sum += tile[threadIdx.x ^ 33];
        if (wait) __syncthreads();
    }
    y[threadIdx.x] = sum;
}
extern "C" __global__ void two_blocks(float* y) { y[threadIdx.x] = 1; }
extern "C" __global__ void within_a_warp(float* y, i64 far) {
    __shared__ float tile[64];
    tile[threadIdx.x] = 1;
    __syncwarp();
    y[threadIdx.x] = tile[threadIdx.x ^ (far ? 32 : 1)];
}
extern "C" __global__ void shuffle_orders_nothing(float* y) {
    __shared__ float tile[64];
    tile[threadIdx.x] = 1;
    float one = __shfl_xor_sync(0xffffffffu, 1.0f, 1);
    y[threadIdx.x] = one * tile[threadIdx.x ^ 1];
}
extern "C" __global__ void dynamic(float* y, i64 wait) {
    DYNAMIC_SHARED(float, tile);
    tile[threadIdx.x] = 1;
    if (wait) __syncthreads();
    y[threadIdx.x] = tile[63 - threadIdx.x];
}
"""
TWO = np.dtype([("a", np.int32), ("b", np.float64)], align=True)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("cuda") / "planted.cu"
    path.write_text(SOURCE)
    return str(path)


def run(file, kernel, args, grid=1, block=64, shared=0, races=False):
    with launch.through(cuda_shim.Shim(races=races)):
        launch.run(file, kernel, grid, block, args, shared)


def test_every_kernel_is_found(file):
    assert cuda_shim.kernels_in(file) == ["good", "past_the_end", "shared_past_the_end", "no_barrier", "two_barriers",
                                          "some_leave", "half_a_warp", "absent_lane", "misaligned", "overwrites",
                                          "sums", "same_value", "refilled", "two_blocks", "within_a_warp",
                                          "shuffle_orders_nothing", "dynamic"]
    assert sources.text(file).count("thread_number() {") == 1          # the include was put in place


def test_blocks_shared_memory_numbers_and_structs_arrive(file):
    x, y = np.arange(100, dtype=np.float32), np.full(100, np.nan, np.float32)
    run(file, "good", (x, y, np.int64(100), np.array((2, 0.5), TWO)[()]), grid=2, shared=64 * 4)
    np.testing.assert_array_equal(y, (np.arange(100) ^ 1) + 2.5)


def test_shuffles_and_ballots_are_those_of_a_warp(file):
    x, y = np.arange(64, dtype=np.float32), np.zeros(2, np.float32)
    run(file, "sums", (x, y))
    assert y.tolist() == [sum(range(32)) + 0.5, sum(range(32, 64)) + 0.5]


FLOATS = np.zeros(64, np.float32)


@pytest.mark.parametrize("kernel, args, shared, says", [
    ("past_the_end", (FLOATS, FLOATS.copy(), np.int64(64)), 0, "AddressSanitizer"),
    ("shared_past_the_end", (FLOATS,), 64 * 4, "AddressSanitizer"),
    ("no_barrier", (FLOATS,), 0, "opposite order"),
    ("two_barriers", (FLOATS,), 0, "different barriers"),
    ("some_leave", (FLOATS,), 0, "waits for ever.*5 of 64 threads have ended"),
    ("half_a_warp", (FLOATS,), 0, "waits for ever.*its warp"),
    ("absent_lane", (FLOATS,), 0, "lane 20, which takes no part"),
    ("misaligned", (FLOATS, FLOATS.copy()), 0, "misaligned"),
    ("overwrites", (FLOATS,), 0, "const array has been written"),
    ("good", (FLOATS, FLOATS.copy(), np.int32(64), np.array((2, 0.5), TWO)[()]), 256, "number of type i8.*i4"),
    ("good", (FLOATS.astype(float), FLOATS, np.int64(64), np.array((2, 0.5), TWO)[()]), 256, "array of f4.*f8"),
    ("good", (FLOATS, FLOATS.copy(), np.int64(64), np.array((2,), [("a", np.int32)])[()]), 256, "struct of 16 bytes"),
    ("good", (FLOATS, FLOATS.copy()), 256, "takes 4 arguments, the launch gave 2"),
    ("gone", (FLOATS,), 0, "no kernel gone"),
])
def test_a_mistake_is_reported(file, kernel, args, shared, says):
    with pytest.raises(cuda_shim.ShimError, match=f"(?s){says}"):
        run(file, kernel, args, shared=shared)


@pytest.mark.parametrize("kernel, more, grid, shared, says", [
    ("same_value", (), 1, 0, "static shared memory: thread 31 of block 1 read .*thread 32 of block 1 writes"),
    ("refilled", (np.int64(0),), 1, 0, "static shared memory"),
    ("two_blocks", (), 2, 0, "byte 0 of argument 0: thread 0 of block 1 wrote .*thread 0 of block 2 writes"),
    ("within_a_warp", (np.int64(1),), 1, 0, "thread 32 of block 1"),
    ("shuffle_orders_nothing", (), 1, 0, "static shared memory"),
    ("dynamic", (np.int64(0),), 1, 256, "byte 128 of dynamic shared memory"),
])
def test_a_race_is_found(file, kernel, more, grid, shared, says):
    y = np.zeros(64, np.float32)
    if kernel in ("two_blocks", "within_a_warp", "shuffle_orders_nothing"):     # in any order the same numbers
        run(file, kernel, (y, *more), grid, shared=shared)
    with pytest.raises(cuda_shim.ShimError, match=f"(?s)a race for .*{says}.*nothing orders the two"):
        run(file, kernel, (y, *more), grid, shared=shared, races=True)


def test_a_race_names_both_lines(file):
    with pytest.raises(cuda_shim.ShimError) as error:
        run(file, "dynamic", (np.zeros(64, np.float32), np.int64(0)), shared=256, races=True)
    between = 1 + SOURCE.splitlines().index("    if (wait) __syncthreads();")
    assert f":{between - 1}" in str(error.value) and f":{between + 1}" in str(error.value)


@pytest.mark.parametrize("kernel, more, shared", [
    ("refilled", (np.int64(1),), 0), ("within_a_warp", (np.int64(0),), 0), ("dynamic", (np.int64(1),), 256)])
def test_what_a_barrier_orders_is_no_race(file, kernel, more, shared):
    y = np.zeros(64, np.float32)
    run(file, kernel, (y, *more), shared=shared, races=True)
    assert y.any()


def test_source_that_is_no_cuda_is_reported_with_its_line(tmp_path):
    (tmp_path / "bad.cu").write_text('\nextern "C" __global__ void f(int n) { return n +; }\n')
    with pytest.raises(cuda_shim.ShimError, match=r"bad.cu:2"):
        cuda_shim.build(str(tmp_path / "bad.cu"))
