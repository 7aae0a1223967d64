"""Vector instructions for Numba: a small vocabulary that writes LLVM's intermediate language (IR).

Numba vectorises plain loops, but reaches a fifth of what the processor can do in a convolution. So the inner loops are
spelt out in vectors of LANES numbers; LLVM turns them into AVX-512, AVX2, SSE or NEON instructions, allocates the
registers and schedules. Everything around them stays plain Numba.

`@emit` makes such an inner loop callable from compiled code. Its arguments and the quantities handled here are

    addresses and sizes     64-bit integers at run time ("values" of the IR; make one from a Python int with `integer`)
    vectors                 LANES numbers of type float32 (or float64: `Number`)

and Python's own ints, floats and loops run while the code is being written: a Python `for` is an unrolled loop.
"""
import inspect
import itertools

from llvmlite import ir

from .compile_cache import host, intrinsic

I8, I32, I64 = ir.IntType(8), ir.IntType(32), ir.IntType(64)


def _register_bytes():
    """Width of the widest vector register that the features of this processor (or NUMBA_CPU_FEATURES) offer."""
    features = set(host()[1].split(","))
    if "+avx512f" in features:
        return 64
    return 32 if "+avx" in features else 16


REGISTER = _register_bytes()
LANES = REGISTER // 4       # float32 per vector
REGISTERS = 32 if REGISTER == 64 else 16


class Number:
    """A kind of floating-point number, and the vector type that fills a register with it."""

    def __init__(self, scalar, size, suffix):
        self.scalar, self.size, self.suffix = scalar, size, suffix
        self.lanes = REGISTER // size
        self.vector = ir.VectorType(scalar, self.lanes)

    def constant(self, value):
        """The same number in all lanes, known while the code is written."""
        return ir.Constant(self.vector, [float(value)] * self.lanes)


FLOAT32 = Number(ir.FloatType(), 4, "f32")
FLOAT64 = Number(ir.DoubleType(), 8, "f64")


_numbers = itertools.count()
written = {}        # name of a function that `emit` made: the text of an LLVM module with nothing else in it


def emit(arguments, inline=False):
    """Decorator: `body(b, *values)` writes the code with the builder b -> a function of so many ints, for kernels.

    The code becomes a function of its own that LLVM translates as it stands (machine_code.py): it says already which
    vector waits in which register. Its optimiser would take longer over it than over everything else together, and
    gain nothing. inline: it is written into its callers instead and optimised with them, for code of a few lines.
    """
    def decorate(body):
        name = f"minivis.{body.__module__}.{body.__qualname__}.{next(_numbers)}"
        kind = ir.FunctionType(ir.VoidType(), [I64] * arguments)

        def call(b, *values):
            if name not in written:
                function = ir.Function(ir.Module(name), kind, name)
                own = ir.IRBuilder(function.append_basic_block("entry"))
                body(own, *function.args)
                own.ret_void()
                written[name] = str(function.module)
            b.call(_declare(b, name, kind), values)

        def define(typing_context, *args):
            from numba import types  # here, so that a process with all kernels on disk does not import Numba

            def generate(context, builder, signature, values):
                values = [context.cast(builder, v, t, types.intp) for v, t in zip(values, args)]
                (body if inline else call)(builder, *values)
                return context.get_dummy_value()
            return types.void(*args), generate
        define.__name__ = body.__name__
        names = ["typing_context"] + [f"a{i}" for i in range(arguments)]     # Numba wants to see them one by one
        define.__signature__ = inspect.Signature([inspect.Parameter(n, inspect.Parameter.POSITIONAL_OR_KEYWORD)
                                                  for n in names])
        return intrinsic(define)
    return decorate


def integer(value):
    return I64(value)


def scaled(b, value, factor):
    """value * factor for a Python int; elements to bytes, mostly."""
    return b.mul(value, integer(factor))


# ------------------------------------------------------------------------------------------------- memory


def load(b, address, number=FLOAT32):
    """A vector from any address (no alignment asked)."""
    return b.load(b.inttoptr(address, number.vector.as_pointer()), align=number.size)


def store(b, vector, address, number=FLOAT32):
    b.store(vector, b.inttoptr(address, number.vector.as_pointer()), align=number.size)


def broadcast(b, address, number=FLOAT32):
    """One number from memory into all lanes."""
    return everywhere(b, b.load(b.inttoptr(address, number.scalar.as_pointer()), align=number.size), number.lanes)


def everywhere(b, value, lanes=LANES):
    """One number or condition, known at run time, in all lanes."""
    undefined = ir.Constant(ir.VectorType(value.type, lanes), ir.Undefined)
    first = b.insert_element(undefined, value, I32(0))
    return b.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(I32, lanes), None))


def load_bytes(b, address):
    """LANES unsigned bytes."""
    return b.load(b.inttoptr(address, ir.VectorType(I8, LANES).as_pointer()), align=1)


def store_bytes(b, integers, address):
    """The low byte of each lane."""
    kind = ir.VectorType(I8, LANES)
    b.store(b.trunc(integers, kind), b.inttoptr(address, kind.as_pointer()), align=1)


def bytes_constant(value):
    return ir.Constant(ir.VectorType(I8, LANES), [value] * LANES)


def integers_constant(value):
    return ir.Constant(ir.VectorType(I32, LANES), [value] * LANES)


def store_bits(b, condition, address):
    """One bit per lane. With 4 lanes a byte holds two vectors: then `address` is that of a whole byte per vector."""
    bits = b.bitcast(condition, ir.IntType(LANES))
    if LANES < 8:
        bits = b.zext(bits, I8)
    b.store(bits, b.inttoptr(address, bits.type.as_pointer()), align=1)


def load_bits(b, address):
    """The condition that store_bits kept."""
    kind = ir.IntType(max(LANES, 8))
    bits = b.load(b.inttoptr(address, kind.as_pointer()), align=1)
    if LANES < 8:
        bits = b.trunc(bits, ir.IntType(LANES))
    return b.bitcast(bits, ir.VectorType(ir.IntType(1), LANES))


BITS_BYTES = max(LANES // 8, 1)     # bytes that store_bits fills


def prefetch(b, address):
    """Ask for a cache line that will be needed soon (into L2 and L1)."""
    pointer = b.inttoptr(address, I8.as_pointer())
    kind = ir.FunctionType(ir.VoidType(), [I8.as_pointer(), I32, I32, I32])
    b.call(_declare(b, "llvm.prefetch.p0", kind), [pointer, I32(0), I32(3), I32(1)])


# --------------------------------------------------------------------------------------------- arithmetic


def multiply_add(b, x, y, z, number=FLOAT32):
    """x * y + z. `fmuladd`, not `fma`: on a processor without the instruction it is two, not a library call."""
    kind = ir.FunctionType(number.vector, [number.vector] * 3)
    return b.call(_declare(b, f"llvm.fmuladd.v{number.lanes}{number.suffix}", kind), [x, y, z])


def positive(b, x, number=FLOAT32):
    """x > 0, lane by lane (False for nan)."""
    return b.fcmp_ordered(">", x, number.constant(0))


def relu(b, x, number=FLOAT32):
    """max(x, 0). A nan stays a nan, so that it is seen."""
    return b.select(b.fcmp_ordered("<=", x, number.constant(0)), number.constant(0), x)


def rule(b, dy, passes, which):
    """dy through a ReLU backwards; `passes`: where x > 0. `which`, known at run time only, is
    0 plain: where x > 0; 1 guided: where x > 0 and dy > 0 (Springenberg et al. 2015); 2 deconv: where dy > 0 (Zeiler
    and Fergus 2014)."""
    any_sign = everywhere(b, b.icmp_unsigned("==", which, integer(0)))
    any_mask = everywhere(b, b.icmp_unsigned("==", which, integer(2)))
    passes = b.and_(b.or_(passes, any_mask), b.or_(positive(b, dy), any_sign))
    return b.select(passes, dy, FLOAT32.constant(0))


def combination(b, coefficients, vectors, number=FLOAT32):
    """sum of coefficient * vector with as few instructions as it takes term by term; coefficients are Python floats."""
    terms = sorted((t for t in zip(coefficients, vectors) if t[0] != 0), key=lambda t: (t[0] != 1, abs(t[0]) != 1))
    total = None
    for coefficient, vector in terms:
        if total is None:
            total = vector if coefficient == 1 else b.fmul(number.constant(coefficient), vector)
        elif coefficient == 1:
            total = b.fadd(total, vector)
        elif coefficient == -1:
            total = b.fsub(total, vector)
        else:
            total = multiply_add(b, number.constant(coefficient), vector, total, number)
    return total


def _declare(b, name, kind):
    known = b.module.globals.get(name)
    return known if known is not None else ir.Function(b.module, kind, name)


# --------------------------------------------------------------------------------------------------- loops


class Loop:
    """`for i in range(0, n, step)` at run time, n >= 1, carrying values from one turn to the next.

        loop = Loop(b, n, [start_a, start_b])
        a, c = loop.carried                     # the values in this turn; loop.index is i
        loop.end([next_a, next_c])              # what follows runs after the loop; loop.carried now holds the results
    """

    def __init__(self, b, n, start, step=1):
        self.b, self.n, self.step = b, n, step
        before = b.block
        self.body = b.append_basic_block("loop")
        b.branch(self.body)
        b.position_at_end(self.body)
        self.index = b.phi(I64)
        self.index.add_incoming(integer(0), before)
        self.carried = []
        for value in start:
            phi = b.phi(value.type)
            phi.add_incoming(value, before)
            self.carried.append(phi)

    def end(self, values=()):
        b = self.b
        following = b.add(self.index, integer(self.step))
        last = b.block
        after = b.append_basic_block("after")
        b.cbranch(b.icmp_signed("<", following, self.n), self.body, after)
        self.index.add_incoming(following, last)
        for phi, value in zip(self.carried, values):
            phi.add_incoming(value, last)
        self.carried = list(values)
        b.position_at_end(after)


def choose(b, number, last, write):
    """Code for every number 1 .. last, `write(i)`; at run time the one that `number` names is run, none for others."""
    after = b.append_basic_block("chosen")
    switch = b.switch(number, after)
    for i in range(1, last + 1):
        case = b.append_basic_block(f"case{i}")
        switch.add_case(integer(i), case)
        b.position_at_end(case)
        write(i)
        b.branch(after)
    b.position_at_end(after)


# ------------------------------------------------------------------------------------------------ whole ranges


@emit(3, inline=True)
def copy(b, target, source, size):
    """Copy `size` bytes."""
    pointer = I8.as_pointer()
    kind = ir.FunctionType(ir.VoidType(), [pointer, pointer, I64, ir.IntType(1)])
    b.call(_declare(b, "llvm.memcpy.p0.p0.i64", kind),
           [b.inttoptr(target, pointer), b.inttoptr(source, pointer), size, ir.IntType(1)(0)])


@emit(2, inline=True)
def clear(b, target, size):
    """Set `size` bytes to zero."""
    pointer = I8.as_pointer()
    kind = ir.FunctionType(ir.VoidType(), [pointer, I8, I64, ir.IntType(1)])
    b.call(_declare(b, "llvm.memset.p0.i64", kind), [b.inttoptr(target, pointer), I8(0), size, ir.IntType(1)(0)])


@emit(4, inline=True)
def prefetch_rows(b, address, row, rows, size):
    """Ask for `rows` pieces of memory of `size` bytes, `row` bytes apart."""
    outer = Loop(b, rows, [address])
    inner = Loop(b, size, [], step=64)
    prefetch(b, b.add(outer.carried[0], inner.index))
    inner.end()
    outer.end([b.add(outer.carried[0], row)])
