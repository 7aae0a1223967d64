"""Write minivis/golden/innvestigate/vgg.npz: what iNNvestigate itself computes on a whole network, in float64.

    python -m tools.golden_innvestigate

Needs an environment of its own with `innvestigate` (2.1, TensorFlow below 2.15, Python below 3.12), where minivis is
not installed: of it only the files of stored numbers and the layer table are read. The network is "vgg" of
tools/make_golden.py as a Keras model; its dense weights are put into Keras' order (rows, columns, channels).

The presets of LRP are compared here as whole networks: which layer gets which rule is iNNvestigate's own choice. Where
alpha and beta are in play that is on the network without biases ("no_bias"): iNNvestigate puts the whole bias into both
of the two sums, zennit and minivis its positive part into one and its negative part into the other. SmoothGrad is left
out, since its noise cannot be given; tools/check_innvestigate.py looks at it.
"""
import json
import os
from importlib import metadata
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import innvestigate
import numpy as np
import tensorflow as tf
from tensorflow import keras

from minivis import golden
from minivis.layers import Table
from minivis.preprocessing import Preprocessing

NAME, STEPS = "vgg", 8
ANALYZERS = {       # key: (iNNvestigate's name, its settings)
    "gradient": ("gradient", {}), "input_x_gradient": ("input_t_gradient", {}),
    "guided_backprop": ("guided_backprop", {}), "deconvnet": ("deconvnet", {}),
    "integrated_gradients": ("integrated_gradients", {"steps": STEPS}),
    "lrp_z": ("lrp.z", {}), "lrp_epsilon": ("lrp.epsilon", {}), "lrp_w_square": ("lrp.w_square", {}),
    "lrp_flat": ("lrp.flat", {}), "lrp_z_plus": ("lrp.z_plus", {}), "lrp_deep_taylor": ("deep_taylor", {}),
    "no_bias_lrp_alpha1_beta0": ("lrp.alpha_1_beta_0", {}), "no_bias_lrp_alpha2_beta1": ("lrp.alpha_2_beta_1", {}),
    "no_bias_lrp_preset_a": ("lrp.sequential_preset_a", {}), "no_bias_lrp_preset_b": ("lrp.sequential_preset_b", {}),
    "no_bias_lrp_preset_a_flat": ("lrp.sequential_preset_a_flat", {}),
    "no_bias_lrp_preset_b_flat": ("lrp.sequential_preset_b_flat", {}),
}


def model(layers, weights):
    """The layer table as a Keras model, with the same weights; a ReLU is its layer's activation."""
    x = start = keras.Input(tuple(layers[0]["shape"]))
    for row, after in zip(layers, [*layers[1:], {}]):
        kind, name = row["kind"], row["name"]
        relu = "relu" if after.get("kind") == "relu" else None
        if kind == "conv":
            x = keras.layers.Conv2D(row["filters"], row["kernel"], padding="same" if row.get("pad") else "valid",
                                    activation=relu, name=name)(x)
        elif kind == "linear":
            x = keras.layers.Dense(row["outputs"], activation=relu, name=name)(x)
        elif kind == "max_pool":
            x = keras.layers.MaxPooling2D(row["kernel"], name=name)(x)
            height, width, channels = x.shape[1:]
        elif kind == "flatten":
            x = keras.layers.Flatten(name=name)(x)
    made = keras.Model(start, x)
    for layer in made.layers:
        if not layer.weights:
            continue
        w = weights[f"{layer.name}/weight"]
        if layer.name == "fc1":             # the table flattens channels first
            w = w.reshape(channels, height, width, -1).transpose(1, 2, 0, 3).reshape(w.shape)
        layer.set_weights([w, weights[f"{layer.name}/bias"]])
    return made


def main():
    tf.compat.v1.disable_eager_execution()
    keras.backend.set_floatx("float64")
    about, arrays = golden.load(NAME)
    weights = golden.draw_weights(Table(about["layers"]), about["seed"])
    x = Preprocessing.from_json(about["preprocessing"]).apply(arrays["picture"], np.float64)
    no_bias = {name: w * (not name.endswith("/bias")) for name, w in weights.items()}
    y = model(about["layers"], weights).predict(x, verbose=0)
    assert np.abs(y[0] - arrays["logits"]).max() < 1e-12 * np.abs(y).max(), "the Keras model is another network"
    found = {}
    for key, (name, settings) in ANALYZERS.items():
        # a new model each time: a layer that an analyzer has touched is no longer recognised as the first one
        net = model(about["layers"], no_bias if key.startswith("no_bias") else weights)
        analyzer = innvestigate.create_analyzer(name, net, neuron_selection_mode="index", **settings)
        found[key] = np.asarray(analyzer.analyze(x, neuron_selection=about["class"]))[0]
        assert found[key].dtype == np.float64 and found[key].any(), key
    made_by = {tool: metadata.version(tool) for tool in ("innvestigate", "tensorflow", "numpy")}
    folder = Path(golden.__file__).parent / "innvestigate"
    folder.mkdir(exist_ok=True)
    about = {"of": NAME, "class": about["class"], "steps": STEPS, "made_by": made_by,
             "tools": dict.fromkeys(found, "innvestigate")}
    np.savez_compressed(folder / f"{NAME}.npz", about=np.array(json.dumps(about)), **found)
    print({key: float(np.abs(value).max()) for key, value in found.items()})


if __name__ == "__main__":
    main()
