"""Attribution maps by minivis: the technique as a user calls it, from the uint8 picture to the map."""
import importlib
import tempfile
from pathlib import Path

import numpy as np

from ..maps import MASKS, SAMPLES, SEGMENTS, STEPS, STRIDE, WINDOW
from . import NOISE, PICTURE_MEAN, PICTURE_STD

PARTS = {"segments": SEGMENTS, "fill": "black"}
OPTIONS = {"integrated_gradients": {"steps": STEPS}, "smoothgrad": {"samples": SAMPLES, "noise": NOISE},
           "lrp": {"preset": "preset_a_flat"}, "scorecam": {"upsample": "corners"}, "unit_gradient": {"check": 0},
           "expected_gradients": {"samples": SAMPLES}, "feature_ablation": PARTS,
           "occlusion": {"size": WINDOW, "stride": STRIDE, "fill": "black"}, "rise": {"samples": MASKS},
           "lime": {"samples": MASKS, "score": "logit", **PARTS}, "kernel_shap": {"samples": MASKS, **PARTS}}
SCALED = ("gradcam", "gradcam_plus_plus", "xgradcam", "layercam", "eigencam", "scorecam", "ablation_cam")
BASELINES = 4


def build(case, net):
    from minivis.network import Network
    net = Network(net.table, net.weights.arrays(), net.logits_layer, precision=net.precision, preprocessing={
        "size": list(case.shape[1:3]), "channels": "RGB", "range": 1, "mean": PICTURE_MEAN.tolist(),
        "std": PICTURE_STD.tolist()}).with_memory(case.memory)
    picture, name = case.picture(), case.technique
    function = getattr(importlib.import_module(f"minivis.techniques.{name}"), name)
    options = dict(OPTIONS.get(name, {}))
    if name in SCALED or name == "guided_gradcam":
        options = {"upsample": "half_pixel", "layer": case.layer, **options}
    index = int(net(net.preprocess(picture))[net.logits_layer].numpy().argmax())
    options |= {"occlusion": {"targets": [index]}, "unit_gradient": {"unit": case.layer}, "eigencam": {}}.get(
        name, {"target": index})
    folder = None
    if name == "expected_gradients":
        from minivis import image
        folder = tempfile.TemporaryDirectory(prefix="minivis-baselines-")        # lives as long as run does
        for i, other in enumerate(case.baselines(BASELINES)):
            image.save(other, Path(folder.name) / f"{i}.png")
        options["baselines"] = folder.name

    def run(folder=folder):
        values = function(net, picture, **options).values
        if name in SCALED:                    # pytorch-grad-cam scales to 0..1
            values = (values - values.min()) / (np.ptp(values) or 1)
        return {"map": values[None] if values.ndim == 3 else values[None, :, :, None]}
    return run
