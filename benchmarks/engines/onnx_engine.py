"""ONNX Runtime: forward passes. It has no gradient in its ordinary package."""
from pathlib import Path

import numpy as np
import onnxruntime

from .. import networks, onnx_file
from . import Unsupported, inputs

_threads = 1


def start(threads):
    global _threads
    _threads = threads
    return {"onnxruntime": onnxruntime.__version__}


def numpy(answer):
    return {name: value.transpose(0, 2, 3, 1) if value.ndim == 4 else value for name, value in answer.items()}


def forward(case, folder):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = _threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")    # asleep while others are timed
    x = np.ascontiguousarray(inputs(case).transpose(0, 3, 1, 2))
    file = Path(folder) / f"{'x'.join(map(str, x.shape))}.onnx"
    if not file.exists():                               # loaded from a file, as a user would
        file.write_bytes(onnx_file.model(networks.read_layers(folder),
                                         lambda *key: networks.read_weight(folder, *key), x.shape))
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    return lambda: {"y": session.run(None, {"input": x})[0]}


def gradient(case, folder):
    raise Unsupported("onnxruntime computes no gradients")


WORK = {"forward": forward, "gradient": gradient}
