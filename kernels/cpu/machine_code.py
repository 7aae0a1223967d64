"""From the Python text of a kernel to machine code: Numba in front, LLVM behind, once per kernel.

Numba translates a kernel, and each helper it calls, into LLVM's intermediate language (IR), one module per function. By
itself it would optimise every module, translate it to machine code of its own, join it to its callers and optimise
those again, level by level, each time with LLVM's full list of passes. Most of that is lost on our kernels: nobody
calls a helper by itself, and the inner loops are written in vectors already (vector.py), which only makes them longer.
Here the modules stay as Numba wrote them until the kernel is complete. Then they are joined, every helper is written
into its callers, and the whole is optimised and translated once. A kernel is ready in half the time or less.

This file is imported only when something has to be compiled: it brings Numba with it.
"""
import llvmlite.binding as llvm
import numba
from numba.core import codegen, compiler_lock
from numba.core.registry import cpu_target

# what machine code may call outside itself, in any process: the C library's own
SYSTEM_CALLS = {"memcpy", "memset", "memmove", "pow", "powf", "exp", "expf", "log", "logf", "floor", "floorf", "ceil",
                "ceilf", "fma", "fmaf", "bzero", "fmaxf", "fminf"}
FUNCTION = {"nogil": True, "error_model": "numpy", "boundscheck": False, "no_cpython_wrapper": True,
            "no_cfunc_wrapper": True}


def helper(function):
    """The function as compiled code may call it; Python itself cannot."""
    return numba.njit(forceinline=True, **FUNCTION)(function)


def intrinsic(function):
    return numba.extending.intrinsic(function)


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
        target = cpu_target.target_context.codegen()
        target._library_class = _Library                # of this one object; it is Numba's own again below
        try:
            symbol, module = _front_end(function)
        finally:
            del target._library_class
        foreign = {f.name for f in module.functions if f.is_declaration and not f.name.startswith("llvm.")}
        if foreign - SYSTEM_CALLS:
            raise RuntimeError(f"kernel {function.__name__} would call {', '.join(sorted(foreign - SYSTEM_CALLS))}, "
                               "which is not there in a process without Numba: make no arrays and raise no errors in a "
                               "kernel")
        _optimise(module, symbol, target._tm)
    return symbol, module, target._tm


def _front_end(function):
    """-> (symbol, module) with the kernel and all its helpers as Numba wrote them"""
    types = numba.types
    signature = types.void(types.CPointer(types.int64), types.int64, types.int64, types.int64)
    dispatcher = numba.njit(**FUNCTION)(function)
    dispatcher.compile(signature)
    result = dispatcher.overloads[signature.args]
    return result.fndesc.llvm_func_name, result.library._get_module_for_linking()


class _Library(codegen.JITCodeLibrary):
    """What Numba keeps a function's module in; this one leaves the module alone."""

    @property
    def codegen(self):
        return _NoEnvironment()

    def _optimize_functions(self, module):
        module.data_layout = self._codegen._data_layout

    def finalize(self):
        self._finalized = True

    def get_pointer_to_function(self, name):
        self._ensure_finalized()
        return 0                        # there is no machine code of a function alone

    def _get_module_for_linking(self):
        """The module and those of everything it calls, joined. Numba asks where other functions join this one."""
        if self._shared_module is None:
            self._shared_module, joined, missing = self._final_module.clone(), {self}, [*self._linking_libraries]
            while missing:
                library = missing.pop()
                if library not in joined:
                    joined.add(library)
                    missing += library._linking_libraries
                    part = library._final_module.clone()
                    for each in part.functions:
                        if not each.is_declaration:
                            each.linkage = "linkonce_odr"
                    self._shared_module.link_in(part)
        return self._shared_module


class _NoEnvironment:
    """Numba hands every function a place for its globals, which functions without Python objects do not look at."""

    def set_env(self, name, environment):
        pass


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
    module.verify()
