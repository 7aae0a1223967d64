"""Small weights files written by the frameworks themselves, with their float64 answers, for tests/checkpoints/samples.

    python tools/make_samples.py keras FOLDER       needs keras and jax
    python tools/make_samples.py torch FOLDER       needs torch, onnx and safetensors

Every NAME.npz holds x (float64 network input, N H W C), logits and gradient: d logits[0, target] / d x. The weights are
drawn from few values, so that the gzipped files stay below 200 kB; the files themselves are just as the framework wrote
them. The tests read these files and import no framework.
"""

import gzip
import os
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np

VGG16 = (2, 2, 3, 3, 3)
VGG11 = (1, 1, 2, 2, 2)
WIDTHS = (4, 8, 16, 32, 32)         # 1/16 of 64, 128, 256, 512, 512
DENSE, CLASSES, TARGET = 256, 10, 3


def coarse(rng, shape, fan_in):
    """float32 weights of about He's spread, drawn from seven values: they compress well and are exact in any format."""
    step = 2.0 ** np.round(np.log2(np.sqrt(2 / fan_in) / 2))
    return (rng.randint(-3, 4, shape) * step).astype(np.float32)


def picture(shape, seed=5):
    return np.random.RandomState(seed).randint(-64, 64, shape) / 32.0


def keep(folder, name, write):
    """Let `write(path)` write the file NAME, and keep it gzipped without a time stamp in the folder."""
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch, name)
        write(path)
        with open(path, "rb") as source, open(Path(folder, name + ".gz"), "wb") as target, \
                gzip.GzipFile("", "wb", 9, target, mtime=0) as packed:
            shutil.copyfileobj(source, packed)


def keep_answers(folder, name, x, logits, gradient):
    np.savez_compressed(Path(folder, name + ".npz"), x=x, logits=logits, gradient=gradient, target=TARGET)


# ------------------------------------------------------------------------------------------------------------- Keras

def keras_vgg16(layers, models):
    inputs = x = layers.Input((32, 32, 3), name="input_1")
    for block, (count, width) in enumerate(zip(VGG16, WIDTHS), 1):
        for i in range(1, count + 1):
            x = layers.Conv2D(width, 3, activation="relu", padding="same", name=f"block{block}_conv{i}")(x)
        x = layers.MaxPooling2D(2, strides=2, name=f"block{block}_pool")(x)
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dense(DENSE, activation="relu", name="fc1")(x)
    x = layers.Dense(DENSE, activation="relu", name="fc2")(x)
    return models.Model(inputs, layers.Dense(CLASSES, activation="softmax", name="predictions")(x), name="vgg16")


def keras_functional(layers, models):
    """Every layer the reader knows, with strides, paddings and sizes that do not divide."""
    inputs = layers.Input((21, 18, 3))
    x = layers.Rescaling(0.5, offset=0.25)(inputs)
    x = layers.ZeroPadding2D(((1, 2), (0, 1)))(x)
    x = layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False)(x)
    x = layers.BatchNormalization()(x)
    x = layers.ReLU()(x)
    x = layers.SeparableConv2D(12, 3, padding="same", depth_multiplier=2, activation="relu")(x)
    x = layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2)(x)
    x = layers.BatchNormalization(scale=False)(x)
    x = layers.Activation("relu")(x)
    a = layers.Conv2D(16, (1, 3), dilation_rate=(1, 2), padding="same")(x)
    b = layers.Conv2D(16, 3, padding="same", activation="tanh", groups=2)(x)
    c = layers.AveragePooling2D(3, strides=1, padding="same")(layers.Add()([a, b]))
    x = layers.Concatenate()([c, layers.MaxPooling2D(3, strides=1, padding="same")(x)])
    x = layers.BatchNormalization(center=False)(x)
    x = layers.Dropout(0.3)(x)
    x = layers.MaxPooling2D((2, 3), padding="valid")(x)
    flat = layers.Dense(24, activation="relu")(layers.Flatten()(x))
    x = layers.Concatenate()([flat, layers.GlobalAveragePooling2D()(x), layers.GlobalMaxPooling2D()(x)])
    x = layers.Dense(CLASSES)(x)
    return models.Model(inputs, layers.Softmax()(x))


def keras_sequential(layers, models):
    return models.Sequential([
        layers.Input((12, 14, 3)),
        layers.Conv2D(6, 5, padding="valid"),
        layers.BatchNormalization(),
        layers.LeakyReLU(negative_slope=0.125),
        layers.AveragePooling2D(2),
        layers.Conv2D(8, 3, activation="relu"),
        layers.Flatten(),
        layers.Dense(16, activation="sigmoid"),
        layers.Dense(CLASSES, activation="softmax"),
    ])


def keras_nested(layers, models):
    """A head on a body that is a model of its own, as in transfer learning."""
    inputs = layers.Input((14, 14, 3))
    x = layers.Conv2D(6, 3, padding="same", name="body_conv")(inputs)
    x = layers.BatchNormalization(name="body_norm")(x)
    x = layers.ReLU(max_value=6.0)(x)
    y = layers.Conv2D(6, 1, name="body_side")(x)
    body = models.Model(inputs, layers.Add()([x, y]), name="body")
    neck = [layers.Input((14, 14, 6)), layers.Conv2D(5, 3, strides=2, activation="relu")]
    return models.Sequential([layers.Input((14, 14, 3)), layers.Rescaling(1 / 64), body, models.Sequential(neck),
                              layers.Conv2D(7, 3, activation="relu"), layers.GlobalAveragePooling2D(),
                              layers.Dropout(0.2), layers.Dense(CLASSES, activation="softmax")])


def fill(model):
    rng = np.random.RandomState(1)
    values = []
    for weight in model.weights:
        shape, name = tuple(weight.shape), weight.path.rsplit("/", 1)[-1]
        if name in ("moving_variance", "gamma"):
            values.append((rng.randint(2, 9, shape) / 4).astype(np.float32))
        elif len(shape) == 1:
            values.append((rng.randint(-4, 5, shape) / 8).astype(np.float32))
        else:
            values.append(coarse(rng, shape, np.prod(shape[:2]) if "depthwise" in name else np.prod(shape[:-1])))
    model.set_weights(values)
    return values


def make_keras(folder):
    os.environ.update(KERAS_BACKEND="jax", JAX_ENABLE_X64="1")
    import h5py
    import jax
    import keras
    from keras import layers, models
    from keras.src import backend
    from keras.src.backend.common import dtypes
    from keras.src.legacy.saving import legacy_h5_format

    # Keras computes batch normalisation and tanh of a float64 model in float32, because it promotes float64 with
    # "float32" to float32; the answers are to be float64 throughout.
    promote = dtypes.result_type
    dtypes.result_type = lambda *types: "float64" if "float64" in map(str, types) else promote(*types)
    backend.result_type = dtypes.result_type

    def logits_model(model):
        """The same network up to the last dense layer, without its softmax; which is the last layer or before it."""
        last = [layer for layer in model.layers if isinstance(layer, layers.Dense)][-1]
        last.activation = keras.activations.linear
        return models.Model(model.inputs, last.output if last is not model.layers[-1] else model.outputs)

    for name, build in {"keras_vgg16": keras_vgg16, "keras_functional": keras_functional,
                        "keras_sequential": keras_sequential, "keras_nested": keras_nested}.items():
        keras.backend.clear_session()
        keras.config.set_floatx("float32")
        model = build(layers, models)
        values = fill(model)
        keep(folder, f"{name}.h5", model.save)
        keep(folder, f"{name}.keras", model.save)
        if name == "keras_vgg16":
            keep(folder, f"{name}.weights.h5", model.save_weights)
            keep(folder, f"{name}_legacy.h5", lambda path, model=model: _legacy(path, model, h5py, legacy_h5_format))
            keep(folder, f"{name}_2016.h5", lambda path, model=model: _layout_of_2016(path, model, h5py))
        keras.backend.clear_session()
        keras.config.set_floatx("float64")
        double = build(layers, models)
        double.set_weights(values)
        double = logits_model(double)
        x = picture((1, *model.input_shape[1:]))
        logits = np.asarray(double(x, training=False))
        gradient = jax.grad(lambda x, net=double: net(x, training=False)[0, TARGET])(jax.numpy.asarray(x))
        keep_answers(folder, name, x, logits, np.asarray(gradient))


def _legacy(path, model, h5py, legacy_h5_format):
    with h5py.File(path, "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, model)


def _layout_of_2016(path, model, h5py):
    """The layout of the published vgg16_weights_tf_dim_ordering_tf_kernels.h5."""
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [layer.name.encode() for layer in model.layers]
        for layer in model.layers:
            group = file.create_group(layer.name)
            names = [f"{layer.name}_{part}_1:0" for part in "Wb"[:len(layer.weights)]]
            group.attrs["weight_names"] = [name.encode() for name in names]
            for name, weight in zip(names, layer.weights):
                group.create_dataset(name, data=np.asarray(weight))


# ------------------------------------------------------------------------------------------------------------- torch

def torch_vgg(nn, counts, side):
    features, channels = [], 3
    for count, width in zip(counts, WIDTHS):
        for _ in range(count):
            features += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(inplace=True)]
            channels = width
        features.append(nn.MaxPool2d(2, 2))
    cells = (side // 32) ** 2

    class Vgg(nn.Module):
        def __init__(self):
            super().__init__()
            self.features = nn.Sequential(*features)
            self.classifier = nn.Sequential(nn.Linear(channels * cells, DENSE), nn.ReLU(True), nn.Dropout(),
                                            nn.Linear(DENSE, DENSE), nn.ReLU(True), nn.Dropout(),
                                            nn.Linear(DENSE, CLASSES))

        def forward(self, x):
            return self.classifier(self.features(x).flatten(1))

    return Vgg()


def torch_mixed(nn, torch):
    """Every ONNX operator the reader knows that torch exports."""
    class Mixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False)
            self.stem_norm = nn.BatchNorm2d(8, eps=0.25)        # see randomize: the exporter's folding is exact
            self.pad = nn.ConstantPad2d((1, 0, 2, 1), 0.0)
            self.left = nn.Conv2d(8, 8, (3, 1), padding=(2, 0), dilation=(2, 1), groups=2)
            self.right = nn.Conv2d(8, 8, 1)
            self.late_norm = nn.BatchNorm2d(24)
            self.pool = nn.MaxPool2d(3, 2, ceil_mode=True)
            self.average = nn.AvgPool2d(3, 1, padding=1, count_include_pad=False)
            self.dense = nn.Linear(24 * 8 * 6, 16)
            self.mix = nn.Parameter(torch.zeros(40, 12))
            self.mix_bias = nn.Parameter(torch.zeros(12))
            self.head = nn.Linear(12, CLASSES)

        def forward(self, x):
            x = nn.functional.relu6(self.stem_norm(self.stem(x)))
            x = self.pad(x)
            left, right = nn.functional.leaky_relu(self.left(x), 0.125), self.right(x)
            x = torch.cat([left + right, self.average(x), torch.clamp(right, -0.5, 1.5)], 1)
            x = self.pool(torch.relu(self.late_norm(x)))
            flat = torch.relu(self.dense(nn.functional.dropout(x, 0.2, self.training).reshape(x.shape[0], -1)))
            mean = nn.functional.adaptive_avg_pool2d(x, 1).flatten(1)
            x = torch.matmul(torch.cat([flat, mean], 1), self.mix) + self.mix_bias
            return torch.softmax(self.head(torch.tanh(x)), 1)

    return Mixed()


def make_torch(folder):
    import torch
    from safetensors.torch import save_file
    from torch import nn

    def randomize(model):
        rng = np.random.RandomState(1)
        for name, tensor in model.state_dict().items():
            shape = tuple(tensor.shape)
            if name == "stem_norm.running_var":
                value = rng.choice([0.75, 3.75], shape)             # var + eps is 1 or 4: folded without rounding
            elif name.endswith("running_var") or name.endswith("norm.weight"):
                value = rng.randint(2, 9, shape) / 4
            elif len(shape) == 1:
                value = rng.randint(-4, 5, shape) / 8
            elif shape:
                value = coarse(rng, shape, shape[0] if name == "mix" else np.prod(shape[1:]))
            else:
                continue
            tensor.copy_(torch.from_numpy(np.asarray(value, np.float32)))
        return model.eval()

    def answers(name, model, side):
        x = picture((1, *side, 3))
        leaf = torch.tensor(x.transpose(0, 3, 1, 2).copy(), requires_grad=True)
        model.double()
        kept, torch.softmax = torch.softmax, lambda value, axis: value      # logits, not probabilities
        logits = model(leaf)
        torch.softmax = kept
        logits[0, TARGET].backward()
        model.float()
        keep_answers(folder, name, x, logits.detach().numpy(), leaf.grad.numpy().transpose(0, 2, 3, 1))

    def export(model, side, newer):
        def write(path):
            how = {"external_data": False} if newer else {}
            torch.onnx.export(model, (torch.zeros(1, 3, *side),), path, dynamo=newer, **how)
        return write

    with torch.no_grad():
        vgg16, vgg11 = randomize(torch_vgg(nn, VGG16, 32)), randomize(torch_vgg(nn, VGG11, 64))
        mixed = randomize(torch_mixed(nn, torch))
    answers("torch_vgg16", vgg16, (32, 32))
    answers("torch_vgg11_64px", vgg11, (64, 64))
    answers("torch_mixed", mixed, (27, 22))
    state = vgg16.state_dict()
    keep(folder, "torch_vgg16.pth", lambda path: torch.save(state, path))
    keep(folder, "torch_vgg16_stream.pth",
         lambda path: torch.save(state, path, _use_new_zipfile_serialization=False))
    keep(folder, "torch_vgg16.safetensors", lambda path: save_file(state, path))
    keep(folder, "torch_vgg16_timm.safetensors", lambda path: save_file(_timm_names(state), path))
    keep(folder, "torch_vgg11_64px.pth", lambda path: torch.save({"epoch": 3, "state_dict": vgg11.state_dict()}, path))
    keep(folder, "torch_vgg16.onnx", export(vgg16, (32, 32), newer=False))
    keep(folder, "torch_mixed.onnx", export(mixed, (27, 22), newer=False))
    keep(folder, "torch_mixed_newer.onnx", export(mixed, (27, 22), newer=True))


def _timm_names(state):
    """The same weights as timm names and shapes them: the first two dense layers are convolutions."""
    names = {"classifier.0": "pre_logits.fc1", "classifier.3": "pre_logits.fc2", "classifier.6": "head.fc"}
    renamed = {}
    for name, value in state.items():
        layer, part = name.rsplit(".", 1)
        layer = names.get(layer, layer)
        dense_as_conv = layer.startswith("pre_logits") and part == "weight"
        renamed[f"{layer}.{part}"] = value[:, :, None, None].clone() if dense_as_conv else value
    return renamed


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] not in ("keras", "torch"):
        sys.exit(__doc__)
    Path(sys.argv[2]).mkdir(parents=True, exist_ok=True)
    {"keras": make_keras, "torch": make_torch}[sys.argv[1]](sys.argv[2])
