"""What the published families of weights expect as input. They are different numbers, not one file in several formats.

caffe         Oxford's release of 2014 and its ports (Keras, jcjohnson's .pth, Gatys): BGR, 0..255, minus the mean
matconvnet    the same training with the channels turned to RGB
torchvision   re-trained in 2017: RGB, 0..1, minus mean, divided by deviation
amdegroot     Oxford's features in torchvision's form: RGB, 0..1, that mean, deviation 1/255
"""

from ..errors import MinivisError

IMAGENET_MEAN, IMAGENET_STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
_RGB = {"interpolation": "bilinear", "antialias": True, "channels": "RGB"}

FAMILIES = {
    "caffe": {**_RGB, "channels": "BGR", "range": 255, "mean": [103.939, 116.779, 123.68], "std": [1.0, 1.0, 1.0]},
    "matconvnet": {**_RGB, "range": 255, "mean": [123.68, 116.779, 103.939], "std": [1.0, 1.0, 1.0]},
    "torchvision": {**_RGB, "range": 1, "mean": IMAGENET_MEAN, "std": IMAGENET_STD},
    "amdegroot": {**_RGB, "range": 1, "mean": [0.48235, 0.45882, 0.40784], "std": [1 / 255] * 3},
    "minus1to1": {**_RGB, "range": 255, "mean": [127.5] * 3, "std": [127.5] * 3},
    "0to255": {**_RGB, "range": 255, "mean": [0.0] * 3, "std": [1.0] * 3},
    "0to1": {**_RGB, "range": 1, "mean": [0.0] * 3, "std": [1.0] * 3},
}
CROPPED = ("caffe", "matconvnet", "torchvision", "amdegroot")    # trained on centre crops, 224 of 256


def preprocessing(family, shape):
    """The fields of a weights file for an input (H, W, 3); a free size gives no resizing."""
    if family not in FAMILIES:
        raise MinivisError(f"preprocessing {family!r} is not one of {', '.join(FAMILIES)}")
    H, W = shape[:2]
    free = H is None or W is None
    cropped = family in CROPPED and not free
    return {"size": None if free else [H, W], "resize": round(min(H, W) * 256 / 224) if cropped else None,
            "crop": "centre" if cropped else "none", **FAMILIES[family]}
