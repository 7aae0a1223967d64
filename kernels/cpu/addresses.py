"""Numbers at an address: how plain Numba loops in kernels reach memory.

A kernel is handed addresses as integers. `float32_at(address)` makes a pointer of one: p[i] reads and p[i] = v writes
the i-th number from there on. Nothing checks bounds; LLVM vectorises loops over such pointers as it does in C.
"""
from .compile_cache import intrinsic


def _pointer_maker(kind):
    def define(typing_context, address):
        from numba import types
        pointer = types.CPointer(getattr(types, kind))

        def generate(context, builder, signature, arguments):
            return builder.inttoptr(arguments[0], context.get_value_type(pointer))
        return pointer(types.int64), generate
    define.__name__ = define.__qualname__ = f"{kind}_at"
    define.__doc__ = f"A pointer to the {kind} numbers from this address (an int64) on."
    return intrinsic(define)


float32_at = _pointer_maker("float32")
float64_at = _pointer_maker("float64")
uint8_at = _pointer_maker("uint8")
int32_at = _pointer_maker("int32")
int64_at = _pointer_maker("int64")


def are_channels(array):
    """Whether (N, H, W, K) numbers are some, or all, of the channels of a contiguous array."""
    _, H, W, K = array.shape
    pitch, size = array.strides[2], array.itemsize
    return pitch >= K * size and pitch % size == 0 and array.strides == (H * W * pitch, W * pitch, pitch, size)


def address(array):
    """Where a NumPy array begins."""
    return array.__array_interface__["data"][0]
