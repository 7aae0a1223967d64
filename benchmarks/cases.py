"""What is measured: a table of cases. To add one, add a row; a new kind of work goes into the engines' WORK."""
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase

from .maps import MAPS


@dataclass(frozen=True)
class Case:
    """One thing to time.

    work      "forward"          y = net(x), nothing kept for a gradient
              "gradient"         y, then dx for dy = 1 everywhere; weights frozen: no engine is asked for dw
              "input_gradient"   dx of one convolution for a given dy, no forward pass
              "weight_gradient"  dw of one convolution for given x and dy, no forward pass
              "map"              the attribution map of `technique` of a uint8 picture, for its strongest class
    shape     of the input: (N, H, W, C)
    network   a name that networks.py knows; None: the single convolution `conv`
    head      with the dense layers
    conv      (K, kernel, stride, pad, groups)
    memory    bytes that the engine may take for work buffers ("256MB"); engines without such an option ignore it
    peak      also measure the peak memory of a process that does this case alone
    seed      of the input's random numbers
    technique, layer    what makes the map, and of which layer a class activation map is (of which unit a gradient)
    passes    forward passes that a map takes, a gradient counting as two: for GFLOP
    """
    name: str
    work: str
    shape: tuple
    network: str | None = None
    head: bool = False
    conv: tuple | None = None
    precision: str = "float32"
    memory: str | None = None
    peak: bool = False
    seed: int = 1
    technique: str | None = None
    layer: str | None = None
    passes: int = 1

    def picture(self):
        """(H, W, 3) uint8, for maps."""
        import numpy as np
        return np.random.default_rng([3, self.seed]).integers(0, 256, self.shape[1:], dtype=np.uint8)

    def baselines(self, count):
        """Other pictures like it."""
        import numpy as np
        return np.random.default_rng([4, self.seed]).integers(0, 256, (count, *self.shape[1:]), dtype=np.uint8)

    def to_json(self):
        return asdict(self)

    @classmethod
    def from_json(cls, values):
        tuples = {key: tuple(values[key]) for key in ("shape", "conv") if values.get(key) is not None}
        return cls(**{**values, **tuples})


VGG_LAYERS = [(3, 64, 224), (64, 64, 224), (64, 128, 112), (128, 128, 112), (128, 256, 56), (256, 256, 56),
              (256, 512, 28), (512, 512, 28), (512, 512, 14)]                              # (C, K, H = W)

OTHER_LAYERS = [                                # (C, K, H = W, kernel, stride, pad, groups)
    (3, 96, 227, 7, 2, 0, 1),                   # SqueezeNet 1.0: the first layer
    (512, 64, 13, 1, 1, 0, 1),                  # a squeeze of SqueezeNet 1.0
    (64, 256, 54, 1, 1, 0, 1),                  # an expansion by 1 x 1
    (3, 64, 224, 11, 4, 2, 1),                  # AlexNet: the first layer
    (64, 192, 27, 5, 1, 2, 1),                  # AlexNet: the second
    (3, 32, 256, 9, 1, 4, 1),                   # fast style transfer: the first layer
    (32, 64, 256, 3, 2, 1, 1),                  # fast style transfer: downwards
    (128, 128, 56, 3, 1, 1, 128),               # depthwise
]

WEIGHT_GRADIENTS = [(32, 32, 64), (64, 64, 64), (64, 128, 48), (128, 128, 48), (256, 256, 48)]    # batch 128

NETWORKS = {                                    # name: [(side, batch), ...]
    "vgg16": [(224, 1), (224, 8), (512, 1), (1024, 1)],
    "vgg19": [(224, 1), (224, 8), (512, 1), (1024, 1)],
    "squeezenet1_0": [(227, 1), (227, 8), (512, 1), (1024, 1)],
    "alexnet": [(224, 1), (224, 8), (512, 1), (1024, 1)],
}

CONVOLUTIONAL_HEAD = ("squeezenet1_0",)         # up to the logits at any size; of the others the feature layers


def _layers():
    for C, K, side in VGG_LAYERS:
        for work in ("forward", "input_gradient"):
            yield Case(f"layer/{C}-{K}@{side}/{work}", work, (1, side, side, C), conv=(K, 3, 1, 1, 1))
    for C, K, side, kernel, stride, pad, groups in OTHER_LAYERS:
        kind = f"{kernel}x{kernel}" + (f"s{stride}" if stride > 1 else "") + ("dw" if groups > 1 else "")
        for work in ("forward", "input_gradient"):
            yield Case(f"layer-{kind}/{C}-{K}@{side}/{work}", work, (1, side, side, C),
                       conv=(K, kernel, stride, pad, groups))
    for C, K, side in WEIGHT_GRADIENTS:
        yield Case(f"layer/{C}-{K}@{side}b128/weight_gradient", "weight_gradient", (128, side, side, C),
                   conv=(K, 3, 1, 1, 1))


def _networks():
    for network, sizes in NETWORKS.items():
        for side, batch in sizes:
            for work in ("forward", "gradient"):
                yield Case(f"{network}/{side}b{batch}/{work}", work, (batch, side, side, 3), network, peak=True,
                           head=network in CONVOLUTIONAL_HEAD)
    yield Case("vgg16/224b1/gradient/256MB", "gradient", (1, 224, 224, 3), "vgg16", memory="256MB", peak=True)
    yield Case("vgg16-dense/224b1/gradient", "gradient", (1, 224, 224, 3), "vgg16", head=True, peak=True)
    for work in ("forward", "gradient"):        # VGG-16's kernels alone, without Network and tape around them
        yield Case(f"vgg16-chain/224b1/{work}", work, (1, 224, 224, 3), "vgg16-chain", peak=True)


MAP_NETWORKS = {"squeezenet1_0": (227, "fire9", "fire5:7@12,12"), "vgg16": (224, "relu5_3", "relu3_3:7@28,28")}


def map_cases(network):
    """{technique: Case} of a network: its side, the layer of class activation maps, the unit of unit_gradient."""
    side, layer, unit = MAP_NETWORKS[network]
    others = {"unit_gradient": unit}
    if network == "squeezenet1_0":
        others["ablation_cam"] = "drop9"        # grad-cam replaces the layer by one that reads a single input
    return {technique: Case(f"map/{technique}/{network}", "map", (1, side, side, 3), network, head=True,
                            technique=technique, layer=others.get(technique, layer), passes=entry.passes)
            for technique, entry in MAPS.items()}


def _maps():
    for network in MAP_NETWORKS:
        for technique, case in map_cases(network).items():
            if not MAPS[technique].unchecked and not (MAPS[technique].slow and network == "vgg16"):
                yield case


CASES = {case.name: case for case in [*_networks(), *_maps(), *_layers()]}


def select(globs):
    """The cases whose name matches one of the globs, in the order of the table."""
    for glob in globs:
        if not any(fnmatchcase(name, glob) for name in CASES):
            raise ValueError(f"no case matches {glob!r}; `python -m benchmarks list` prints their names")
    return [case for name, case in CASES.items() if any(fnmatchcase(name, glob) for glob in globs)]
