"""Weights without an architecture: recognised by their names and shapes as one of the networks in architectures.py.

A state_dict, a safetensors file and a Keras weights file hold named arrays and nothing about what is computed with
them. VGG, AlexNet and SqueezeNet are recognised in any width and with any number of classes; every other network has
to come in a form that says what it computes (a whole Keras model, ONNX).
"""

import functools
import math
import re

import numpy as np

from .. import architectures
from ..errors import WeightFileError
from ..layers import Layer, Table
from ..names import aliases
from .draft import Draft, Rearranged, fold_batch_norms, spell_out_inputs

HELP = ("it holds weights without an architecture, and they are not those of VGG-11/13/16/19, AlexNet or SqueezeNet. "
        "Export the network as ONNX (torch.onnx.export) or save the whole Keras model, and convert that")
PARTS = {"weight": "weight", "bias": "bias", "running_mean": "mean", "running_var": "var"}
VGG_BY_CONVS = {sum(blocks): name for name, blocks in architectures.VGG.items()}


def from_state_dict(arrays, path, form, mapped=None):
    """A Draft from PyTorch's names: torchvision's, timm's, jcjohnson's and Gatys' for VGG."""
    modules = {}
    for name, array in _without_prefix(arrays).items():
        module, _, part = name.rpartition(".")
        if part in PARTS:
            modules.setdefault(module, {})[PARTS[part]] = array
        elif part != "num_batches_tracked":
            raise WeightFileError(f"{path}: {name}: {HELP}")
    for architecture, theirs, norms, family, head in _torch_forms(modules):
        if set(theirs) | set(norms) == set(modules):
            draft = _fill(architecture, head, path, form,
                          {ours: _torch_layout(modules[module]) for module, ours in theirs.items()}, "chw")
            for module, ours in norms.items():
                _insert_norm(draft, ours, modules[module], path)
            fold_batch_norms(draft)
            draft.family, draft.mapped = family, mapped
            return draft
    raise WeightFileError(f"{path}: {HELP} (its layers: {', '.join(list(modules)[:4])}, ...)")


def from_keras_weights(layers, layout, path, mapped=None):
    """A Draft from the weights of Keras' VGG, by layer name, or in Keras 3 by their order."""
    if layout == "numbered":
        layers = _by_order(layers, path)
    for architecture in architectures.VGG:
        for head in (True, False):
            theirs = _weighted_aliases(architecture, head, "block|fc|predictions")
            if set(theirs) == set(layers):
                arrays = {ours: {"weight": layers[name]["kernel"].array(), "bias": layers[name]["bias"].array()}
                          for name, ours in theirs.items() if {"kernel", "bias"} == set(layers[name])}
                draft = _fill(architecture, head, path, "Keras weights", arrays, "hwc")
                draft.family, draft.mapped = "caffe", mapped
                return draft
    raise WeightFileError(f"{path}: {HELP} (its layers: {', '.join(list(layers)[:4])}, ...)")


# ----------------------------------------------------------------------------------------------------------- the names

def _without_prefix(arrays):
    """Names without what a trainer wrapped round them: state_dict., model., module."""
    while True:
        first = {name.split(".", 1)[0] for name in arrays if "." in name}
        wrapped = first & {"state_dict", "model_state_dict", "model", "module", "net", "network"}
        if not wrapped:
            return arrays
        prefix = sorted(wrapped, key=("state_dict", "model_state_dict", "model", "module", "net", "network").index)[0]
        arrays = {name[len(prefix) + 1:]: array for name, array in arrays.items() if name.startswith(prefix + ".")}


@functools.cache
def _weighted_aliases(architecture, head, pattern):
    """{their name: ours} of the layers with weights, for the aliases that match. Not to be changed by the caller."""
    table = Table(architectures.table(architecture, head)["layers"])
    return {theirs: ours for theirs, ours in aliases(table).items()
            if re.match(pattern, theirs) and table[ours].kind in ("conv", "linear")}


def _torch_forms(modules):
    """Yield (architecture, {module: layer}, {norm module: layer}, family, head) for every naming that is known."""
    caffe_heads = {"classifier.0": "classifier.1", "classifier.3": "classifier.4"}
    timm_heads = {"classifier.0": "pre_logits.fc1", "classifier.3": "pre_logits.fc2", "classifier.6": "head.fc"}
    for architecture in ("vgg11", "vgg13", "vgg16", "vgg19", "alexnet", "squeezenet1_0", "squeezenet1_1"):
        for head in (True, False):
            names = _weighted_aliases(architecture, head, "features|classifier")
            yield architecture, names, {}, "torchvision", head
            if architecture.startswith("vgg"):
                own = {ours: ours for ours in names.values()}
                yield architecture, own, {}, "caffe", head
                with_norms, norms = _vgg_bn(names, architecture)
                yield architecture, with_norms, norms, "torchvision", head
                if head:
                    yield architecture, {caffe_heads.get(k, k): v for k, v in names.items()}, {}, "caffe", head
                    yield architecture, {timm_heads.get(k, k): v for k, v in names.items()}, {}, "torchvision", head
                    with_norms = {timm_heads.get(k, k): v for k, v in with_norms.items()}
                    yield architecture, with_norms, norms, "torchvision", head


def _vgg_bn(names, architecture):
    """torchvision's vgg16_bn: a norm follows each convolution in the same numbered list."""
    at, convs, norms = 0, {}, {}
    for block, depth in enumerate(architectures.VGG[architecture], 1):
        for i in range(1, depth + 1):
            convs[f"features.{at}"], norms[f"features.{at + 1}"] = f"conv{block}_{i}", f"conv{block}_{i}"
            at += 3
        at += 1
    return {**convs, **{k: v for k, v in names.items() if k.startswith("classifier")}}, norms


def _by_order(layers, path):
    """Keras 3 numbers layers by class: conv2d, conv2d_1, ..., dense, ...: VGG has 8, 10, 13 or 16 convolutions."""
    def numbered(prefix):
        found = {int(m[1] or 0): layers[name] for name in layers if (m := re.fullmatch(prefix + r"(?:_(\d+))?", name))}
        return [found[i] for i in sorted(found)]
    convs, dense = numbered("conv2d"), numbered("dense")
    if len(convs) not in VGG_BY_CONVS or len(dense) not in (0, 3) or len(convs) + len(dense) != len(layers):
        raise WeightFileError(f"{path}: {HELP}")
    names = [f"block{block}_conv{i}" for block, depth in enumerate(architectures.VGG[VGG_BY_CONVS[len(convs)]], 1)
             for i in range(1, depth + 1)] + ["fc1", "fc2", "predictions"][:len(dense)]
    if any(set(layer) != {0, 1} for layer in convs + dense):
        raise WeightFileError(f"{path}: {HELP}")
    return {name: {"kernel": layer[0], "bias": layer[1]} for name, layer in zip(names, convs + dense)}


# --------------------------------------------------------------------------------------------------------- the weights

def _torch_layout(parts):
    """OIHW -> HWIO as a view; (out, in) stays until _fill knows which layers are dense."""
    weight = parts.get("weight")
    if weight is not None and weight.ndim == 4:
        parts = {**parts, "weight": weight.transpose(2, 3, 1, 0)}
    elif weight is not None and weight.ndim == 2:
        parts = {**parts, "weight": weight.T}
    return parts


def _fill(architecture, head, path, form, layers, order):
    """The table of an architecture with widths, classes and input size taken from the arrays {layer: {part: array}}."""
    description = architectures.table(architecture, head)
    draft = Draft(form, architecture=architecture, logits_layer=description["logits_layer"],
                  features_layer=description["features_layer"])
    channels = None
    for row in description["layers"]:
        settings = dict(row.settings)
        if row.kind in ("conv", "linear"):
            parts = layers.get(row.name, {})
            if set(parts) != {"weight", "bias"} or any(array.ndim == 0 for array in parts.values()):
                raise WeightFileError(f"{path}: layer {row.name} has {', '.join(parts) or 'nothing'}, not weight, bias")
            if row.kind == "conv":
                if parts["weight"].ndim != 4 or list(parts["weight"].shape[:2]) != settings["kernel"]:
                    raise WeightFileError(f"{path}: layer {row.name}: weight has shape {parts['weight'].shape} (h, w, "
                                          f"in, out), but {architecture} has kernels of {settings['kernel']}")
                channels = settings["filters"] = parts["weight"].shape[3]
            else:
                if parts["weight"].ndim == 4:                       # timm: a dense layer written as a convolution
                    h, w, C, K = parts["weight"].shape
                    view = parts["weight"].transpose(2, 0, 1, 3)    # back to rows in the order C, H, W
                    parts = {**parts, "weight": Rearranged(view.reshape(C, h * w, K), (C * h * w, K))}
                settings["outputs"] = parts["weight"].shape[-1]
                if row.name == "fc6":
                    _set_input_size(draft, parts["weight"].shape[0], channels, architecture, path)
            for part, array in parts.items():
                draft.weights[f"{row.name}/{part}"] = array
        if row.kind == "flatten":
            settings["order"] = order
        draft.rows.append(Layer(row.name, row.kind, row.inputs, **settings))
    draft.output = draft.rows[-1].name
    return draft


def _set_input_size(draft, values, channels, architecture, path):
    """fc6 reads side x side x channels values: VGG has pooled 5 times by then; AlexNet is read at 224 only."""
    side = math.isqrt(values // channels) if channels else 0
    alexnet = architecture.startswith("alexnet")
    if not 1 <= side <= 64 or side * side * channels != values or (alexnet and side != 6):
        raise WeightFileError(f"{path}: layer fc6 takes {values} values, which is no square of {channels} channels as "
                              f"{architecture} gives them")
    pixels = 224 if alexnet else 32 * side
    draft.rows[0] = Layer("input", "input", shape=[pixels, pixels, 3])


def _insert_norm(draft, conv, parts, path):
    """A batch_norm row between a convolution and its ReLU; fold_batch_norms then takes it out again."""
    if set(parts) != {"weight", "bias", "mean", "var"}:
        raise WeightFileError(f"{path}: layer {conv}: its batch normalisation lacks some of its four arrays")
    spell_out_inputs(draft)
    at = next(i for i, row in enumerate(draft.rows) if row.name == conv) + 1
    reader, name = draft.rows[at], f"{conv}_norm"
    draft.rows[at] = Layer(reader.name, reader.kind, [name], **reader.settings)
    draft.rows.insert(at, Layer(name, "batch_norm", [conv]))
    for theirs, ours in (("weight", "scale"), ("bias", "shift"), ("mean", "mean"), ("var", "var")):
        draft.weights[f"{name}/{ours}"] = np.asarray(parts[theirs])


def rename_if_known(draft):
    """Canonical names for a network of any origin that computes like one in architectures.py, row for row.

    Compared are kinds, kernels, strides, paddings and connections, not widths; dropout may be there or not, and a last
    softmax is added where it is missing.
    """
    ours, mine = _shape_of(draft.rows, Table(draft.rows).reads)
    for architecture in architectures.TABLES:
        for head in (True, False):
            known, theirs = _known_shape(architecture, head)
            lacks_softmax = theirs[-1][0] == "softmax" and mine == theirs[:-1]
            if mine == theirs or lacks_softmax:
                names = {row.name: other.name for row, other in zip(ours, known)}
                _rename(draft, {**names, draft.rows[0].name: "input"})
                draft.architecture, draft.features_layer = architecture, None
                if lacks_softmax:
                    draft.add("prob", "softmax", [draft.output])
                return


def _shape_of(rows, reads):
    """(rows without dropout, what each computes and from which): equal lists are equal networks but for widths."""
    kept = [row for row in rows if row.kind not in ("dropout", "input")]
    skip = {row.name: reads[row.name][0] for row in rows if row.kind == "dropout"}

    def source(name):
        while name in skip:
            name = skip[name]
        return name
    place = {rows[0].name: -1, **{row.name: i for i, row in enumerate(kept)}}
    return kept, [(row.kind, [place[source(name)] for name in reads[row.name]], _pairs(row["kernel"]),
                   _pairs(row["stride"]) or _pairs(row["kernel"]), _sides(row["pad"]), row["groups"],
                   _pairs(row["dilation"]), row["ceil"]) for row in kept]


@functools.cache
def _known_shape(architecture, head):
    table = Table(architectures.table(architecture, head)["layers"])
    return _shape_of(table.layers, table.reads)


def _pairs(value):
    """2, [2, 2] and (2, 2) are the same setting."""
    return [value, value] if type(value) is int else value and list(value)


def _sides(pad):
    return [pad] * 4 if type(pad) is int else list(pad) if isinstance(pad, (list, tuple)) else pad


def _rename(draft, names):
    taken = set(names.values())
    for row in draft.rows:
        if row.name not in names:
            names[row.name] = row.name if row.name not in taken else f"{row.name}_of_file"
            taken.add(names[row.name])
    draft.rows = [Layer(names[row.name], row.kind, row.inputs and [names[i] for i in row.inputs], **row.settings)
                  for row in draft.rows]
    draft.weights = {f"{names[key.rsplit('/', 1)[0]]}/{key.rsplit('/', 1)[1]}": array
                     for key, array in draft.weights.items()}
    draft.output, draft.logits_layer = names[draft.output], draft.logits_layer and names[draft.logits_layer]
