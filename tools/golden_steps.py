"""Write minivis/golden/synthesis/steps_*.npz: losses, gradients and runs of 20 steps of the techniques that make
pictures, by PyTorch in float64 from the published formulas, on the networks of tools/make_golden.py.

    python -m tools.golden_steps

tools/golden_synthesis.py has Foolbox's attacks and the plain runs. Starting points are drawn from np.random.RandomState
and what a step draws at random from the streams that minivis documents, so neither is stored; of large arrays every
seventh value is (`thin`).
"""
import json
import math
from importlib import metadata
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter

from minivis import golden
from minivis.golden.making import (
    CODE,
    DEEP,
    EXTRA,
    GENERATOR,
    PATCH,
    STEPS,
    VIEW,
    deep_start,
    generator_weights,
    patch_start,
    pictures,
    pixels,
    thin,
)
from tools.golden_synthesis import NETS, Model

VIEWS, DREAM, ATTACK = 22, 23, 24           # minivis' streams of random numbers


def planes(z):
    """(N, H, W, C) -> (N, C, H, W)"""
    return z.permute(0, 3, 1, 2)


def rows(t):
    return t.permute(0, 2, 3, 1)


def slope(loss, z):
    """(loss of each picture, gradient of their sum) at an array z."""
    t = torch.tensor(z, requires_grad=True)
    value = loss(t)
    g, = torch.autograd.grad(value.sum(), t)
    return value.detach().numpy().reshape(-1), g.numpy()


def variation(z, power=2.0):
    """sum ((down)^2 + (right)^2)^(power / 2), (N,); with power 2 the two sums may have their own ends."""
    if power == 2:
        return ((z[:, 1:] - z[:, :-1]) ** 2).sum((1, 2, 3)) + ((z[:, :, 1:] - z[:, :, :-1]) ** 2).sum((1, 2, 3))
    down, right = (z[:, 1:] - z[:, :-1])[:, :, :-1], (z[:, :, 1:] - z[:, :, :-1])[:, :-1]
    return ((down ** 2 + right ** 2) ** (power / 2)).sum((1, 2, 3))


def sampled(x, rows_at, columns_at, padding):
    """Bilinear values of x (N, H, W, C) at float positions (h, w) each."""
    H, W = x.shape[1:3]
    at = torch.tensor(np.stack([2 * columns_at / (W - 1) - 1, 2 * rows_at / (H - 1) - 1], -1))
    return rows(F.grid_sample(planes(x), at[None].expand(len(x), -1, -1, -1), "bilinear", padding, align_corners=True))


def view(x, seed, step, margin, jitter, scale, angle):
    """The window seen in a step: shifted, scaled, turned about the middle, mirrored beyond the border."""
    draw = np.random.default_rng([seed, VIEWS, step])
    shift = draw.uniform(-jitter, jitter, 2)
    factor, turn = 1 + draw.uniform(-scale, scale), math.radians(draw.uniform(-angle, angle))
    H, W = x.shape[1:3]
    h, w = H - 2 * margin, W - 2 * margin
    y, across = (np.arange(h) - (h - 1) / 2)[:, None] / factor, (np.arange(w) - (w - 1) / 2)[None] / factor
    down = (H - 1) / 2 + shift[0] + y * np.cos(turn) - across * np.sin(turn)
    right = (W - 1) / 2 + shift[1] + y * np.sin(turn) + across * np.cos(turn)
    return sampled(x, down, right, "reflection")


def middle(a):
    return a[:, :, a.shape[2] // 2, a.shape[3] // 2]


class Look:
    """The networks' answers as the techniques ask for them."""

    def __init__(self, model, about):
        self.model, self.about = model, about
        self.layer, channel = about["unit"].split(":")
        self.channel, self.logits = int(channel), about["logits_layer"]
        self.black = -model.mean_levels()

    def at(self, z):
        """{layer: (N, C, H, W)} of grey levels z (N, H, W, 3) from the mean colour."""
        return self.model.from_mean(planes(z))

    def awake(self, size):
        """The channel whose unit in the middle is the most active in all starting points: silent ones are woken."""
        with torch.no_grad():
            values = middle(self.at(torch.tensor(np.concatenate([pixels(size, 2), pixels(size, 1)])))[self.layer])
        return int(values.min(0).values.argmax())

    def below(self, z):
        """The unit's layer (N, C, H, W), without the dense layers above, which want one size of picture."""
        about = self.about
        names = [row["name"] for row in about["layers"]]
        self.model.about = {**about, "layers": about["layers"][:names.index(self.layer) + 1]}
        values = self.at(z)[self.layer]
        self.model.about = about
        return values


def visualizations(look, size):
    """Single steps of `visualize` and `layer_sheet`: {name: (losses, gradient)}."""
    layer, channel, logits = look.layer, look.channel, look.logits
    awake = look.awake(size)
    z, wide = pixels(size, 2), pixels([n + 2 * VIEW["margin"] for n in size], 1)

    def grams(a):
        f = a.flatten(2)
        g = (f @ f.transpose(1, 2) / f.shape[2]).flatten(1)
        return g / torch.sqrt((g * g).sum(1, keepdim=True) + 1e-12)

    def alike(z):
        a = look.at(z)[layer]
        g = grams(a)
        others = ((g @ g.T).sum(1) - (g * g).sum(1)) / (len(g) - 1)
        return -a[:, channel].mean((1, 2)) + 0.7 * others
    losses = {
        "views": (wide, lambda z: -look.at(view(z, 5, 3, **VIEW))[layer][:, channel].mean((1, 2)) + 1e-6 * variation(z)
                  + 2e-7 * (z * z).sum((1, 2, 3))),
        "class": (z, lambda z: -look.at(z)[logits][:, 1] - 0.9 * torch.log_softmax(look.at(z)[logits], 1)[:, 1]),
        "prob": (z, lambda z: -torch.softmax(look.at(z)[logits], 1)[:, 1]),
        "centre": (z, lambda z: -middle(look.at(z)[layer])[:, awake]),
        "direction": (z, lambda z: -2 * look.at(z)[layer][:, 0].mean((1, 2))
                      + 0.5 * look.at(z)[layer][:, 1].mean((1, 2)) - look.at(z)[logits][:, 0]),
        "layer": (z, lambda z: -torch.sqrt((look.at(z)[layer] ** 2).sum((1, 2, 3)))),
        "diversity": (z, alike),
        "sheet": (z, lambda z: -torch.stack([look.at(z)[layer][n, k].mean() for n, k in enumerate((1, 0))])),
    }
    return {name: slope(loss, start) for name, (start, loss) in losses.items()}


def yosinski(look, size):
    """20 steps z <- clip(contributions(values(blur((1 - decay) (z + rate g))))) of the channel's mean, whose gradient
    is nowhere exactly zero: a percentile of zeros would be decided by rounding."""
    z = pixels(size, 1)
    for i in range(STEPS):
        _, g = slope(lambda z: -look.at(z)[look.layer][:, look.channel].mean((1, 2)), z)
        z = (z - 30000.0 * g) * (1 - 0.02)
        if (i + 1) % 4 == 0:
            z = gaussian_filter(z, (0, 0.6, 0.6, 0), mode="reflect", truncate=4.0)
        size_of = np.sqrt((z ** 2).sum(3, keepdims=True))
        z = np.where(size_of >= np.percentile(size_of, 3.0), z, 0)
        share = np.abs((z * g).sum(3, keepdims=True))
        z = np.where(share >= np.percentile(share, 3.0), z, 0)
        z = np.clip(z, look.black.numpy(), look.black.numpy() + 255)
    return z


def normalised(look, size):
    """20 steps of CS231n's kind: a circular shift undone by the gradient, g / |g|, momentum, an L2 penalty."""
    z, v = pixels(size, 1), 0.0
    for i in range(STEPS):
        down, right = (int(n) for n in np.random.default_rng([0, VIEWS, i]).integers(-4, 5, 2))
        _, g = slope(lambda z, s=(down, right): -look.at(torch.roll(z, s, (1, 2)))[look.logits][:, 1]
                     + 3e-7 * (z * z).sum((1, 2, 3)), z)
        v = 0.5 * v + g / np.linalg.norm(g)
        z = np.clip(z - 60.0 * v, look.black.numpy(), look.black.numpy() + 255)
    return z


def inversions(look, size):
    """Single steps with every penalty, and 20 steps as Mahendran and Vedaldi take them."""
    z, count, found = pixels(size, 1), 3 * size[0] * size[1], {}
    with torch.no_grad():
        code = look.at(torch.tensor(pixels(size, 1, EXTRA)))[look.layer]

    def loss(z, tv, power, alpha_weight):
        d = look.at(z)[look.layer] - code
        return ((d ** 2).sum((1, 2, 3)) / (code ** 2).sum() + tv / count * variation(z, power)
                + alpha_weight / count * (torch.abs(z) ** 6).sum((1, 2, 3)))
    found["invert"] = slope(lambda z: loss(z, 1e-3, 2.0, 1e-13), z)
    found["invert_beta"] = slope(lambda z: loss(z, 1e-3, 1.5, 1e-13), z)
    weight, v = 8e-10 / (2 * 64.0 ** 2), 0.0
    rate = 0.004 * count * 64.0 ** 2
    for i in range(STEPS):
        v = 0.0 if i in (5, 15) else v
        _, g = slope(lambda z: loss(z, 1e-3, 2.0, weight), z)
        v = 0.9 * v + g
        z = np.clip(z - rate * (1.0 if i < 5 else 0.1 if i < 15 else 0.01) * v, look.black.numpy(),
                    look.black.numpy() + 255)
    return found, z


def dreams(look, size, other):
    """Single steps of channels, of two layers and of a guided dream; a whole dream of two octaves with jitter."""
    z, layer = pixels(size, 1), look.layer
    with torch.no_grad():
        guide = rows(look.at(torch.tensor(pixels(size, 1, EXTRA)))[layer]).reshape(-1, look.at(
            torch.tensor(z))[layer].shape[1])

    def guided(z):
        a = rows(look.at(z)[layer]).reshape(-1, guide.shape[1])
        return -(a * guide[(a.detach() @ guide.T).argmax(1)]).sum()[None]
    found = {
        "dream_channels": slope(lambda z: -0.5 * (look.at(z)[layer][:, [0, 2]] ** 2).sum((1, 2, 3)), z),
        "dream_layers": slope(lambda z: -0.5 * (look.at(z)[layer] ** 2).sum((1, 2, 3))
                              - 0.15 * (look.at(z)[other] ** 2).sum((1, 2, 3)), z),
        "dream_guided": slope(guided, z),
    }
    return found, whole_dream(look)


def whole_dream(look):
    """Two octaves of ten steps; what the smaller one changed is enlarged and added to the larger one."""
    big = pictures((40, 46), 1)[0].astype(np.float64)
    small = tuple(round(n / 1.2) for n in big.shape[:2])
    mean, black = look.model.mean_levels().numpy(), look.black.numpy()

    def resized(levels, size):
        t = F.interpolate(planes(torch.tensor(levels[None])), size, mode="bilinear", antialias=True)
        return rows(t)[0].numpy()
    detail, first = None, 0
    for size in (small, big.shape[:2]):
        base = big if size == big.shape[:2] else resized(big, size)
        levels = base if detail is None else base + resized(detail, size)
        z = (levels - mean)[None]
        for i in range(10):
            shift = [int(n) for n in np.random.default_rng([0, DREAM, first + i]).integers(-3, 4, 2)]
            _, g = slope(lambda z: -0.5 * (look.below(z) ** 2).sum((1, 2, 3)), np.roll(z, shift, (1, 2)))
            g = np.roll(g, [-n for n in shift], (1, 2))
            z = np.clip(z - 1.5 * g / np.abs(g).mean(), black, black + 255)
        first += 10
        levels = z[0] + mean
        detail = levels - base
    return levels[None]


def deep_prior(look, size):
    """The weights of the untrained network that makes the picture: its loss and gradient, and 20 steps of Adam."""
    noise, z = deep_start(size)
    shapes = DEEP["shapes"]

    def loss(z):
        parts, at = [], 0
        for shape in shapes:
            n = int(np.prod(shape))
            parts.append(z[0, at:at + n].reshape(shape))
            at += n
        x = planes(torch.tensor(noise))
        for k, side in enumerate(DEEP["sizes"](size)):
            if k:
                x = F.interpolate(x, side, mode="bilinear", antialias=True) if x.shape[2:] != side else x
            w, scale, shift = parts[3 * k:3 * k + 3]
            x = F.conv2d(x, w.permute(3, 2, 0, 1), padding=1)
            x = F.leaky_relu(F.instance_norm(x, weight=scale, bias=shift, eps=1e-5), 0.2)
        x = torch.sigmoid(F.conv2d(x, parts[-2].permute(3, 2, 0, 1), parts[-1])) * 255
        levels = rows(x) + look.black
        return -look.at(levels)[look.layer][:, look.channel].mean((1, 2))
    return slope(loss, z), adam(loss, z, 0.005)


def generator_prior(look, size):
    """The code of a small generator with drawn weights: loss and gradient, and 20 steps of Adam within bounds."""
    w, z = generator_weights(), np.random.RandomState(17).standard_normal((1, *(-(-n // 2) for n in size), CODE)) * 0.8

    def loss(z):
        x = torch.relu(z * torch.tensor(w["code/scale"]) + torch.tensor(w["code/shift"]))
        x = planes(x)
        for n, name in enumerate(GENERATOR):
            x = F.interpolate(x, scale_factor=2, mode="nearest") if n == 1 else x
            x = F.conv2d(x, torch.tensor(w[f"{name}/weight"]).permute(3, 2, 0, 1), torch.tensor(w[f"{name}/bias"]),
                         padding=1)
            x = torch.tanh(x) * 127.5 + 127.5 if name == "out" else F.leaky_relu(x, 0.2)
        levels = rows(x)
        if levels.shape[1:3] != tuple(size):
            levels = rows(F.interpolate(x, tuple(size), mode="bilinear", antialias=True))
        return -look.at(levels + look.black)[look.layer][:, look.channel].mean((1, 2))
    return slope(loss, z), adam(loss, z, 0.1, lambda z: np.clip(z * (1 - 0.01), -1.5, 1.5))


def adam(loss, start, rate, after=lambda z: z):
    t = torch.tensor(start, requires_grad=True)
    optimizer = torch.optim.Adam([t], rate)
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss(t).sum().backward()
        optimizer.step()
        with torch.no_grad():
            t.copy_(torch.tensor(after(t.numpy().copy())))
    return t.detach().numpy()


def attacks(model, about, size):
    """fool, universal, adversarial_patch and linear_explanation, each as a whole: {name: array}."""
    several = pictures(size, 3)
    u = [torch.tensor(p[None] / 255.0) for p in several]

    def logits(u):
        return model(planes(u))
    held = [int(logits(p).argmax()) for p in u]
    target = (held[0] + 1) % logits(u[0]).shape[1]
    found = {"fool": fool(logits, u[0].numpy(), target)}

    d = np.zeros((1, *size, 3))
    for i in range(STEPS):
        turn, place = divmod(i, 3)
        n = int(np.random.default_rng([0, ATTACK, 2, turn]).permutation(3)[place])
        shown = np.clip(u[n].numpy() + d, 0, 1)
        _, g = slope(lambda x, n=n: F.cross_entropy(logits(x), torch.tensor([held[n]])), shown)
        d = np.clip(d + 1 / 255 * np.sign(g), -10 / 255, 10 / 255)
    found["universal"] = np.trunc(d * 255 + np.copysign(1e-4, d))
    found["patch_first"], found["patch"] = patch(logits, u, target, size)

    both = logits(u[0])[0].argsort(descending=True, stable=True)[:2]
    first, other = int(both[0]), int(both[1])
    _, g = slope(lambda x: (logits(x)[:, other] - logits(x)[:, first]), u[0].numpy())
    found["linear_gradient"] = g
    found["linear_logits"] = np.stack([logits(u[0] + torch.tensor(np.sign(g)) * e / 255)[0].detach().numpy()
                                       for e in (-4.0, 0.0, 4.0)])
    return found


def fool(logits, u, target):
    """Steps of 40 grey levels along the normalised gradient of a logit, until the rounded picture is the target's."""
    for _ in range(100):
        whole = torch.tensor(np.rint(np.clip(u, 0, 1) * 255) / 255)
        if int(logits(whole).argmax()) == target:
            break
        _, g = slope(lambda u: -logits(u)[:, target], u)
        u = np.clip(u - 40 / 255 * g / np.linalg.norm(g), 0, 1)
    return u


def patch(logits, u, target, size):
    """A round patch laid on two pictures in every step, by Adam: (the first gradient, the patch after 20 steps)."""
    H, W = size
    side = round(math.sqrt(PATCH["share"] * H * W / (math.pi / 4)))
    at = np.arange(side) - (side - 1) / 2
    mask = torch.tensor((np.hypot(at[:, None], at[None]) <= side / 2).astype(np.float64))[None, ..., None]

    def loss(p, i):
        draw = np.random.default_rng([0, ATTACK, 3, i])
        shown = []
        for n in draw.integers(len(u), size=2):
            factor = 1 + draw.uniform(-0.2, 0.2)
            turn = math.radians(draw.uniform(-22.5, 22.5))
            reach = min(factor * side / 2, min(H, W) / 2)
            middle = draw.uniform(reach, H - reach) - 0.5, draw.uniform(reach, W - reach) - 0.5
            y, x = (np.arange(H) - middle[0])[:, None] / factor, (np.arange(W) - middle[1])[None] / factor
            down = (side - 1) / 2 + y * np.cos(turn) - x * np.sin(turn)
            right = (side - 1) / 2 + y * np.sin(turn) + x * np.cos(turn)
            cover = sampled(mask, down, right, "zeros")
            shown.append(sampled(p * mask, down, right, "zeros") + u[int(n)] * (1 - cover))
        return F.cross_entropy(logits(torch.cat(shown)), torch.tensor([target] * 2))
    start = patch_start(side)
    _, first = slope(lambda p: loss(p, 0)[None], start)
    t = torch.tensor(start, requires_grad=True)
    optimizer = torch.optim.Adam([t], 0.05)
    for i in range(STEPS):
        optimizer.zero_grad()
        loss(t, i).backward()
        optimizer.step()
        with torch.no_grad():
            t.clamp_(0, 1)
    return first, t.detach().numpy()


def main():
    folder = Path(golden.__file__).parent / "synthesis"
    for name in NETS:
        about, arrays = golden.load(name)
        model = Model(about)
        look, size = Look(model, about), model.prepare.see(arrays["picture"]).picture.shape[:2]
        other = next(row["name"] for row in about["layers"] if row["kind"] == "relu")
        steps, whole = visualizations(look, size), {"yosinski": yosinski(look, size), "cs231n": normalised(look, size)}
        more, whole["mahendran"] = inversions(look, size)
        dreamt, whole["dream"] = dreams(look, size, other)
        steps |= more | dreamt
        steps["deep"], whole["deep"] = deep_prior(look, size)
        steps["generator"], whole["generator"] = generator_prior(look, size)
        whole |= attacks(model, about, size)
        said = {"net": name, "layer": look.layer, "channel": look.channel, "awake": look.awake(size), "other": other,
                "steps": STEPS, "made_by": {tool: metadata.version(tool) for tool in ("torch", "scipy", "numpy")}}
        stored = {key: thin(value) for key, value in whole.items()}
        for key, (loss, g) in steps.items():
            stored |= {f"{key}_loss": loss, f"{key}_gradient": thin(g)}
        np.savez_compressed(folder / f"steps_{name}.npz", about=json.dumps(said), **stored)
        print(name, {key: (np.shape(v), float(np.abs(v).max())) for key, v in stored.items()})


if __name__ == "__main__":
    main()
