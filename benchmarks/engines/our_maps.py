"""Attribution maps by minivis: the technique as a user calls it, from the uint8 picture to the map."""
import importlib

import numpy as np

from . import NOISE, PICTURE_MEAN, PICTURE_STD, SAMPLES, STEPS

OPTIONS = {"integrated_gradients": {"steps": STEPS}, "smoothgrad": {"samples": SAMPLES, "noise": NOISE},
           "lrp": {"preset": "preset_a_flat"}, "scorecam": {"upsample": "corners"}}
CAMS = ("gradcam", "xgradcam", "layercam", "eigencam", "scorecam")


def build(case, net):
    from minivis.network import Network
    net = Network(net.table, net.weights.arrays(), net.logits_layer, precision=net.precision, preprocessing={
        "size": list(case.shape[1:3]), "channels": "RGB", "range": 1, "mean": PICTURE_MEAN.tolist(),
        "std": PICTURE_STD.tolist()}).with_memory(case.memory)
    picture, name = case.picture(), case.technique
    function = getattr(importlib.import_module(f"minivis.techniques.{name}"), name)
    options = OPTIONS.get(name, {})
    if name in CAMS:
        options = {"upsample": "half_pixel", "layer": case.layer, **options}
    if name != "eigencam":
        options = {"target": int(net(net.preprocess(picture))[net.logits_layer].numpy().argmax()), **options}

    def run():
        values = function(net, picture, **options).values
        if name in CAMS:                    # pytorch-grad-cam scales to 0..1
            values = (values - values.min()) / (np.ptp(values) or 1)
        return {"map": values[None] if values.ndim == 3 else values[None, :, :, None]}
    return run
