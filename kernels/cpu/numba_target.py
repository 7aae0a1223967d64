"""As much of Numba as the kernels need: whole numbers, floats, pointers, tuples and loops.

Numba asks before every compilation what its target knows: arrays, strings, lists, sets, dictionaries, random numbers,
all of NumPy. Loading that takes as long as importing Numba, every `+` is looked up among the additions of all of them,
and two dozen passes look for things that kernels do not contain. Kernels get a target of their own
(numba.core.target_extension), beside Numba's `cpu`, which stays as it is: what a user compiles with numba.njit in the
same process is not touched. It knows the numbers, and runs the passes that they need; what it does not know ends in
Numba's own error when the kernel is compiled. That takes two fifths off the time between Python's text and LLVM's, for
which a first start waits.
"""
import functools

from numba import types
from numba.core import (
    codegen,
    compiler,
    compiler_machinery,
    cpu,
    descriptors,
    dispatcher,
    imputils,
    target_extension,
    typed_passes,
    typing,
    untyped_passes,
)
from numba.core.typing import mathdecl
from numba.cpython import builtins, mathimpl, numbers, rangeobj, tupleobj  # noqa: F401  for what they register

_NAME = "minivis"
_OPTIONS = {"nopython": True, "nogil": True, "error_model": "numpy", "boundscheck": False, "no_cpython_wrapper": True,
            "no_cfunc_wrapper": True}


class _Kernels(target_extension.CPU):
    """The target's token in Numba's table: what Numba has for any CPU is for kernels too."""


target_extension.target_registry[_NAME] = _Kernels


def selected():
    """A `with` inside of which Numba asks this target about types, and not its own."""
    return target_extension.target_override(_NAME)


# ---------------------------------------------------------------------------------------- what the target knows

_types, _code = typing.templates.Registry(), imputils.Registry("minivis")


def _extreme(function, comparison):
    """min or max of two whole numbers as one instruction; Numba's own is a Python function, compiled at each use."""
    class Extreme(typing.templates.AbstractTemplate):
        key = function

        def generic(self, arguments, keywords):
            if not keywords and [types.unliteral(a) for a in arguments] == [types.int64] * 2:
                return typing.signature(types.int64, types.int64, types.int64)

    _types.register_global(function, types.Function(Extreme))

    @_code.lower(function, types.int64, types.int64)
    def generate(context, builder, signature, arguments):
        return builder.select(builder.icmp_signed(comparison, *arguments), *arguments)


_extreme(min, "<")
_extreme(max, ">")


class _TypingContext(typing.Context):
    def load_additional_registries(self):
        self.install_registry(mathdecl.registry)

    def _load_builtins(self):
        self.install_registry(_types)      # first: what comes first is asked first
        self.install_registry(typing.templates.builtin_registry)


class _Context(cpu.CPUContext):
    def init(self):
        super().init()
        self._internal_codegen = _Codegen("minivis.kernels")
        self.get_abi_sizeof = functools.lru_cache(None)(super().get_abi_sizeof)    # LLVM is asked for every variable

    def load_additional_registries(self):
        self.install_registry(_code)
        self.install_registry(mathimpl.registry)

    def post_lowering(self, module, library):
        pass                               # elsewhere: functions that count references to objects; here are none


# ------------------------------------------------------------------------------- where the translated code is kept


class _Library(codegen.JITCodeLibrary):
    """What Numba keeps a function's module in; this one leaves the module as Numba wrote it (see machine_code.py)."""

    @property
    def codegen(self):
        return _NoEnvironment()

    def _optimize_functions(self, module):
        module.data_layout = self._codegen._data_layout

    def finalize(self):
        self._finalized = True

    def get_pointer_to_function(self, name):
        self._ensure_finalized()
        return 0                           # there is no machine code of a function alone

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


class _Codegen(codegen.JITCPUCodegen):
    _library_class = _Library


# ------------------------------------------------------------------------------------------- functions, passes


class _Descriptor(descriptors.TargetDescriptor):
    options = cpu.CPUTargetOptions

    @functools.cached_property
    def typing_context(self):
        return _TypingContext()

    @functools.cached_property
    def target_context(self):
        return _Context(self.typing_context, self._target_name)


class _Dispatcher(dispatcher.Dispatcher):
    targetdescr = _Descriptor(_NAME)


class _Passes(compiler.CompilerBase):
    """From bytecode to types to LLVM's IR. Of Numba's simplifications kernels need two: branches that the type of an
    argument decides (`f is None`) are left out, and a tuple's element at a fixed place is found at once."""

    def define_pipelines(self):
        passes = compiler_machinery.PassManager("kernel")
        for each in (untyped_passes.TranslateByteCode, untyped_passes.FixupArgs, untyped_passes.IRProcessing,
                     untyped_passes.RewriteSemanticConstants, untyped_passes.DeadBranchPrune,
                     untyped_passes.GenericRewrites, untyped_passes.ReconstructSSA,
                     typed_passes.NopythonTypeInference, typed_passes.PreLowerStripPhis,
                     typed_passes.NativeLowering, typed_passes.NoPythonBackend):
            passes.add_pass(each, each.__name__)
        passes.finalize()
        return [passes]


def function(python_function, **options):
    """The function as Numba's compiled code may call it, translated for each kind of argument at its first use."""
    return _Dispatcher(python_function, locals={}, targetoptions={**_OPTIONS, **options}, pipeline_class=_Passes)


target_extension.dispatcher_registry[_Kernels] = _Dispatcher
target_extension.jit_registry[_Kernels] = lambda *_, **options: functools.partial(function, **options)


def target_machine():
    """LLVM's description of the processor, as Numba sets it up from NUMBA_CPU_NAME and NUMBA_CPU_FEATURES."""
    return _Dispatcher.targetdescr.target_context.codegen()._tm
