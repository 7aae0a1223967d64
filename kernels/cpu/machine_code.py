"""From the Python text of a kernel to machine code: Numba in front, LLVM behind, once per kernel.

Numba translates a kernel, and each helper it calls, into LLVM's intermediate language (IR), one module per function. By
itself it would optimise every module, translate it to machine code of its own, join it to its callers and optimise
those again, level by level, each time with LLVM's full list of passes. Most of that is lost on our kernels: nobody
calls a helper by itself, and the inner loops are written in vectors already (vector.py), which only makes them longer.
Here the modules stay as Numba wrote them until the kernel is complete. Then they are joined, every helper is written
into its callers, and the whole is optimised once. What vector.py wrote joins it after that, and all is translated to
machine code. A kernel is ready in half the time or less.

This file is imported only when something has to be compiled: it brings Numba with it (numba_target.py).
"""
import llvmlite.binding as llvm
from numba import extending, types
from numba.core import compiler_lock

from . import numba_target, vector

# what machine code may call outside itself, in any process: the C library's own
SYSTEM_CALLS = {"memcpy", "memset", "memmove", "pow", "powf", "exp", "expf", "log", "logf", "floor", "floorf", "ceil",
                "ceilf", "fma", "fmaf", "bzero", "fmaxf", "fminf"}


def helper(function):
    """The function as compiled code may call it; Python itself cannot."""
    return numba_target.function(function, forceinline=True)


def intrinsic(function):
    return extending.intrinsic(function)


def compiled(function):
    """-> (symbol, object code) of a kernel. The symbol's C signature is

        int32 symbol(void **result, void **error, int64 *descriptor, int64 scratch, int64 first, int64 last)

    which is Numba's own for native functions; not 0 means an error.
    """
    symbol, module, machine = _translate(function)
    return symbol, machine.emit_object(module)


def assembly(function):
    """The same as text."""
    _, module, machine = _translate(function)
    return machine.emit_assembly(module)


def _translate(function):
    """-> (symbol of the kernel, its optimised module, the machine it is for)"""
    with compiler_lock.global_compiler_lock:
        symbol, module = _front_end(function)
        foreign = _calls(module) - vector.written.keys() - SYSTEM_CALLS
        if foreign:
            raise RuntimeError(f"kernel {function.__name__} would call {', '.join(sorted(foreign))}, which is not "
                               "there in a process without Numba: make no arrays and raise no errors in a kernel")
        machine = numba_target.target_machine()
        _optimise(module, symbol, machine)
        for name in sorted(_calls(module) & vector.written.keys()):
            _add(module, name)
        module.verify()
    return symbol, module, machine


def _calls(module):
    """The names of functions that lie outside."""
    return {f.name for f in module.functions if f.is_declaration and not f.name.startswith("llvm.")}


def _front_end(function):
    """-> (symbol, module) with the kernel and all its helpers as Numba wrote them"""
    signature = types.void(types.CPointer(types.int64), types.int64, types.int64, types.int64)
    made = numba_target.function(function)
    with numba_target.selected():
        made.compile(signature)
    result = made.overloads[signature.args]
    return result.fndesc.llvm_func_name, result.library._get_module_for_linking()


def _optimise(module, symbol, machine):
    """LLVM's usual passes (-O2) but for the unrolling of loops: it doubles what vector.py unrolled already, and with it
    the time of everything that comes after, and makes nothing faster."""
    for each in module.functions:
        if not each.is_declaration and each.name != symbol:
            each.linkage = "internal"
    options = llvm.create_pipeline_tuning_options(2)
    options.loop_vectorization, options.slp_vectorization, options.loop_unrolling = True, False, False
    builder = llvm.create_pass_builder(machine, options)
    join = llvm.create_new_module_pass_manager()
    join.add_always_inliner_pass()
    join.add_global_dead_code_eliminate_pass()
    join.run(module, builder)
    builder.getModulePassManager().run(module, builder)


def _add(module, name):
    """Join a function that vector.py wrote: after the optimiser, which it does not need."""
    part = llvm.parse_assembly(vector.written[name])
    part.triple, part.data_layout = module.triple, module.data_layout
    module.link_in(part)
    module.get_function(name).linkage = "internal"
