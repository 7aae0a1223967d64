"""The settings of published work on optimised pictures, by name.

Sizes of steps and penalties are in grey levels of pixels counted from the mean colour, as Caffe's networks take them;
what a paper states in units of another network's input is converted (a standard deviation is about 57 grey levels).
"""
from ..errors import MinivisError

PLAIN = {
    "parameterization": "pixels", "optimizer": "sgd", "normalize": "none", "momentum": 0.0, "policy": "constant",
    "rate": 1.0, "progress": 2.0, "steps": 200, "noise": 10.0, "l2": 0.0, "tv": 0.0, "rivals": 0.0, "decay": 0.0,
    "blur": 0.0, "blur_every": 4, "clip_values": 0.0, "clip_by": "norm", "clip_contributions": 0.0,
    "clip_signed": False, "jitter": 0, "scale": 0.0, "angle": 0.0, "margin": 0, "wrap": False, "clip": True,
    "positions": "centre", "falloff": 1.0, "decorrelate": True, "bound": 3.0, "filters": None, "settle": False,
}
YOSINSKI = {**PLAIN, "rate": 1000.0, "steps": 300}          # rates: found by looking, on SqueezeNet

PRESETS = {
    # Olah, Mordvintsev, Schubert 2017, and the code of Lucid: a spectrum of noise, seen shifted, scaled and turned
    "lucid": {**PLAIN, "parameterization": "fourier", "optimizer": "adam", "rate": 0.05, "steps": 256, "noise": 0.01,
              "jitter": 8, "scale": 0.1, "angle": 10.0, "margin": 12, "rivals": 5.0, "positions": "all"},
    # Simonyan et al. 2014, section 2: from the mean picture, an L2 penalty; the paper gives no numbers
    "simonyan": {**PLAIN, "rate": 400.0, "normalize": "l2", "momentum": 0.5, "l2": 3e-7, "noise": 1.0},
    # Yosinski et al. 2015, table 1: four settings found by random search
    "yosinski1": {**YOSINSKI, "decay": 0.0, "blur": 0.5, "blur_every": 4, "clip_values": 50.0},
    "yosinski2": {**YOSINSKI, "rate": 20000.0, "decay": 0.3, "clip_values": 20.0},
    "yosinski3": {**YOSINSKI, "rate": 3000.0, "decay": 1e-4, "blur": 1.0, "blur_every": 4},
    "yosinski4": {**YOSINSKI, "rate": 3000.0, "decay": 0.0, "blur": 0.5, "blur_every": 4, "clip_contributions": 90.0},
    # Stanford's course CS231n, assignment 3: rate 25 and penalty 1e-3 in units of a standard deviation
    "cs231n": {**PLAIN, "normalize": "l2", "rate": 1430.0, "steps": 100, "noise": 57.0, "l2": 3e-7, "blur": 0.5,
               "blur_every": 10, "jitter": 16, "wrap": True},
    # Ulyanov, Vedaldi, Lempitsky 2018: the weights of an untrained network are what is optimised
    "deep": {**PLAIN, "parameterization": "deep", "optimizer": "adam", "rate": 0.005, "steps": 256, "noise": 1.0,
             "rivals": 5.0, "jitter": 8, "scale": 0.1, "angle": 10.0, "margin": 12, "positions": "all"},
    # Nguyen et al. 2016: the code of a trained generator is (--generator FILE)
    "generator": {**PLAIN, "parameterization": "generator", "optimizer": "adam", "rate": 0.1, "noise": 0.3,
                  "rivals": 5.0, "jitter": 4, "scale": 0.05, "angle": 5.0, "positions": "all"},
}


# options that do something only with some other option: {option: (the other, what it must be)}
NEEDED = {
    **dict.fromkeys(("momentum", "normalize", "policy", "progress"), ("optimizer", ("sgd",))),
    **dict.fromkeys(("falloff", "decorrelate"), ("parameterization", ("fourier",))),
    "bound": ("parameterization", ("generator",)), "filters": ("parameterization", ("deep",)),
    "settle": ("optimizer", ("adam",)), "clip": ("parameterization", ("pixels", "generator")),
}


def settings(preset, **given):
    """A preset with the options that were given (not None) in place of its own. An option that could not do anything
    beside the others is an error."""
    given = {name: value for name, value in given.items() if value is not None}
    s = {**PRESETS[preset], **given}
    for name, (other, kinds) in NEEDED.items():
        if name in given and s[other] not in kinds:
            raise MinivisError(f"{name.replace('_', '-')} {given[name]} does nothing with {other} {s[other]}, which "
                               f"preset {preset} uses; give --{other} {kinds[0]} too")
    for name, other in (("blur_every", "blur"), ("clip_by", "clip_values"), ("clip_signed", "clip_contributions")):
        if name in given and not s[other]:
            raise MinivisError(f"{name.replace('_', '-')} {given[name]} does nothing without --"
                               f"{other.replace('_', '-')}")
    return s
