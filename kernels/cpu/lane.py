"""The fast lane of the pool: how a compiled kernel gets helpers within a microsecond.

Waking a thread that sleeps takes 50 to 100 microseconds, and a small convolution takes no longer than that. So a
worker that has just helped does not go to sleep: it watches the lane for a while, in machine code, without the GIL. The
lane is a block of memory with one task in it and a word, STATE, that says everything about who takes part:

    bits 32..63  generation: which task this is       bit 31   it is open: helpers may join
    bits 16..30  how many have joined                 bits 0..15  how many of them are still inside

A helper joins by exchanging STATE for STATE + one joined + one inside, which fails if anybody changed the word since it
was read. So nobody joins a task that is closed, or another one than it has looked at. The caller writes the task, opens
it, works, closes it, and waits until nobody is inside; only then does it write anything into the lane again. Chunks are
handed out by adding to NEXT.
"""
import atexit
import ctypes
import platform
import threading
import time

import llvmlite.binding as llvm

from . import buffers, compile_cache
from .addresses import address

_GROW = 1                           # `serve` ends: more scratch is wanted; 0: nothing to do for a while; 2: called back
_BUSY, _FINE = 1, 2                 # `close` ends: helpers are inside still; all is done; 3: the kernel stopped
WATCH = 200e-6                      # seconds a worker watches before it sleeps, and a caller before it naps
_NAP, _END = 20e-6, 1e-3
_LINE = 64                          # bytes: words that different threads write lie in cache lines of their own
_NEXT, _STOP, _TASK = (i * _LINE for i in range(1, 4))        # in a lane, behind STATE

# int32 kernel(void **result, void **error, int64 *descriptor, int64 scratch, int64 first, int64 last): compile_cache.py
_CODE = """
%Task = type { i64, i64, i64, i64, i64, i64, i64, i64 }     ; kernel, out, descriptor, count, chunk, scratch, helpers,
                                                            ; error
define private void @pause() alwaysinline {
  PAUSE
  ret void
}

define void @open(ptr %lane, i64 %kernel, i64 %out, i64 %descriptor, i64 %count, i64 %chunk, i64 %scratch,
                  i64 %helpers) {
  %task = getelementptr i8, ptr %lane, i64 TASK
  %t0 = insertvalue %Task zeroinitializer, i64 %kernel, 0
  %t1 = insertvalue %Task %t0, i64 %out, 1
  %t2 = insertvalue %Task %t1, i64 %descriptor, 2
  %t3 = insertvalue %Task %t2, i64 %count, 3
  %t4 = insertvalue %Task %t3, i64 %chunk, 4
  %t5 = insertvalue %Task %t4, i64 %scratch, 5
  %t6 = insertvalue %Task %t5, i64 %helpers, 6
  store %Task %t6, ptr %task
  %next = getelementptr i8, ptr %lane, i64 NEXT
  store atomic i64 0, ptr %next monotonic, align 8
  %state = load atomic i64, ptr %lane monotonic, align 8
  %generation = lshr i64 %state, 32
  %following = add i64 %generation, 1
  %high = shl i64 %following, 32
  %opened = or i64 %high, 2147483648
  store atomic i64 %opened, ptr %lane seq_cst, align 8
  ret void
}

define void @work(ptr %lane, i64 %scratch) {
entry:
  %task = getelementptr i8, ptr %lane, i64 TASK
  %next = getelementptr i8, ptr %lane, i64 NEXT
  %error = getelementptr %Task, ptr %task, i32 0, i32 7
  %kernel_number = load i64, ptr %task
  %kernel = inttoptr i64 %kernel_number to ptr
  %out_place = getelementptr %Task, ptr %task, i32 0, i32 1
  %out = load i64, ptr %out_place
  %descriptor_place = getelementptr %Task, ptr %task, i32 0, i32 2
  %descriptor = load i64, ptr %descriptor_place
  %count_place = getelementptr %Task, ptr %task, i32 0, i32 3
  %count = load i64, ptr %count_place
  %chunk_place = getelementptr %Task, ptr %task, i32 0, i32 4
  %chunk = load i64, ptr %chunk_place
  br label %take
take:
  %first = atomicrmw add ptr %next, i64 %chunk monotonic
  %some = icmp slt i64 %first, %count
  %wrong = load atomic i64, ptr %error monotonic, align 8
  %fine = icmp eq i64 %wrong, 0
  %go = and i1 %some, %fine
  br i1 %go, label %call, label %done
call:
  %end = add i64 %first, %chunk
  %whole = icmp slt i64 %end, %count
  %last = select i1 %whole, i64 %end, i64 %count
  %code = call i32 %kernel(i64 %out, i64 %out, i64 %descriptor, i64 %scratch, i64 %first, i64 %last)
  %good = icmp eq i32 %code, 0
  br i1 %good, label %take, label %stop
stop:
  store atomic i64 1, ptr %error monotonic, align 8
  br label %done
done:
  ret void
}

define i64 @close(ptr %lane, i64 %patience) {
entry:
  %before = atomicrmw and ptr %lane, i64 -2147483649 seq_cst
  br label %look
look:
  %left = phi i64 [ %patience, %entry ], [ %less, %wait ]
  %state = load atomic i64, ptr %lane acquire, align 8
  %inside = and i64 %state, 65535
  %empty = icmp eq i64 %inside, 0
  br i1 %empty, label %done, label %wait
wait:
  call void @pause()
  %less = sub i64 %left, 1
  %more = icmp sgt i64 %less, 0
  br i1 %more, label %look, label %busy
busy:
  ret i64 1
done:
  %task = getelementptr i8, ptr %lane, i64 TASK
  %error = getelementptr %Task, ptr %task, i32 0, i32 7
  %wrong = load atomic i64, ptr %error monotonic, align 8
  %result = add i64 %wrong, 2
  ret i64 %result
}

define i64 @serve(ptr %lane, ptr %seen, i64 %scratch, i64 %size, i64 %patience) {
entry:
  %task = getelementptr i8, ptr %lane, i64 TASK
  %size_place = getelementptr %Task, ptr %task, i32 0, i32 5
  %helpers_place = getelementptr %Task, ptr %task, i32 0, i32 6
  %stop_place = getelementptr i8, ptr %lane, i64 STOP
  br label %look
look:
  %left = phi i64 [ %patience, %entry ], [ %less, %wait ], [ %left, %join ], [ %patience, %leave ]
  %stop = load atomic i64, ptr %stop_place monotonic, align 8
  %stopped = icmp ne i64 %stop, 0
  br i1 %stopped, label %told, label %see
see:
  %state = load atomic i64, ptr %lane acquire, align 8
  %open_bit = and i64 %state, 2147483648
  %open = icmp ne i64 %open_bit, 0
  %generation = lshr i64 %state, 32
  %last = load i64, ptr %seen
  %new = icmp ne i64 %generation, %last
  %joined_high = lshr i64 %state, 16
  %joined = and i64 %joined_high, 32767
  %helpers = load atomic i64, ptr %helpers_place monotonic, align 8
  %room = icmp slt i64 %joined, %helpers
  %open_new = and i1 %open, %new
  %wanted = and i1 %open_new, %room
  br i1 %wanted, label %measure, label %wait
measure:
  %needed = load atomic i64, ptr %size_place monotonic, align 8
  %enough = icmp sle i64 %needed, %size
  br i1 %enough, label %join, label %grow
join:
  %after = add i64 %state, 65537
  %pair = cmpxchg ptr %lane, i64 %state, i64 %after acq_rel monotonic
  %in = extractvalue { i64, i1 } %pair, 1
  br i1 %in, label %help, label %look
help:
  call void @work(ptr %lane, i64 %scratch)
  store i64 %generation, ptr %seen
  br label %leave
leave:
  %left_state = atomicrmw sub ptr %lane, i64 1 release
  br label %look
wait:
  call void @pause()
  %less = sub i64 %left, 1
  %more = icmp sgt i64 %less, 0
  br i1 %more, label %look, label %idle
idle:
  ret i64 0
grow:
  ret i64 1
told:
  ret i64 2
}
"""
_X86, _ARM = ("declare void @llvm.x86.sse2.pause()", "call void @llvm.x86.sse2.pause()"), (
    "declare void @llvm.aarch64.hint(i32)", "call void @llvm.aarch64.hint(i32 1)")
_PAUSE = {"x86_64": _X86, "AMD64": _X86, "aarch64": _ARM, "arm64": _ARM}.get(platform.machine(), ("", ""))


def _translated(code):
    """The object code of a text of LLVM IR."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_default_triple().create_target_machine(opt=1, jit=True)
    return machine.emit_object(llvm.parse_assembly(code))


def _memory():
    """A block for a lane, of zeros, and the address in it where a cache line begins."""
    block = buffers.fresh(_TASK + _LINE)
    block[:] = 0
    return block, address(block)


class Lane:
    """One task at a time; whoever has the lock may open one."""
    _native = None

    def __init__(self):
        if Lane._native is None:
            Lane._native = _Native()
        self.lock, self.scratch = threading.Lock(), 0
        self._memory, self.address = _memory()
        self._stop, self._ended = ctypes.c_int64.from_address(self.address + _STOP), False
        atexit.register(self._end)

    def open(self, kernel, descriptor, count, chunk, scratch, helpers):
        """Let workers help with a kernel, given by its address and that of its descriptor."""
        self.scratch = scratch
        self._native.open(self.address, kernel, compile_cache.OUT, descriptor, count, chunk, scratch, helpers)

    def work(self, scratch):
        """Do chunks of the task until none is left."""
        self._native.work(self.address, scratch)

    def close(self):
        """Let nobody join any more and wait for those inside. -> whether the kernel ended without an error."""
        interrupt = None
        while True:             # to leave before they have would free memory that they work in
            try:
                code = self._native.close(self.address, self._native.patience)
                if code != _BUSY:
                    break
                time.sleep(_NAP)
            except KeyboardInterrupt as error:
                interrupt = error
        if interrupt is not None:
            raise interrupt
        return code == _FINE

    def serve(self, seen, scratch, size, patient=True):
        """What a worker does: help with what is opened, until nothing was for a while or it is called back.
        seen: (ctypes.c_int64 * 1), the worker's own; scratch, size: its memory. -> whether a task wants more of it."""
        patience = self._native.patience if patient else 1
        return self._native.serve(self.address, ctypes.addressof(seen), scratch, size, patience) == _GROW

    def call_back(self, back=True):
        """Send watching workers back to Python; or let them watch again."""
        self._stop.value = back or self._ended

    def _end(self):
        """At the end of the process nobody may be in machine code when it is freed."""
        self._ended = True
        self.call_back()
        time.sleep(_END)


class _Native:
    """The compiled functions, and how many looks make WATCH."""

    def __init__(self):
        code = _PAUSE[0] + _CODE.replace("PAUSE", _PAUSE[1])
        for name, offset in (("TASK", _TASK), ("NEXT", _NEXT), ("STOP", _STOP)):
            code = code.replace(f"i64 {name}", f"i64 {offset}")
        self._engine = compile_cache.linked("lane.native", lambda: ("", _translated(code)))
        place, number = ctypes.c_void_p, ctypes.c_int64
        for name, arguments, result, keeps_gil in (
                ("open", [place, *[number] * 7], None, True), ("work", [place, number], None, False),
                ("close", [place, number], number, False), ("serve", [place, place, *[number] * 3], number, False)):
            kind = ctypes.PYFUNCTYPE if keeps_gil else ctypes.CFUNCTYPE
            setattr(self, name, kind(result, *arguments)(self._engine.get_function_address(name)))
        self.patience = self._looks(WATCH)

    def _looks(self, seconds, trial=2000):
        """How often a worker looks in so many seconds."""
        (_held, place), seen = _memory(), (ctypes.c_int64 * 1)()
        took = []
        for _ in range(3):
            begun = time.perf_counter()
            self.serve(place, ctypes.addressof(seen), 0, 0, trial)
            took.append(time.perf_counter() - begun)
        return max(trial, int(trial * seconds / min(took)))
