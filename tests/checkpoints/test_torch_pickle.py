"""PyTorch files: nothing is executed, nothing outside a storage is read, every refusal is one line."""
import os
import pickle
import struct
import zipfile

import numpy as np
import pytest

from minivis.checkpoints.pickle_machine import Refused, interpret
from minivis.checkpoints.torch_pickle import MAGIC, read_torch
from minivis.errors import WeightFileError


class Global:
    """Pickles as a reference to MODULE.NAME, which need not exist."""

    def __init__(self, module, name):
        self.module, self.name = module, name


class Call:
    """Pickles as the call of a named function."""

    def __init__(self, module, name, *arguments):
        self.function, self.arguments = Global(module, name), arguments


class Storage:
    def __init__(self, key, count, kind="FloatStorage"):
        self.identity = ("storage", Global("torch", kind), key, "cpu", count)


class Writer(pickle._Pickler):
    """Python's own pickler, extended by the three objects above."""

    def persistent_id(self, item):
        return item.identity if isinstance(item, Storage) else None

    def save(self, item, *more, **named):
        if isinstance(item, Global):
            self.write(b"c" + f"{item.module}\n{item.name}\n".encode())
        elif isinstance(item, Call):
            self.save(item.function)
            self.save(item.arguments)
            self.write(b"R")
        else:
            super().save(item, *more, **named)


def dumps(item, protocol=2):
    import io
    stream = io.BytesIO()
    Writer(stream, protocol).dump(item)
    return stream.getvalue()


def tensor(storage, offset, shape, stride):
    return Call("torch._utils", "_rebuild_tensor_v2", storage, offset, shape, stride, False, {})


def write_zip(path, item, storages, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("x/data.pkl", dumps(item))
        archive.writestr("x/byteorder", "little")
        for key, array in storages.items():
            archive.writestr(f"x/data/{key}", array.tobytes())
    return path


def write_stream(path, item, storages):
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}
    parts = [dumps(MAGIC), dumps(1001), dumps(system), dumps(item), dumps(list(storages))]
    for array in storages.values():
        parts.append(struct.pack("<q", array.size) + array.tobytes())
    path.write_bytes(b"".join(parts))
    return path


WRITERS = pytest.mark.parametrize("write", [write_zip, write_stream])
NUMBERS = np.arange(24, dtype=np.float32)


@WRITERS
def test_strided_views_and_shared_storages(tmp_path, write):
    storage = Storage("0", 24)
    path = write(tmp_path / "x", {"a": tensor(storage, 0, (4, 6), (6, 1)), "t": tensor(storage, 1, (6, 3), (1, 6)),
                                  "n": tensor(storage, 23, (), ()), "epoch": 7}, {"0": NUMBERS})
    arrays, _ = read_torch(path)
    np.testing.assert_array_equal(arrays["a"], NUMBERS.reshape(4, 6))
    np.testing.assert_array_equal(arrays["t"], NUMBERS.reshape(4, 6)[:3, :].T + 1)
    assert arrays["n"] == 23 and set(arrays) == {"a", "t", "n"}


@WRITERS
@pytest.mark.parametrize("kind, array", [
    ("HalfStorage", np.array([1.5, -2], np.float16)),
    ("DoubleStorage", np.array([1 / 3, 2])),
    ("LongStorage", np.array([5, -6])),
])
def test_element_types(tmp_path, write, kind, array):
    path = write(tmp_path / "x", {"a": tensor(Storage("0", 2, kind), 0, (2,), (1,))}, {"0": array})
    np.testing.assert_array_equal(read_torch(path)[0]["a"], array)


def test_bfloat16_is_the_upper_half_of_float32(tmp_path):
    values = np.array([1.0, -2.5, 0.15625], np.float32)
    bits = (values.view(np.uint32) >> 16).astype(np.uint16)
    path = write_zip(tmp_path / "x", {"a": tensor(Storage("0", 3, "BFloat16Storage"), 0, (3,), (1,))}, {"0": bits})
    np.testing.assert_array_equal(read_torch(path)[0]["a"], values)


def test_nested_checkpoint_gives_dotted_names(tmp_path):
    item = {"state_dict": {"conv.weight": tensor(Storage("0", 24), 0, (24,), (1,))}, "optimizer": {"lr": 0.1}}
    assert list(read_torch(write_zip(tmp_path / "x", item, {"0": NUMBERS}))[0]) == ["state_dict.conv.weight"]


@WRITERS
@pytest.mark.parametrize("payload", [
    lambda mark: Call("os", "system", f"touch {mark}"),
    lambda mark: Call("posix", "system", f"touch {mark}"),
    lambda mark: Call("builtins", "eval", f"open({mark!r}, 'w')"),
    lambda mark: Call("builtins", "getattr", Global("os", "system"), "x"),
    lambda mark: Call("torch", "load", mark),
    lambda mark: Call("torch._utils", "_rebuild_parameter", Global("os", "system"), True, {}),
    lambda mark: Call("collections", "OrderedDict", [["a", Call("os", "system", f"touch {mark}")]]),
])
def test_pickle_payload_is_refused_and_not_executed(tmp_path, write, payload):
    mark = tmp_path / "executed"
    with pytest.raises(WeightFileError):
        read_torch(write(tmp_path / "x", {"a": payload(str(mark))}, {}))
    assert not mark.exists()


def test_the_payload_used_here_would_work_elsewhere(tmp_path):
    class Payload:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "executed"),)
    data = pickle.dumps(Payload(), 2)
    with pytest.raises(Refused, match=r"call \w+\.mkdir"):
        interpret(data)
    assert not (tmp_path / "executed").exists()
    pickle.loads(data)          # the same bytes, read the usual way
    assert (tmp_path / "executed").exists()


@WRITERS
@pytest.mark.parametrize("view", [
    (0, (25,), (1,)), (1, (24,), (1,)), (0, (2, 2), (24, 1)), (-1, (2,), (1,)), (0, (-1,), (1,)), (0, (2,), (-1,)),
    (0, (2, 3), (1,)), (1 << 50, (1,), (1,)), (0, (1 << 40, 0, 1 << 45), (1, 1, 1)), (0, (True,), (1,)),
    (0, ("2",), (1,)), (0, (2,) * 9, (1,) * 9),
])
def test_tensor_that_leaves_its_storage_is_refused(tmp_path, write, view):
    path = write(tmp_path / "x", {"a": tensor(Storage("0", 24), *view)}, {"0": NUMBERS})
    try:
        arrays, _ = read_torch(path)
    except WeightFileError as error:
        assert str(path) in str(error) and "\n" not in str(error)
    else:       # an empty tensor has no element that could lie outside
        assert arrays["a"].size == 0


@pytest.mark.parametrize("change, says", [
    (lambda b: b[:-40], "cut off or damaged"),
    (lambda b: b + b"x", "ends? at byte|cut off"),
    (lambda b: b.replace(b"FloatStorage", b"EvilxStorage"), "EvilxStorage"),
    (lambda b: b.replace(b"_rebuild_tensor_v2", b"_rebuild_qtensor_2"), "_rebuild_qtensor_2"),
    (lambda b: dumps(MAGIC) + dumps(1002) + b[len(dumps(MAGIC)) + len(dumps(1001)):], "known version"),
])
def test_damaged_stream_is_refused(tmp_path, change, says):
    item = {"a": tensor(Storage("0", 24), 0, (4, 6), (6, 1))}
    path = write_stream(tmp_path / "x", item, {"0": NUMBERS})
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(WeightFileError, match=says):
        read_torch(path)


def test_zip_with_compressed_or_missing_parts_is_refused(tmp_path):
    item = {"a": tensor(Storage("0", 24), 0, (4, 6), (6, 1))}
    with pytest.raises(WeightFileError, match="compressed"):
        read_torch(write_zip(tmp_path / "x", item, {"0": NUMBERS}, zipfile.ZIP_DEFLATED))
    with pytest.raises(WeightFileError, match="lacks its part data/0"):
        read_torch(write_zip(tmp_path / "y", item, {}))
    with pytest.raises(WeightFileError, match="storage 0 has 92 bytes"):
        read_torch(write_zip(tmp_path / "z", item, {"0": NUMBERS[1:]}))


@pytest.mark.parametrize("data, says", [
    (b"\x80\x02ccollections\nOrderedDict\n.", None),
    (b"\x80\x02K\x01.", None),
    (b"\x80\x02K\x01", "ended|damaged|no end"),
    (b"(ios\nsystem\n.", "INST"),
    (b"\x80\x02cos\nsystem\n)\x81.", "NEWOBJ"),
    (b"\x80\x02\x82\x01.", "EXT1"),
    (b"\x80\x02r\xff\xff\xff\x7f.", "damaged"),
    (b"\x80\x02h\x07.", "damaged"),
    (b"\x80\x02(.", "damaged"),
    (b"\x80\x02}}K\x01s.", "damaged"),
    (b"\x80\x04\x8c\x02os\x8c\x06system\x93)R.", "call os.system"),
    (b"\x80\x02" + b"0" * 10, "POP"),
    (b"\x80\x02X\xff\xff\xff\x7fabc.", "damaged"),
    (b"\x80\x02L" + b"9" * 5000 + b"L\n.", "damaged"),
])
def test_stack_machine_refuses_what_it_does_not_know(data, says):
    if says is None:
        interpret(data)
    else:
        with pytest.raises(Refused, match=says):
            interpret(data)


def test_dictionaries_that_contain_themselves_end(tmp_path):
    loop = {}
    loop["again"] = loop
    assert read_torch(write_zip(tmp_path / "x", loop, {}))[0] == {}
