"""The classic networks as layer tables: data that a weights file could hold as well.

TABLES[name](head) gives {"layers", "logits_layer", "features_layer"}; head=False leaves out the dense part (of
SqueezeNet: the classifier), and the network then takes pictures of any size. Names are the classic ones.
"""
from .errors import MinivisError
from .layers import Layer, did_you_mean

VGG = {     # convolutions in each of the five blocks. Simonyan, Zisserman 2015, arXiv:1409.1556
    "vgg11": (1, 1, 2, 2, 2),
    "vgg13": (2, 2, 2, 2, 2),
    "vgg16": (2, 2, 3, 3, 3),
    "vgg19": (2, 2, 4, 4, 4),
}
FIRE = {2: (16, 64), 3: (16, 64), 4: (32, 128), 5: (32, 128), 6: (48, 192), 7: (48, 192), 8: (64, 256), 9: (64, 256)}


def vgg(blocks, head=True):
    """3x3 convolutions in five blocks of 64 to 512 filters, each block ending in 2x2 pooling."""
    layers = _input(224 if head else None)
    for block, (depth, filters) in enumerate(zip(blocks, (64, 128, 256, 512, 512)), 1):
        for i in range(1, depth + 1):
            layers += [Layer(f"conv{block}_{i}", "conv", filters=filters, kernel=[3, 3], pad=1),
                       Layer(f"relu{block}_{i}", "relu")]
        layers.append(Layer(f"pool{block}", "max_pool", kernel=[2, 2]))
    if not head:
        return _table(layers)
    return _table([*layers, _flat(), *_dense(6, 4096), _drop(6), *_dense(7, 4096), _drop(7), *_classes()])


def minivgg(widths=(32, 64, 128, 256, 384), depths=(1, 2, 2, 2, 2), classes=200, head=True, norm=False):
    """A VGG in small, for pictures of any size from 32 pixels up: blocks of 3x3 convolutions, the mean over all
    positions, one dense layer.

    norm   a batch normalisation behind every convolution, for training (see training.fold)
    """
    layers = _input(None)
    for block, (depth, filters) in enumerate(zip(depths, widths), 1):
        for i in range(1, depth + 1):
            layers.append(Layer(f"conv{block}_{i}", "conv", filters=filters, kernel=[3, 3], pad=1, bias=not norm))
            if norm:
                layers.append(Layer(f"norm{block}_{i}", "batch_norm"))
            layers.append(Layer(f"relu{block}_{i}", "relu"))
        layers.append(Layer(f"pool{block}", "max_pool", kernel=[2, 2]))
    if not head:
        return _table(layers)
    layers += [Layer("gap", "global_avg_pool"), Layer("fc8", "linear", outputs=classes), Layer("prob", "softmax")]
    return _table(layers, "fc8", "gap")


def alexnet(head=True):
    """torchvision's form, after Krizhevsky 2014, arXiv:1404.5997: one column, no normalisation."""
    layers = [*_input(224 if head else None), *_conv(1, 64, 11, stride=4, pad=2), _pool(1), *_conv(2, 192, 5, pad=2),
              _pool(2), *_conv(3, 384, 3, pad=1), *_conv(4, 256, 3, pad=1), *_conv(5, 256, 3, pad=1), _pool(5)]
    if not head:
        return _table(layers)
    return _table([*layers, _flat(), _drop(6), *_dense(6, 4096), _drop(7), *_dense(7, 4096), *_classes()])


def alexnet_caffe(head=True):
    """Caffe's form, after Krizhevsky et al. 2012: two groups, local response normalisation, pooling in ceil mode."""
    def norm(n):
        return Layer(f"norm{n}", "lrn", size=5, alpha=1e-4, beta=0.75, k=1.0, per_size=True)

    layers = [*_input(227 if head else None), *_conv(1, 96, 11, stride=4), norm(1), _pool(1, ceil=True),
              *_conv(2, 256, 5, pad=2, groups=2), norm(2), _pool(2, ceil=True), *_conv(3, 384, 3, pad=1),
              *_conv(4, 384, 3, pad=1, groups=2), *_conv(5, 256, 3, pad=1, groups=2), _pool(5, ceil=True)]
    if not head:
        return _table(layers)
    return _table([*layers, _flat(), *_dense(6, 4096), _drop(6), *_dense(7, 4096), _drop(7), *_classes()])


def squeezenet(first, kernel, pools, size, head=True, last_pad=0):
    """Fire modules: a 1x1 squeeze read by 1x1 and 3x3 expansions. Iandola et al. 2016, arXiv:1602.07360.

    first, kernel   filters and size of conv1; pools: after which modules one pools (1 is conv1)
    last_pad        padding of conv10: the first Caffe release has 1
    """
    layers = [*_input(size if head else None), *_conv(1, first, kernel, stride=2), _pool(1, ceil=True)]
    for n, (squeeze, expand) in FIRE.items():
        fire = f"fire{n}"
        layers += [*_conv_relu(f"{fire}_squeeze", squeeze, 1), *_conv_relu(f"{fire}_expand1", expand, 1),
                   *_conv_relu(f"{fire}_expand3", expand, 3, pad=1, inputs=[f"{fire}_squeeze_relu"]),
                   Layer(fire, "concat", [f"{fire}_expand1_relu", f"{fire}_expand3_relu"])]
        if n in pools:
            layers.append(_pool(n, ceil=True))
    if not head:
        return _table(layers, features="fire9")
    layers += [Layer("drop9", "dropout", rate=0.5), Layer("conv10", "conv", filters=1000, kernel=[1, 1], pad=last_pad),
               Layer("relu10", "relu"), Layer("logits", "global_avg_pool"), Layer("prob", "softmax")]
    return _table(layers, "logits", "fire9")


TABLES = {
    **{name: (lambda head=True, blocks=blocks: vgg(blocks, head)) for name, blocks in VGG.items()},
    "alexnet": alexnet,
    "alexnet_caffe": alexnet_caffe,
    "minivgg": lambda head=True: minivgg(head=head),
    "squeezenet1_0": lambda head=True: squeezenet(96, 7, (4, 8), 224, head),
    "squeezenet1_1": lambda head=True: squeezenet(64, 3, (3, 5), 224, head),
    "squeezenet1_0_caffe": lambda head=True: squeezenet(96, 7, (4, 8), 227, head, last_pad=1),
    "squeezenet1_1_caffe": lambda head=True: squeezenet(64, 3, (3, 5), 227, head),
}


def table(name, head=True):
    """The table of an architecture by name."""
    if name not in TABLES:
        raise MinivisError(f"no architecture {name!r}{did_you_mean(name, TABLES)}; there are {', '.join(TABLES)}")
    return TABLES[name](head)


# ------------------------------------------------------------------------------------------------------------- pieces

def _input(size):
    return [Layer("input", "input", shape=[size, size, 3])]


def _conv_relu(name, filters, kernel, inputs=None, **how):
    return [Layer(name, "conv", inputs, filters=filters, kernel=[kernel, kernel], **how), Layer(f"{name}_relu", "relu")]


def _conv(n, filters, kernel, **how):
    return [Layer(f"conv{n}", "conv", filters=filters, kernel=[kernel, kernel], **how), Layer(f"relu{n}", "relu")]


def _pool(n, ceil=False):
    return Layer(f"pool{n}", "max_pool", kernel=[3, 3], stride=2, **({"ceil": True} if ceil else {}))


def _flat():
    return Layer("flatten", "flatten")


def _dense(n, outputs):
    return [Layer(f"fc{n}", "linear", outputs=outputs), Layer(f"relu{n}", "relu")]


def _drop(n):
    return Layer(f"drop{n}", "dropout", rate=0.5)


def _classes():
    return [Layer("fc8", "linear", outputs=1000), Layer("prob", "softmax")]


def _table(layers, logits=None, features=None):
    if layers[-1].kind == "softmax" and logits is None:
        logits, features = "fc8", "relu7"
    return {"layers": layers, "logits_layer": logits, "features_layer": features}
