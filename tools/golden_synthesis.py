"""Write minivis/golden/synthesis/*.npz: what Foolbox's attacks, PyTorch's optimisers and the published formulas give in
float64 for optimised pictures, on the networks of tools/make_golden.py.

    python -m tools.golden_synthesis

Needs the extras `bench` and `peers` (GitPython, which Foolbox imports to fetch models and does not need here, is stood
in for). Starting points are drawn from np.random.RandomState, so they need not be stored.
"""
import json
import sys
import types
from importlib import metadata
from pathlib import Path

import numpy as np
import torch

from minivis import golden
from minivis.layers import Table
from minivis.parameterize import COLOURS
from minivis.preprocessing import Preprocessing
from tools import torch_reference

STEPS = 20
NETS = ("fire", "vgg")


class Model(torch.nn.Module):
    """Logits of pictures (N, 3, H, W), RGB from 0 to 1."""

    def __init__(self, about):
        super().__init__()
        self.about, self.weights = about, golden.draw_weights(Table(about["layers"]), about["seed"])
        self.prepare = Preprocessing.from_json(about["preprocessing"])

    def values(self, u):
        p = self.prepare
        x = u.flip(1) if p.channels == "BGR" else u
        mean, std = (torch.tensor(v, dtype=torch.float64)[None, :, None, None] for v in (p.mean, p.std))
        return torch_reference.run(self.about["layers"], self.weights, (x * p.range - mean) / std)

    def forward(self, u):
        return self.values(u)[self.about["logits_layer"]]

    def from_mean(self, z):
        """{layer: values} of grey levels z (N, 3, H, W) from the mean colour."""
        return self.values((z + self.mean_levels()[None, :, None, None]) / 255)

    def mean_levels(self):
        p = self.prepare
        mean = np.array(p.mean)[::-1 if p.channels == "BGR" else 1] * 255 / p.range
        return torch.tensor(mean.copy(), dtype=torch.float64)


def attacks(model, u, first, other):
    """Foolbox's results, (N, 3, H, W) -> {name: (N, H, W, 3)}; ours are started from the same picture."""
    sys.modules.setdefault("git", types.ModuleType("git")).Repo = None
    import foolbox as fb
    wrapped = fb.PyTorchModel(model.eval(), bounds=(0, 1), device="cpu")
    away = fb.criteria.Misclassification(torch.tensor([first]))
    to = fb.criteria.TargetedMisclassification(torch.tensor([other]))
    found = {}
    for name, attack, goal, epsilon in (
            ("fgsm", fb.attacks.LinfFastGradientAttack(random_start=False), away, 4 / 255),
            ("fgsm_l2", fb.attacks.L2FastGradientAttack(random_start=False), away, 0.3),
            ("bim", fb.attacks.LinfBasicIterativeAttack(rel_stepsize=0.2, steps=10, random_start=False), away, 4 / 255),
            ("bim_l2", fb.attacks.L2BasicIterativeAttack(rel_stepsize=0.2, steps=10, random_start=False), away, 0.3),
            ("pgd_linf", fb.attacks.LinfPGD(abs_stepsize=1 / 255, steps=STEPS, random_start=False), away, 8 / 255),
            ("pgd_linf_targeted", fb.attacks.LinfPGD(abs_stepsize=1 / 255, steps=STEPS, random_start=False), to,
             8 / 255),
            ("pgd_l2", fb.attacks.L2PGD(abs_stepsize=0.05, steps=STEPS, random_start=False), away, 0.3),
            ("deepfool", fb.attacks.L2DeepFoolAttack(steps=STEPS, candidates=3, overshoot=0.02), away, None),
            ("cw", fb.attacks.L2CarliniWagnerAttack(binary_search_steps=4, steps=STEPS, stepsize=0.01, confidence=0,
                                                    initial_const=2.0 ** -4, abort_early=False), away, None),
            ("cw_targeted", fb.attacks.L2CarliniWagnerAttack(binary_search_steps=4, steps=STEPS, stepsize=0.02,
                                                             confidence=0, initial_const=2.0 ** -2,
                                                             abort_early=True), to, None)):
        raw = attack.run(wrapped, u, goal, **({} if epsilon is None else {"epsilon": epsilon}))
        found[name] = torch_reference.channels_last(raw)
    return found


def runs(model, layer, channel, size):
    """20 steps of PyTorch's optimisers on the pixels and on Fourier coefficients: {name: z, name_first: gradient}."""
    H, W = size
    draw = np.random.RandomState(3)
    pixels, fourier = draw.standard_normal((1, H, W, 3)) * 20, draw.standard_normal((1, H, W // 2 + 1, 3, 2)) * 0.05
    colours = torch.tensor(COLOURS / np.linalg.norm(COLOURS, axis=0).max())
    f = np.hypot(np.fft.fftfreq(H)[:, None], np.fft.rfftfreq(W)[None])
    scale = torch.tensor(np.sqrt(H * W) / np.maximum(f, 1 / max(H, W)) / 4)[None, :, :, None]

    def mean_of(values):
        return values[layer][:, channel].mean()

    def loss_pixels(z):
        return -mean_of(model.from_mean(z.permute(0, 3, 1, 2))) + 1e-6 * (z ** 2).sum()

    def loss_fourier(z):
        plain = torch.fft.irfft2(torch.complex(z[..., 0], z[..., 1]) * scale, s=(H, W), dim=(1, 2))
        return -mean_of(model.values(torch.sigmoid(plain @ colours.T).permute(0, 3, 1, 2)))

    def invert(z):
        with torch.no_grad():
            wanted = model.from_mean(torch.tensor(pixels * 2).permute(0, 3, 1, 2))[layer]
        d = model.from_mean(z.permute(0, 3, 1, 2))[layer] - wanted
        return 1e6 * (d ** 2).sum() / (wanted ** 2).sum()       # torch.optim drops pairs with s.y <= 1e-10
    found = {}
    for name, start, loss, make in (
            ("sgd", pixels, loss_pixels, lambda z: torch.optim.SGD([z], 50.0, momentum=0.9)),
            ("adam", fourier, loss_fourier, lambda z: torch.optim.Adam([z], 0.05)),
            ("lbfgs", pixels, invert, lambda z: torch.optim.LBFGS([z], 0.5, max_iter=1, history_size=5,
                                                                  tolerance_grad=0, tolerance_change=0))):
        z = torch.tensor(start, requires_grad=True)
        optimizer = make(z)

        def closure(z=z, loss=loss, optimizer=optimizer):
            optimizer.zero_grad()
            value = loss(z)
            value.backward()
            return value
        found[f"{name}_loss"] = float(closure().detach())
        found[f"{name}_first"] = z.grad.numpy().copy()
        for _ in range(STEPS):
            optimizer.step(closure)
        found[name] = z.detach().numpy()
    found["dream"] = dream(model, layer, pixels)
    return found


def dream(model, layer, start):
    """20 steps of 1.5 g / mean |g|, g the gradient of half the squared layer, clipped to valid colours."""
    z = torch.tensor(start)
    black = -model.mean_levels()
    for _ in range(STEPS):
        t = z.clone().requires_grad_()
        g, = torch.autograd.grad(0.5 * (model.from_mean(t.permute(0, 3, 1, 2))[layer] ** 2).sum(), t)
        z = torch.minimum(torch.maximum(z + 1.5 * g / g.abs().mean(), black), black + 255)
    return z.numpy()


def main():
    folder = Path(golden.__file__).parent / "synthesis"
    folder.mkdir(exist_ok=True)
    for name in NETS:
        about, arrays = golden.load(name)
        model = Model(about)
        picture = model.prepare.see(arrays["picture"]).picture
        u = torch.tensor(picture.astype(np.float64) / 255).permute(2, 0, 1)[None]
        with torch.no_grad():
            order = model(u)[0].argsort(descending=True)
        first, other = int(order[0]), int(order[1])
        layer, channel = about["unit"].split(":")
        found = attacks(model, u, first, other) | runs(model, layer, int(channel), picture.shape[:2])
        said = {"net": name, "first": first, "other": other, "layer": layer, "channel": int(channel), "steps": STEPS,
                "made_by": {tool: metadata.version(tool) for tool in ("torch", "foolbox", "numpy")}}
        np.savez_compressed(folder / f"{name}.npz", about=json.dumps(said), **found)
        print(name, {k: np.shape(v) for k, v in found.items()})


if __name__ == "__main__":
    main()
