"""The few pickle opcodes that a PyTorch checkpoint needs, interpreted here: nothing is imported, nothing is called.

A pickle is a program for a stack machine. Python's own interpreter of it can import any module and call any function;
this one knows containers, strings, numbers, and the names of the handful of functions that stand for a tensor. Any
other opcode or name is refused. `pickletools.genops` only splits the bytes into opcodes and their arguments.

Lessons of CVE-2025-32434 and CVE-2026-24747: a tiny allow-list, and every offset, size and stride is checked against
the storage before use.
"""

import io
import pickletools
from typing import NamedTuple

LIMIT_BYTES = 16 << 20          # of one pickle: names and shapes, never weights
LIMIT_OPCODES = 1_000_000


class Refused(ValueError):
    """Why a pickle is not read; the caller adds the name of the file."""


class Global(NamedTuple):
    """The name of a Python object; never the object."""

    module: str
    name: str


class StorageRef(NamedTuple):
    """A run of numbers elsewhere in the file."""

    kind: str       # FloatStorage, HalfStorage, ...
    key: str
    count: int


class TensorRef(NamedTuple):
    """A strided view of a storage, in elements."""

    storage: StorageRef
    offset: int
    shape: tuple
    stride: tuple


_MARK = object()
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_LITERALS = {"BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE", "SHORT_BINSTRING",
             "BINSTRING"}
_EMPTY = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_IGNORED = {"PROTO", "FRAME"}


def interpret(data, start=0):
    """(value, end): the value of the pickle that begins at data[start], and where the next one begins."""
    stream = io.BytesIO(data)
    stream.seek(start)
    machine = _Machine()
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
            if count > LIMIT_OPCODES:
                raise Refused(f"its pickle has more than {LIMIT_OPCODES} opcodes")
            if opcode.name == "STOP":
                return machine.pop(), stream.tell()
            machine.step(opcode.name, argument)
    except Refused:
        raise
    except (ValueError, IndexError, KeyError, TypeError, OverflowError, EOFError, UnicodeError) as error:
        raise Refused(f"its pickle is damaged ({type(error).__name__}: {error})") from None
    raise Refused("its pickle has no end")


class _Machine:
    def __init__(self):
        self.stack, self.memo = [], {}

    def step(self, name, argument):
        """One opcode: the stack before -> after is described in the standard library's pickletools."""
        stack = self.stack
        if name in _LITERALS:
            stack.append(argument)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in _EMPTY:
            stack.append(_EMPTY[name]())
        elif name in ("BINPUT", "LONG_BINPUT"):
            self.memo[argument] = self.top()
        elif name == "MEMOIZE":
            self.memo[len(self.memo)] = self.top()
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(self.memo[argument])
        elif name == "MARK":
            stack.append(_MARK)
        elif name == "TUPLE":
            stack.append(tuple(self.pop_to_mark()))
        elif name in _TUPLES:
            items = [self.pop() for _ in range(_TUPLES[name])]
            stack.append(tuple(reversed(items)))
        elif name in ("SETITEM", "SETITEMS"):
            self.set_items([self.pop(), self.pop()][::-1] if name == "SETITEM" else self.pop_to_mark())
        elif name in ("APPEND", "APPENDS"):
            items = [self.pop()] if name == "APPEND" else self.pop_to_mark()
            self.top(list).extend(items)
        elif name == "GLOBAL":
            stack.append(Global(*argument.split(" ", 1)))
        elif name == "STACK_GLOBAL":
            attribute, module = self.pop(str), self.pop(str)
            stack.append(Global(module, attribute))
        elif name == "REDUCE":
            arguments, function = self.pop(tuple), self.pop()
            stack.append(reduce(function, arguments))
        elif name == "BUILD":
            self.pop()                          # attributes of a container, such as _metadata of a state_dict
        elif name == "BINPERSID":
            stack.append(storage_of(self.pop()))
        elif name in ("NEWOBJ", "NEWOBJ_EX", "OBJ", "INST"):
            made = next((f"of class {v.module}.{v.name} " for v in reversed(stack) if isinstance(v, Global)), "")
            raise Refused(f"it holds a Python object {made}(opcode {name}); only plain tensors are read, and nothing "
                          "is executed. Save model.state_dict() instead of the model, or export it as ONNX")
        elif name not in _IGNORED:
            raise Refused(f"its pickle uses the opcode {name}, which no checkpoint of plain tensors needs")

    def pop(self, kind=object):
        value = self.stack.pop()
        if value is _MARK or not isinstance(value, kind):
            raise Refused("its pickle is damaged (a value of the wrong kind on the stack)")
        return value

    def top(self, kind=object):
        if self.stack[-1] is _MARK or not isinstance(self.stack[-1], kind):
            raise Refused("its pickle is damaged (a value of the wrong kind on the stack)")
        return self.stack[-1]

    def pop_to_mark(self):
        items = []
        while (value := self.stack.pop()) is not _MARK:
            items.append(value)
        return items[::-1]

    def set_items(self, items):
        target = self.top(dict)
        if len(items) % 2 or not all(isinstance(key, (str, int)) for key in items[::2]):
            raise Refused("its pickle is damaged (a dictionary with keys that are neither text nor numbers)")
        target.update(zip(items[::2], items[1::2]))


def reduce(function, arguments):
    """What the call of a named function stands for, from the allow-list; nothing is called."""
    if function == Global("collections", "OrderedDict"):
        pairs = arguments[0] if arguments else []
        return {key: value for key, value in pairs if isinstance(key, (str, int))}
    if function in (Global("torch._utils", "_rebuild_tensor"), Global("torch._utils", "_rebuild_tensor_v2")):
        storage, offset, shape, stride = arguments[:4]
        numbers = (offset, *shape, *stride)
        if (not isinstance(storage, StorageRef) or len(shape) != len(stride) or len(shape) > 8
                or not all(type(value) is int and 0 <= value < 1 << 48 for value in numbers)):
            raise Refused(f"it has a tensor of impossible geometry: shape {shape}, strides {stride}, offset {offset}")
        return TensorRef(storage, offset, tuple(shape), tuple(stride))
    if function == Global("torch._utils", "_rebuild_parameter") and isinstance(arguments[0], TensorRef):
        return arguments[0]
    if isinstance(function, Global):
        raise Refused(f"it asks to call {function.module}.{function.name}; only plain tensors are read, and nothing "
                      "is executed. Save model.state_dict() instead of the model")
    raise Refused("its pickle calls something that is no function")


def storage_of(persistent):
    """("storage", torch.FloatStorage, key, device, count[, None]) -> StorageRef."""
    if (not isinstance(persistent, tuple) or len(persistent) not in (5, 6) or persistent[0] != "storage"
            or persistent[5:] not in ((), (None,))):
        raise Refused("its pickle refers to something that is no storage")
    kind, key, count = persistent[1], persistent[2], persistent[4]
    if not isinstance(kind, Global) or kind.module != "torch" or type(count) is not int or not 0 <= count < 1 << 48:
        raise Refused("its pickle refers to a storage of unknown type or size")
    return StorageRef(kind.name, str(key), count)
