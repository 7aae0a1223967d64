"""Write minivis/golden/attribution/*.npz: what Captum, zennit, pytorch-grad-cam and PyTorch compute in float64 for
attribution techniques, on the networks of tools/make_golden.py.

    python -m tools.golden_attribution [NAME ...]

Needs the extras `bench` and `peers` (torchvision, ttach and OpenCV, which zennit and pytorch-grad-cam import but do not
use here, are stood in for). What each array is from stands in `about["tools"]`. Where a tool rounds to float32 on the
way (pytorch-grad-cam's Score-, Ablation- and Eigen-CAM) its published formula is computed with PyTorch instead; so is
DeepLIFT beyond a max pooling, where Captum 0.9 with PyTorch 2.13 misses completeness (its own convergence delta on the
network "vgg" is -3.2 for a score difference of that order). Captum's casts to float32 are made casts to float64. Where
a tool draws random numbers it is given those of minivis.
"""
import json
import sys
from importlib import metadata
from pathlib import Path
from unittest import mock

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.stand_in import stand_in
from minivis import golden
from minivis.preprocessing import Preprocessing
from tools import torch_reference


class Net(nn.Module):
    """A layer table as PyTorch modules, for tools that hang hooks on them; from layer `start` to layer `end`."""

    def __init__(self, layers, weights, end, start="input"):
        super().__init__()
        self.rows, self.end, self.start = layers, end, start
        self.made = nn.ModuleDict({row["name"]: m for row in layers if (m := _module(row, weights)) is not None})

    def forward(self, x):
        values, above, begun = {self.start: x}, None, False
        for row in self.rows:
            name, ins = row["name"], row.get("inputs", [above])
            above, was = name, begun
            begun = begun or name == self.start
            if not was:
                continue
            ins = [values[n] for n in ins]
            if row["kind"] == "concat":
                values[name] = self.made[name](*ins)
            elif row["kind"] == "flatten":
                values[name] = ins[0].flatten(1)
            elif row["kind"] == "global_avg_pool":
                values[name] = self.made[name](ins[0]).flatten(1)
            else:
                values[name] = self.made[name](ins[0])
            if name == self.end:
                break
        return values[self.end]


class Concat(nn.Module):
    def forward(self, *ins):
        return torch.cat(ins, 1)


def _module(row, weights):
    kind, name = row["kind"], row["name"]
    part = {k: torch.as_tensor(weights[f"{name}/{k}"]) for k in ("weight", "bias") if f"{name}/{k}" in weights}
    if kind == "conv":
        w = part["weight"].permute(3, 2, 0, 1)
        made = nn.Conv2d(w.shape[1], w.shape[0], w.shape[2:], stride=row.get("stride", 1), padding=row.get("pad", 0))
    elif kind == "linear":
        w = part["weight"].T
        made = nn.Linear(w.shape[1], w.shape[0])
    elif kind == "batch_norm":
        return _batch_norm(row, weights)
    else:
        return {"relu": nn.ReLU, "concat": Concat, "global_avg_pool": lambda: nn.AdaptiveAvgPool2d(1),
                "max_pool": lambda: nn.MaxPool2d(row["kernel"], row.get("stride"), row.get("pad", 0),
                                                 ceil_mode=row.get("ceil", False))}.get(kind, lambda: None)()
    made.weight = nn.Parameter(w.contiguous())
    made.bias = nn.Parameter(part["bias"]) if "bias" in part else None
    return made.double()


def _batch_norm(row, weights):
    name = row["name"]
    scale, shift, mean, var = (torch.as_tensor(weights[f"{name}/{k}"]) for k in ("scale", "shift", "mean", "var"))
    made = nn.BatchNorm2d(len(scale), row["eps"]).double().eval()
    made.weight, made.bias, made.running_mean, made.running_var = nn.Parameter(scale), nn.Parameter(shift), mean, var
    return made


def captum_maps(net, x, base, index, others, layer):
    """Captum's maps of a class, (N, C, H, W) -> {name: (H, W, C)}."""
    from captum.attr import GuidedGradCam, InputXGradient, IntegratedGradients
    found = {"input_x_gradient": InputXGradient(net).attribute(x, target=index)}
    for method, name in (("gausslegendre", "gausslegendre"), ("riemann_left", "left"), ("riemann_right", "right"),
                         ("riemann_middle", "midpoint"), ("riemann_trapezoid", "trapezoid")):
        with torch_reference.in_float64():
            found[f"integrated_gradients_{name}"] = IntegratedGradients(net).attribute(
                x, base, target=index, n_steps=STEPS, method=method)
    found["guided_gradcam_half_pixel"] = GuidedGradCam(net, net.made[layer]).attribute(
        x, target=index, interpolate_mode="bilinear")
    found["expected_gradients"] = expected_gradients(net, x, others, index)
    # its trapezoid's weights sum to (n - 1) / n: brought to 1
    found["integrated_gradients_trapezoid"] = found["integrated_gradients_trapezoid"] * (STEPS / (STEPS - 1))
    return found


def expected_gradients(net, x, others, index):
    """Captum's GradientShap with the draws of minivis in the place of its own."""
    from captum.attr import GradientShap

    from minivis.techniques.expected_gradients import draws
    which, place = zip(*draws(0, DRAWS, len(others)), strict=True)
    with mock.patch("numpy.random.choice", lambda *_, **__: np.array(which)), \
            mock.patch("numpy.random.uniform", lambda *_: np.array(place)):
        return GradientShap(net).attribute(x, others, target=index, n_samples=DRAWS, stdevs=0.0)


def captum_saliency(net, x, index):
    """{name: (H, W)}: Captum's |gradient|, its colours reduced."""
    from captum.attr import Saliency
    g = torch_reference.channels_last(Saliency(net).attribute(x, target=index))[0]
    return {"saliency_max": g.max(2), "saliency_mean": g.mean(2), "saliency_l2": np.sqrt((g ** 2).sum(2))}


class Flat(nn.Module):
    """A network whose output is one vector of units in the order (channel, row, column)."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        return self.net(x).flatten(1)


def captum_unit(net, x, base):
    """Captum's DeepLIFT of the strongest unit of a network's output, and (channel, row, column) of it."""
    from captum.attr import DeepLift
    y = net(x)[0].detach()
    best = int(y.flatten().argmax())
    values, delta = DeepLift(Flat(net)).attribute(x, base, target=best, return_convergence_delta=True)
    assert abs(float(delta)) < 1e-9, f"Captum's DeepLIFT is not complete: {float(delta)}"
    return values, [int(i) for i in np.unravel_index(best, y.shape)]


STEPS, SAMPLES, NOISE, DRAWS, OTHERS, CHANNEL = 7, 5, 0.15, 6, 3, 2


def zennit_maps(make, x, index, low, high):
    """zennit's relevance of a class, one composite per name, for networks made by make(); norms are folded first."""
    from zennit import rules
    from zennit.attribution import Gradient
    from zennit.canonizers import SequentialMergeBatchNorm
    from zennit.composites import LayerMapComposite, SpecialFirstLayerMapComposite
    from zennit.types import Activation, AvgPool, Convolution, Linear
    rest = [(Activation, rules.Pass()), (AvgPool, rules.Norm())]

    def run(dense, conv, at_first=None):
        layer_map = [*rest, (Convolution, conv), (Linear, dense)]
        fold = [SequentialMergeBatchNorm()]
        composite = LayerMapComposite(layer_map, fold) if at_first is None else SpecialFirstLayerMapComposite(
            layer_map, [((Convolution, Linear), at_first)], fold)
        net = make()

        def seed(output):
            return output * nn.functional.one_hot(torch.tensor([index]), output.shape[1])
        with Gradient(net, composite) as attributor:
            return attributor(x, seed)[1]
    no_bias = {"zero_params": ["bias"]}
    ab1, ab2 = rules.AlphaBeta(1, 0), rules.AlphaBeta(2, 1)
    return {
        "lrp_epsilon": run(rules.Epsilon(1e-6), rules.Epsilon(1e-6)),
        "lrp_gamma": run(rules.Gamma(0.25), rules.Gamma(0.25)),
        "lrp_z_plus": run(rules.ZPlus(**no_bias), rules.ZPlus(**no_bias)),
        "lrp_alpha2_beta1": run(ab2, ab2),
        "lrp_preset_a": run(rules.Epsilon(0.1), ab1),
        "lrp_preset_b": run(rules.Epsilon(0.1), ab2),
        "lrp_preset_a_flat": run(rules.Epsilon(0.1), ab1, rules.Flat()),
        "lrp_preset_b_flat": run(rules.Epsilon(0.1), ab2, rules.Flat()),
        "lrp_epsilon_gamma_box": run(rules.Epsilon(1e-6), rules.Gamma(0.25), rules.ZBox(low, high)),
        "lrp_deep_taylor": run(rules.ZPlus(**no_bias), rules.ZPlus(**no_bias), rules.WSquare(**no_bias)),
        "lrp_bounded_deep_taylor": run(rules.ZPlus(**no_bias), rules.ZPlus(**no_bias), rules.ZBox(low, high)),
    }


def excitation_map(net, a, index, against=None):
    """zennit's z+ without biases from one at the class down to the layer with activations a.

    against    the top layer with weights: there the negative weights draw (the dual unit's)"""
    from zennit import rules
    from zennit.attribution import Gradient
    from zennit.canonizers import SequentialMergeBatchNorm
    from zennit.composites import LayerMapComposite, MixedComposite, NameMapComposite
    from zennit.core import BasicHook, Stabilizer
    from zennit.types import Activation, AvgPool, Convolution, Linear
    z_plus = rules.ZPlus(stabilizer=1e-300, zero_params=["bias"])

    def negative(param, name):
        return (-param).clamp(min=0) if name == "weight" else param * 0
    inhibit = BasicHook([lambda x: x.clamp(min=0)], [negative], [lambda y: y],
                        (lambda out_grad, outputs: [out_grad / Stabilizer.ensure(1e-300)(outputs[0])]),
                        (lambda inputs, gradients: inputs[0] * gradients[0]))
    rest = LayerMapComposite([(Activation, rules.Pass()), (AvgPool, rules.Norm()), (Convolution, z_plus),
                              (Linear, z_plus)], [SequentialMergeBatchNorm()])
    named = [NameMapComposite([([f"made.{against}"], inhibit)])] if against else []
    with Gradient(net, MixedComposite([*named, rest])) as attributor:
        return attributor(a, nn.functional.one_hot(torch.tensor([index]), net(a).shape[1]).double())[1]


def cam_maps(a, g):
    """pytorch-grad-cam's maps before ReLU and resizing, from activations and gradients (1, K, h, w)."""
    from pytorch_grad_cam.grad_cam import GradCAM
    from pytorch_grad_cam.grad_cam_plusplus import GradCAMPlusPlus
    from pytorch_grad_cam.layer_cam import LayerCAM
    from pytorch_grad_cam.xgrad_cam import XGradCAM
    found = {}
    for name, kind in (("gradcam", GradCAM), ("gradcam_plus_plus", GradCAMPlusPlus), ("xgradcam", XGradCAM)):
        weights = kind.get_cam_weights(None, None, None, None, a, g)
        found[name] = (weights[:, :, None, None] * a).sum(axis=1)[0]
    found["layercam"] = LayerCAM.get_cam_image(None, None, None, None, a, g, False)[0]
    return found


def formula_maps(layers, weights, logits, layer, x, index, clean):
    """Published formulas: SmoothGrad's variants with our noise, Score-, Ablation-, Eigen-CAM, full gradient."""
    from minivis.techniques.smoothgrad import NOISE as STREAM
    grads = []
    for i in range(SAMPLES):
        noise = np.random.default_rng([0, STREAM, i]).standard_normal(clean.shape, np.float32)
        noisy = clean + noise * np.float32(NOISE * (clean.max() - clean.min()))
        grads.append(torch_reference.gradient(layers, weights, noisy[None], lambda v: v[logits][0, index])[0])
    g = np.stack(grads)
    found = {"smoothgrad_mean": g.mean(0), "smoothgrad_squared": (g ** 2).mean(0), "smoothgrad_variance": g.var(0)}
    values = torch_reference.run(layers, weights, x)
    a, score = values[layer].detach(), float(values[logits][0, index])
    net = Net(layers, weights, logits, layer)
    with torch.no_grad():
        without = a.repeat(a.shape[1], 1, 1, 1) * (1 - torch.eye(a.shape[1])[:, :, None, None])
        weight = (score - net(without)[:, index]) / score
        found["ablation_cam"] = (weight[:, None, None] * a[0]).sum(0).numpy()
        big = F.interpolate(a, x.shape[2:], mode="bilinear", align_corners=True)[0]
        low, high = big.amin((1, 2), keepdim=True), big.amax((1, 2), keepdim=True)
        mask = (big - low) / torch.where(high > low, high - low, 1)
        after = Net(layers, weights, logits)(x * mask[:, None])[:, index]
        found["scorecam"] = (torch.softmax(after, 0)[:, None, None] * a[0]).sum(0).numpy()
    rows = a[0].flatten(1).T
    rows = rows - rows.mean(0)
    found["eigencam"] = (rows @ torch.linalg.svd(rows, full_matrices=False)[2][0]).reshape(a.shape[2:]).numpy()
    found["full_gradient"] = full_gradient(layers, weights, logits, x, index)
    found["activations"] = a[0].permute(1, 2, 0).numpy()
    found["slide"] = a[0, int(a[0].amax((1, 2)).argmax())].numpy()
    found["filter_response"] = values[layers[1]["name"]][0, CHANNEL].detach().numpy()
    class_map = class_activation(layers, weights, values, logits, index)
    return found if class_map is None else found | {"cam": class_map}


def class_activation(layers, weights, values, logits, index):
    """The map whose mean over places is the logit (without its bias), or None if the scores are no average."""
    rows = {row["name"]: row for row in layers}
    names = list(rows)
    below = names[names.index(logits) - 1]
    if rows[logits]["kind"] == "global_avg_pool":
        return values[below][0, index].detach().numpy()
    if rows[below]["kind"] != "global_avg_pool":
        return None
    averaged = values[names[names.index(below) - 1]][0].detach().numpy()
    return np.tensordot(weights[f"{logits}/weight"][:, index], averaged, 1)


class Rescale(torch.autograd.Function):
    """ReLU of a batch (input, baseline) with the rescale rule as its backward."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx, dy):
        x, x0 = ctx.saved_tensors[0].chunk(2)
        m = torch.where(x == x0, (x > 0).double(), (x.clamp(min=0) - x0.clamp(min=0)) / torch.where(x == x0, 1, x - x0))
        return dy * torch.cat([m, m])


class RescaleMax(torch.autograd.Function):
    """Max pooling of a batch (input, baseline): the excess of the larger maximum goes to the cell that gave it."""

    @staticmethod
    def forward(ctx, x, pool):
        y, where = pool(x)
        ctx.save_for_backward(x, y, where)
        return y

    @staticmethod
    def backward(ctx, dy):
        x, y, where = ctx.saved_tensors
        high = torch.maximum(*y.chunk(2))
        change = dy * torch.cat([high - y[1:], y[:1] - high])
        given = torch.zeros_like(x).flatten(2).scatter_add(2, where.flatten(2), change.flatten(2)).view_as(x).sum(0)
        m = given / torch.where(x[0] == x[1], 1, x[0] - x[1])
        return torch.stack([m, m]), None


def deeplift(net, x, base, index):
    """The rescale rule in PyTorch, (1, C, H, W)."""
    for name, module in net.made.items():
        if isinstance(module, nn.ReLU):
            net.made[name].forward = Rescale.apply
        elif isinstance(module, nn.MaxPool2d):
            module.return_indices, pool = True, module.forward
            net.made[name].forward = lambda x, pool=pool: RescaleMax.apply(x, pool)
    both = torch.cat([x, base]).requires_grad_()
    y = net(both)[:, index]
    values = torch.autograd.grad(y.sum(), both)[0][:1] * (x - base)
    assert abs(float((values.sum() - (y[0] - y[1])).detach())) < 1e-9
    return values


def full_gradient(layers, weights, logits, x, index):
    """The authors' code: |x g| and |b g| of convolutions and norms, each layer's scaled to 0..1, corners aligned."""
    x = x.clone().requires_grad_()
    values = torch_reference.run(layers, weights, x)
    biases = {}
    for row in layers:
        name = row["name"]
        if row["kind"] == "conv" and f"{name}/bias" in weights:
            biases[name] = weights[f"{name}/bias"]
        elif row["kind"] == "batch_norm":
            scale, shift, mean, var = (weights[f"{name}/{k}"] for k in ("scale", "shift", "mean", "var"))
            biases[name] = shift - mean * scale / np.sqrt(var + row["eps"])
    grads = torch.autograd.grad(values[logits][0, index], [x, *(values[n] for n in biases)])

    def part(t):
        t = t.detach().abs()
        return (t - t.min()) / (t - t.min()).max()
    total = part(x * grads[0]).sum(1, keepdim=True)
    for bias, g in zip(biases.values(), grads[1:]):
        bias = torch.as_tensor(bias)[None, :, None, None]
        total = total + F.interpolate(part(bias * g), x.shape[2:], mode="bilinear", align_corners=True).sum(
            1, keepdim=True)
    return total[0, 0].numpy()


# the layer of the maps of channels, that where excitation stops, that whose unit Captum's DeepLIFT explains
LAYERS = {"fire": ("fire", "pool1", "conv1_relu"), "vgg": ("conv2_1_relu", "pool1", "conv1_2_relu"),
          "normed": ("norm2_relu", "pool1", "norm1_relu")}


def noise_picture(picture):
    """What minivis fills a picture with for "noise": a baseline on which no pooling has equal cells to choose from."""
    return np.random.default_rng([0, 0]).integers(0, 256, picture.shape, dtype=np.uint8)


def compute(name):
    about, arrays = golden.load(name)
    prepare = Preprocessing.from_json(about["preprocessing"])
    layers, logits, index = about["layers"], about["logits_layer"], about["class"]
    weights = golden.draw_weights(golden.network(about).table, about["seed"])
    picture = arrays["picture"]
    array = prepare.apply(picture, np.float64)
    x = torch_reference.as_torch(array)
    base = torch_reference.as_torch(prepare.apply(noise_picture(picture), np.float64))
    low, high = (torch.as_tensor(v)[None, :, None, None] for v in prepare.limits())
    layer, bottom, low_layer = LAYERS[name]
    draw = np.random.RandomState(about["seed"] + 2000)
    baselines = draw.randint(0, 256, (OTHERS, *picture.shape)).astype(np.uint8)
    others = torch.cat([torch_reference.as_torch(prepare.apply(other, np.float64)) for other in baselines])
    top = [row["name"] for row in layers if row["kind"] in ("conv", "linear")][-1]

    def make():
        return Net(layers, weights, logits)
    found = {"captum": captum_maps(make(), x, base, index, others, layer),
             "zennit": zennit_maps(make, x, index, low, high)}
    found["captum"]["deeplift_unit"], (k, i, j) = captum_unit(Net(layers, weights, low_layer), x, base)
    values = torch_reference.run(layers, weights, x)
    a = values[bottom].detach()
    found["zennit"]["excitation_backprop"] = excitation_map(Net(layers, weights, logits, bottom), a, index)
    against = excitation_map(Net(layers, weights, logits, bottom), a, index, top)
    found["zennit"]["excitation_against"] = against / against.sum()
    maps = {key: torch_reference.channels_last(value)[0] for group in found.values() for key, value in group.items()}
    values = torch_reference.run(layers, weights, x.clone().requires_grad_())
    g = torch.autograd.grad(values[logits][0, index], values[layer])[0].numpy()
    cams = cam_maps(values[layer].detach().numpy(), g)
    formulas = formula_maps(layers, weights, logits, layer, x, index, array[0])
    formulas["deeplift"] = torch_reference.channels_last(deeplift(make(), x, base, index))[0]
    saliencies = captum_saliency(make(), x, index)
    tools = {**{key: group for group, some in found.items() for key in some}, **dict.fromkeys(saliencies, "captum"),
             **dict.fromkeys(cams, "grad-cam"), **dict.fromkeys(formulas, "formula in torch")}
    versions = {tool: metadata.version(tool) for tool in ("captum", "zennit", "grad-cam", "torch", "numpy")}
    return {"of": name, "layer": layer, "bottom": bottom, "deeplift_unit": f"{low_layer}:{k}@{i},{j}",
            "class": index, "steps": STEPS, "samples": SAMPLES, "noise": NOISE, "draws": DRAWS, "channel": CHANNEL,
            "first": layers[1]["name"], "baseline": "noise", "tools": tools, "made_by": versions}, {
                **maps, **saliencies, **cams, **formulas, "baselines": baselines}


def main():
    stand_in("torchvision", "ttach", "cv2")
    folder = Path(golden.__file__).parent / "attribution"
    folder.mkdir(exist_ok=True)
    for name in sys.argv[1:] or LAYERS:
        about, arrays = compute(name)
        dead = [key for key, array in arrays.items() if not array.any()]
        file = folder / f"{name}.npz"
        np.savez_compressed(file, about=np.array(json.dumps(about)), **arrays)
        print(f"{file}: {file.stat().st_size} bytes, {len(arrays)} arrays, all zero: {dead or 'none'}")


if __name__ == "__main__":
    main()
