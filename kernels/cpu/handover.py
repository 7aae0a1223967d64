"""Handing chunks of a kernel's work to other threads without Python, the GIL or the operating system in between.

Waking a sleeping thread takes 50 microseconds and more, as long as many kernels run. So a worker that has nothing to
do looks at a slot in memory for a moment before it goes to sleep, and a caller with work writes it there:

    caller   fills in the job, opens the gate, bumps `turn`; takes chunks itself; closes the gate; waits for gate == 0
    worker   sees a new turn; adds 1 to the gate; if it was open, takes chunks until there are none; subtracts 1

The gate is OPEN plus the number of workers inside, changed by atomic additions only, so a worker that comes late
finds it closed and touches nothing. Chunks are handed out by an atomic counter. One slot serves one caller at a time.
"""
import platform

from llvmlite import ir

from . import vector as v
from .addresses import int64_at
from .compile_cache import inlined, intrinsic, kernel

(TURN, GATE, NEXT, FAILED, WATCHING, FUNCTION, ARGUMENTS, COUNT, CHUNK, SCRATCH, OUT) = (8 * i for i in range(11))
SLOT = 8 * 11           # numbers; those above lie on cache lines of their own, for many threads change them
OPEN = 1 << 32
_X86 = platform.machine().lower() in ("x86_64", "amd64")


@intrinsic
def _add(typing_context, address, value):
    """Atomically add to the int64 there. -> what it was before."""
    def generate(context, builder, signature, arguments):
        pointer = builder.inttoptr(arguments[0], v.I64.as_pointer())
        return builder.atomic_rmw("add", pointer, arguments[1], "seq_cst")
    return address(address, address), generate


@intrinsic
def _read(typing_context, address):
    """The int64 there, as other threads have written it by now."""
    def generate(context, builder, signature, arguments):
        return builder.load_atomic(builder.inttoptr(arguments[0], v.I64.as_pointer()), "seq_cst", 8)
    return address(address), generate


@v.emit(1)
def _pause(b, unused):
    """Tell the processor that this is a waiting loop."""
    if _X86:
        b.call(v._declare(b, "llvm.x86.sse2.pause", ir.FunctionType(ir.VoidType(), [])), [])


@intrinsic
def _call(typing_context, function, out, arguments, scratch, first, last):
    """Call a kernel by its address. -> 0 or an error code (see compile_cache._compile)."""
    def generate(context, builder, signature, values):
        pointer = v.I64.as_pointer()
        kind = ir.FunctionType(v.I32, [pointer, pointer, pointer, v.I64, v.I64, v.I64])
        target, places = builder.inttoptr(values[0], kind.as_pointer()), values[1:3]
        out, descriptor = (builder.inttoptr(place, pointer) for place in places)
        return builder.sext(builder.call(target, [out, out, descriptor, *values[3:]]), v.I64)
    return function(function, function, function, function, function, function), generate


@inlined
def _take_chunks(slot, scratch):
    s = int64_at(slot)
    while True:
        first = _add(slot + 8 * NEXT, 1) * s[CHUNK]
        if first >= s[COUNT]:
            break
        if _call(s[FUNCTION], s[OUT], s[ARGUMENTS], scratch, first, min(first + s[CHUNK], s[COUNT])) != 0:
            _add(slot + 8 * FAILED, 1)


@kernel
def lead(d, scratch, first, last):
    """The caller's part, after the job has been written to the slot. d: 0: the slot's address, 1: 1 when all have left.

    first: 1 to begin, 0 to go on waiting; last: how many looks before giving up for now.
    """
    slot = d[0]
    if first:
        _add(slot + 8 * GATE, OPEN)
        _add(slot + 8 * TURN, 1)
        _take_chunks(slot, scratch)
        _add(slot + 8 * GATE, -OPEN)
    d[1] = 0
    for _ in range(last):
        if _read(slot + 8 * GATE) == 0:
            d[1] = 1
            break
        _pause(0)


@kernel
def attend(d, scratch, first, last):
    """A worker's part: watch the slot until nothing has happened for `last` looks, or a job needs more scratch memory
    than the `first` bytes there are (then d[1] says how much). d: 0: address of the slot"""
    slot = d[0]
    s = int64_at(slot)
    d[1] = 0
    _add(slot + 8 * WATCHING, 1)
    seen, looks = -1, 0
    while looks < last and d[1] == 0:
        turn = _read(slot + 8 * TURN)
        if turn == seen:
            _pause(0)
            looks += 1
        else:
            seen, looks = turn, 0
            if _add(slot + 8 * GATE, 1) >= OPEN:
                if s[SCRATCH] > first:
                    d[1] = s[SCRATCH]
                else:
                    _take_chunks(slot, scratch)
            _add(slot + 8 * GATE, -1)
    _add(slot + 8 * WATCHING, -1)
