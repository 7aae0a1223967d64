"""Attribution maps by the libraries that people use: Captum, zennit and pytorch-grad-cam on PyTorch.

Each function takes (net, x, index, case) and returns run() -> map (1, C, H, W), the library being called as its
documentation says. Weights are frozen, and where a library wants a gradient at a layer only what leads to that layer
asks for one, so that no rival does more than it must.
"""
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from .. import networks
from ..maps import MASKS, SAMPLES, SEGMENTS, STEPS, STRIDE, WINDOW
from ..stand_in import stand_in
from . import PICTURE_MEAN, PICTURE_STD, Unsupported, noisy
from .our_maps import BASELINES

AT_ONCE = 5             # pictures in a batch where a technique looks at many


class Net(nn.Module):
    """The layers on disk as modules, for libraries that hang hooks on them."""

    def __init__(self, folder, placed):
        super().__init__()
        self.rows = networks.read_layers(folder)
        self.made = nn.ModuleDict({row["name"]: _module(row, folder, placed) for row in self.rows})
        self.requires_grad_(False)

    def forward(self, x):
        values = {"input": x}
        for row in self.rows:
            values[row["name"]] = self.made[row["name"]](*(values[n] for n in row["inputs"]))
        return values[row["name"]]

    def ask_at(self, layer):
        """Let gradients reach a layer and no further: the biases of the convolutions that end in it ask for them."""
        todo = [layer]
        while todo:
            name = todo.pop()
            row = next(r for r in self.rows if r["name"] == name)
            if row["kind"] == "conv":
                self.made[row["name"]].bias.requires_grad_(True)
            else:
                todo += row["inputs"]
        return self.made[layer]


class Concat(nn.Module):
    def forward(self, *xs):
        return torch.cat(xs, 1)


class Flatten(nn.Module):
    def forward(self, x):
        return x.permute(0, 2, 3, 1).flatten(1)


def _module(row, folder, placed):
    kind, pad = row["kind"], row.get("pad", [0] * 4)
    if pad[0] != pad[1] or pad[2] != pad[3]:
        raise Unsupported(f"layer {row['name']} pads its sides differently")
    w, b = (networks.read_weight(folder, row["name"], which) for which in ("weight", "bias"))
    pad = (pad[0], pad[2])
    if kind == "conv":
        made = nn.Conv2d(w.shape[1] * row["groups"], w.shape[0], w.shape[2:], row["stride"], pad, row["dilation"],
                         row["groups"])
    elif kind == "linear":
        made = nn.Linear(w.shape[1], w.shape[0])
    else:
        kinds = {"relu": nn.ReLU, "dropout": nn.Dropout, "concat": Concat, "flatten": Flatten,
                 "global_avg_pool": lambda: nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
                 "max_pool": lambda: nn.MaxPool2d(row["size"], row["stride"], pad, ceil_mode=row["ceil"])}
        if kind not in kinds:
            raise Unsupported(f"no module for layers of kind {kind}")
        return kinds[kind]()
    made.weight, made.bias = nn.Parameter(placed(w)), nn.Parameter(placed(b))
    return made


def build(case, folder, placed):
    stand_in("torchvision", "ttach", "cv2")
    net = Net(folder, placed).eval()
    x = placed(_normalised(case.picture()[None]))
    base = placed(np.broadcast_to(((0 - PICTURE_MEAN) / PICTURE_STD).astype(np.float32)[:, None, None],
                                  x.shape[1:])[None].copy())
    with torch.inference_mode():
        index = int(net(x).argmax())
    run = MAPS[case.technique](net, x, base, index, case)
    return lambda: {"map": run()}


def _normalised(pictures):
    """(N, 3, H, W) of uint8 pictures (N, H, W, 3)."""
    pictures = (pictures / np.float32(255) - PICTURE_MEAN) / PICTURE_STD
    return np.ascontiguousarray(pictures.astype(np.float32).transpose(0, 3, 1, 2))


# -------------------------------------------------------------------------------------------------------------- Captum

def saliency(net, x, base, index, case):
    from captum.attr import Saliency
    return lambda: Saliency(net).attribute(x, target=index).amax(1, keepdim=True)


def input_x_gradient(net, x, base, index, case):
    from captum.attr import InputXGradient
    return lambda: InputXGradient(net).attribute(x, target=index).sum(1, keepdim=True)


def integrated_gradients(net, x, base, index, case):
    from captum.attr import IntegratedGradients
    return lambda: IntegratedGradients(net).attribute(x, base, target=index, n_steps=STEPS,
                                                      internal_batch_size=AT_ONCE).sum(1, keepdim=True)


def smoothgrad(net, x, base, index, case):
    """Captum's gradients of our noisy pictures: its NoiseTunnel would draw others."""
    from captum.attr import Saliency

    def run():
        clean, total = x.permute(0, 2, 3, 1)[0].numpy(), 0
        for first in range(0, SAMPLES, AT_ONCE):
            batch = np.stack([noisy(clean, i) for i in range(first, first + AT_ONCE)]).transpose(0, 3, 1, 2)
            batch = torch.from_numpy(np.ascontiguousarray(batch)).to(x.dtype)
            total = total + Saliency(net).attribute(batch, target=index, abs=False).sum(0, keepdim=True)
        return (total / SAMPLES).abs().amax(1, keepdim=True)
    return run


def guided_backprop(net, x, base, index, case):
    from captum.attr import GuidedBackprop
    return lambda: GuidedBackprop(net).attribute(x, target=index)


def deconvnet(net, x, base, index, case):
    from captum.attr import Deconvolution
    return lambda: Deconvolution(net).attribute(x, target=index)


def unit_gradient(net, x, base, index, case):
    from captum.attr import NeuronGradient
    layer, _, place = case.layer.partition(":")
    channel, row, column = map(int, place.replace("@", ",").split(","))
    method = NeuronGradient(net, net.made[layer])
    return lambda: method.attribute(x, (channel, row, column))


def expected_gradients(net, x, base, index, case):
    from captum.attr import GradientShap
    others = torch.from_numpy(_normalised(case.baselines(BASELINES))).to(x.dtype)
    return lambda: GradientShap(net).attribute(x, others, target=index, n_samples=SAMPLES).sum(1, keepdim=True)


def deeplift(net, x, base, index, case):
    from captum.attr import DeepLift
    return lambda: DeepLift(net).attribute(x, base, target=index).sum(1, keepdim=True)


def guided_gradcam(net, x, base, index, case):
    from captum.attr import GuidedGradCam
    method = GuidedGradCam(net, net.made[case.layer])
    return lambda: method.attribute(x, target=index, interpolate_mode="bilinear")


def occlusion(net, x, base, index, case):
    from captum.attr import Occlusion

    def run():
        with torch.inference_mode():
            return Occlusion(net).attribute(x, (3, WINDOW, WINDOW), strides=(3, STRIDE, STRIDE), baselines=base,
                                            target=index, perturbations_per_eval=AT_ONCE)[:, :1]
    return run


def by_superpixels(name):
    """Captum's FeatureAblation, Lime or KernelShap; the superpixels are cut as part of the map."""
    def made(net, x, base, index, case):
        import captum.attr

        from minivis.superpixels import superpixels
        sampled = {"n_samples": MASKS} if name != "FeatureAblation" else {}

        def run():
            mask = torch.as_tensor(superpixels(case.picture(), SEGMENTS))[None, None]
            with torch.inference_mode():
                return getattr(captum.attr, name)(net).attribute(x, baselines=base, target=index, feature_mask=mask,
                                                                 perturbations_per_eval=AT_ONCE, **sampled)[:, :1]
        return run
    return made


def rise(net, x, base, index, case):
    """As the authors' code does: masks made, pictures masked in batches, probabilities times masks summed."""
    from minivis.techniques.rise import Masks

    def run():
        masks, total = Masks(tuple(x.shape[2:]), 7, 0.5, 0), 0
        with torch.inference_mode():
            for first in range(0, MASKS, AT_ONCE):
                m = torch.as_tensor(np.stack([masks(i) for i in range(first, first + AT_ONCE)])).to(x.dtype)
                p = torch.softmax(net(x * m[:, None]), 1)[:, index]
                total = total + (p[:, None, None] * m).sum(0)
        return (total / MASKS / 0.5)[None, None]
    return run


# -------------------------------------------------------------------------------------------------------------- zennit

def lrp(net, x, base, index, case):
    """Epsilon on dense layers, alpha 1 beta 0 on convolutions, flat on the first layer."""
    from zennit import rules
    from zennit.attribution import Gradient
    from zennit.composites import SpecialFirstLayerMapComposite
    from zennit.types import Activation, AvgPool, Convolution, Linear
    composite = SpecialFirstLayerMapComposite(
        [(Activation, rules.Pass()), (AvgPool, rules.Norm()), (Convolution, rules.AlphaBeta(1, 0)),
         (Linear, rules.Epsilon(0.1))], [((Convolution, Linear), rules.Flat())])

    def seed(output):
        return output * F.one_hot(torch.tensor([index]), output.shape[1])

    def run():
        with Gradient(net, composite) as attributor:
            return attributor(x.clone(), seed)[1].sum(1, keepdim=True)
    return run


def excitation_backprop(net, x, base, index, case):
    from zennit.attribution import Gradient
    from zennit.composites import ExcitationBackprop

    def run():
        with Gradient(net, ExcitationBackprop()) as attributor:
            seed = F.one_hot(torch.tensor([index]), attributor.model(x).shape[1]).to(x.dtype)
            return attributor(x.clone(), seed)[1].sum(1, keepdim=True)
    return run


# ---------------------------------------------------------------------------------------------------- pytorch-grad-cam

def cam(module, name, corners=False):
    def made(net, x, base, index, case):
        import importlib

        from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
        kind = getattr(importlib.import_module(f"pytorch_grad_cam.{module}"), name)
        layer = net.ask_at(case.layer)
        size = []
        layer.register_forward_hook(lambda module, inputs, output: size.append(output.shape[:1:-1]))
        if corners:         # Score-CAM enlarges its masks with corners aligned; let its map be enlarged so, too
            kind = type(name, (kind,), {"get_target_width_height": lambda self, x: size[0]})
        made = kind(net, [layer])

        def run():
            small = torch.from_numpy(np.ascontiguousarray(made(x, [ClassifierOutputTarget(index)])))[None]
            return F.interpolate(small, x.shape[2:], mode="bilinear", align_corners=True) if corners else small
        return run
    return made


def full_gradient(net, x, base, index, case):
    from pytorch_grad_cam.fullgrad_cam import FullGrad
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
    net.requires_grad_(True)            # it hangs on the gradients of all layers
    made = FullGrad(net, [])
    return lambda: torch.from_numpy(np.ascontiguousarray(made(x.clone(), [ClassifierOutputTarget(index)])))[None]


MAPS = {"saliency": saliency, "input_x_gradient": input_x_gradient, "integrated_gradients": integrated_gradients,
        "smoothgrad": smoothgrad, "guided_backprop": guided_backprop, "deconvnet": deconvnet, "lrp": lrp,
        "gradcam": cam("grad_cam", "GradCAM"), "xgradcam": cam("xgrad_cam", "XGradCAM"),
        "layercam": cam("layer_cam", "LayerCAM"), "eigencam": cam("eigen_cam", "EigenCAM"),
        "scorecam": cam("score_cam", "ScoreCAM", corners=True), "unit_gradient": unit_gradient,
        "expected_gradients": expected_gradients, "deeplift": deeplift, "guided_gradcam": guided_gradcam,
        "occlusion": occlusion, "feature_ablation": by_superpixels("FeatureAblation"), "lime": by_superpixels("Lime"),
        "kernel_shap": by_superpixels("KernelShap"), "rise": rise, "excitation_backprop": excitation_backprop,
        "gradcam_plus_plus": cam("grad_cam_plusplus", "GradCAMPlusPlus"),
        "ablation_cam": cam("ablation_cam", "AblationCAM"), "full_gradient": full_gradient}
