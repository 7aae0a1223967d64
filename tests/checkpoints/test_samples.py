"""What Keras, PyTorch and their exporters wrote, we compute alike: in float64, to 1e-9 of the largest value."""
import numpy as np
import pytest

from minivis.checkpoints import minivis_hdf5
from minivis.checkpoints.convert import convert
from minivis.checkpoints.recognise import read_draft
from minivis.network import Network
from minivis.tensor import Tensor, gradient

FILES = [       # file, its answers, form, architecture
    ("keras_vgg16.h5", "keras_vgg16", "Keras model", "vgg16"),
    ("keras_vgg16.keras", "keras_vgg16", "Keras model", "vgg16"),
    ("keras_vgg16.weights.h5", "keras_vgg16", "Keras weights", "vgg16"),
    ("keras_vgg16_legacy.h5", "keras_vgg16", "Keras weights", "vgg16"),
    ("keras_vgg16_2016.h5", "keras_vgg16", "Keras weights", "vgg16"),
    ("keras_functional.h5", "keras_functional", "Keras model", "custom"),
    ("keras_functional.keras", "keras_functional", "Keras model", "custom"),
    ("keras_sequential.h5", "keras_sequential", "Keras model", "custom"),
    ("keras_sequential.keras", "keras_sequential", "Keras model", "custom"),
    ("keras_nested.h5", "keras_nested", "Keras model", "custom"),
    ("keras_nested.keras", "keras_nested", "Keras model", "custom"),
    ("torch_vgg16.pth", "torch_vgg16", "PyTorch (zip)", "vgg16"),
    ("torch_vgg16_stream.pth", "torch_vgg16", "PyTorch (stream)", "vgg16"),
    ("torch_vgg16.safetensors", "torch_vgg16", "safetensors", "vgg16"),
    ("torch_vgg16_timm.safetensors", "torch_vgg16", "safetensors", "vgg16"),
    ("torch_vgg11_64px.pth", "torch_vgg11_64px", "PyTorch (zip)", "vgg11"),     # 2 x 2 cells before the dense layer
    ("torch_vgg16.onnx", "torch_vgg16", "ONNX", "vgg16"),
    ("torch_mixed.onnx", "torch_mixed", "ONNX", "custom"),
    ("torch_mixed_newer.onnx", "torch_mixed", "ONNX", "custom"),
]


@pytest.mark.parametrize("file, stem, form, architecture", FILES, ids=[row[0] for row in FILES])
def test_logits_and_input_gradient_are_those_of_the_framework(sample, answers, file, stem, form, architecture):
    draft, known = read_draft(sample(file)), answers(stem)
    assert (draft.form, draft.architecture) == (form, architecture)
    # folded batch normalisation is not representable in float32, so the file's numbers are taken unrounded
    weights = {name: np.asarray(array, np.float64) for name, array in draft.weights.items()}
    net = Network(draft.rows, weights, logits_layer=draft.logits_layer, precision="float64")
    x = Tensor(known["x"], needs_grad=True)
    logits = net(x)[net.logits_layer]
    found = gradient(logits[0, int(known["target"])], x)
    assert np.abs(known["gradient"]).max() > 1e-4 and np.count_nonzero(known["gradient"]) > known["gradient"].size / 2
    np.testing.assert_allclose(logits.data, known["logits"], rtol=0, atol=1e-9 * np.abs(known["logits"]).max())
    np.testing.assert_allclose(found, known["gradient"], rtol=0, atol=1e-9 * np.abs(known["gradient"]).max())


@pytest.mark.parametrize("file, stem", [row[:2] for row in FILES], ids=[row[0] for row in FILES])
def test_converted_file_computes_the_same_in_float32(sample, answers, reader, tmp_path, file, stem):
    summary = convert(sample(file), tmp_path / "out.h5", reader=reader)
    net, known = minivis_hdf5.read(tmp_path / "out.h5"), answers(stem)
    assert net.parameters == summary["parameters"]
    logits = net(known["x"].astype(np.float32))[net.logits_layer].numpy()
    np.testing.assert_allclose(logits, known["logits"], rtol=0, atol=1e-5 * np.abs(known["logits"]).max())


@pytest.mark.parametrize("file", ["keras_vgg16.h5", "torch_vgg16.onnx", "torch_vgg16.pth"])
def test_vgg_has_its_classic_layer_names_whatever_wrote_it(sample, file):
    draft = read_draft(sample(file))
    names = [row.name for row in draft.rows]
    assert [n for n in names if n.startswith("conv")][-1] == "conv5_3"
    assert {"relu4_2", "pool5", "fc6", "relu7", "fc8", "prob"} <= set(names)
    assert draft.logits_layer == "fc8"


def test_wide_batch_norms_are_folded_and_those_after_a_concat_stay(sample):
    kinds = [row.kind for row in read_draft(sample("keras_functional.h5")).rows]
    assert kinds.count("batch_norm") == 1
