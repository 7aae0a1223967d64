"""Write minivis/golden/style/*.npz: losses of style transfer and their gradients, and L-BFGS runs, by PyTorch in
float64, on the networks of tools/make_golden.py.

    python -m tools.golden_style

Each loss is written out here from its paper's or program's formula, with torch alone; gradients are with respect to
the picture's grey levels in RGB. `lbfgs` is torch.optim.LBFGS with its strong Wolfe line search, one step a call.
"""
import json
from pathlib import Path

import numpy as np
import torch

from minivis import golden
from tools import torch_reference

LAYERS = {"fire": ("fire", ["conv1_relu", "fire"]), "vgg": ("conv2_1_relu", ["conv1_1_relu", "conv2_1_relu"]),
          "odd": ("conv3_relu", ["conv1_relu", "sum"])}     # content layer, style layers
STEPS = 50
WEIGHTS = {"content": 5.0, "style": 100.0, "tv": 1e-6}


class Problem:
    def __init__(self, name):
        self.about, arrays = golden.load(name)
        self.net = golden.network(self.about)
        self.weights = {key: t.data for key, t in self.net.weights.items()}
        self.start = arrays["picture"].astype(np.float64)
        other = np.random.RandomState(11).randint(0, 256, self.start.shape).astype(np.float64)
        self.content, self.style = self.start[::-1].copy(), (other + other[:, ::-1]) / 2
        self.content_layer, self.style_layers = LAYERS[name]

    def values(self, levels):
        """Every layer's torch values (1, C, H, W) of RGB levels, torch (H, W, 3)."""
        p = self.net.preprocessing
        x = levels.flip(2) if p.channels == "BGR" else levels
        x = (x * (p.range / 255) - torch.tensor(p.mean, dtype=x.dtype)) / torch.tensor(p.std, dtype=x.dtype)
        return torch_reference.run(self.about["layers"], self.weights, x.permute(2, 0, 1)[None])

    def losses(self, levels):
        """{name: scalar torch tensor} of torch levels (H, W, 3)."""
        here = self.values(levels)
        content, style = (self.values(torch.tensor(p)) for p in (self.content, self.style))
        found = {}
        d = here[self.content_layer] - content[self.content_layer].detach()
        found["content mean"], found["content sum"] = (d**2).mean(), (d**2).sum()
        found["content half"] = (d**2).sum() / 2
        for layer in self.style_layers:
            for kind in ("chw", "hw", "none"):
                e = (gram(here[layer], kind) - gram(style[layer], kind).detach())**2
                found[f"style {layer} {kind} mean"] = e.mean()
                found[f"style {layer} {kind} sum"] = e.sum()
                found[f"style {layer} {kind} quarter"] = e.sum() / 4
        v, h = levels[1:] - levels[:-1], levels[:, 1:] - levels[:, :-1]
        found["tv sum"] = (v**2).sum() + (h**2).sum()
        H, W = levels.shape[:2]
        found["tv 512"] = ((v[:, :-1]**2).sum() + (h[:-1]**2).sum()) / 2 * 512**2 / (H * W)
        return found

    def total(self, levels):
        found = self.losses(levels)
        style = sum(found[f"style {layer} chw mean"] for layer in self.style_layers)
        return (WEIGHTS["content"] * found["content mean"] + WEIGHTS["style"] * style
                + WEIGHTS["tv"] * found["tv 512"])


def gram(a, kind):
    flat = a[0].reshape(a.shape[1], -1)
    return flat @ flat.T / {"chw": a[0].numel(), "hw": flat.shape[1], "none": 1}[kind]


def lbfgs(problem):
    """Losses before each of STEPS iterations and after the last."""
    levels = torch.tensor(problem.start).requires_grad_()
    optimiser = torch.optim.LBFGS([levels], lr=1, max_iter=1, history_size=20, line_search_fn="strong_wolfe",
                                  tolerance_grad=0, tolerance_change=0)

    def closure():
        optimiser.zero_grad()
        loss = problem.total(levels)
        loss.backward()
        return loss
    course = [float(optimiser.step(closure)) for _ in range(STEPS)]
    return np.array([*course, float(problem.total(levels))])


def compute(name):
    problem = Problem(name)
    arrays = {"start": problem.start, "content": problem.content, "style": problem.style}
    for key in problem.losses(torch.tensor(problem.start)):
        levels = torch.tensor(problem.start).requires_grad_()
        value = problem.losses(levels)[key]
        arrays[f"value {key}"] = np.array(float(value))
        if not key.startswith("style") or key.endswith("chw mean"):     # the others differ by a factor alone
            arrays[f"gradient {key}"] = torch.autograd.grad(value, levels)[0].numpy()
    arrays["lbfgs"] = lbfgs(problem)
    about = {"network": name, "content_layer": problem.content_layer, "style_layers": problem.style_layers,
             "weights": WEIGHTS, "steps": STEPS, "tools": {"torch": torch.__version__}}
    return about, arrays


def main():
    folder = Path(golden.__file__).parent / "style"
    folder.mkdir(exist_ok=True)
    for name in LAYERS:
        about, arrays = compute(name)
        file = folder / f"{name}.npz"
        np.savez_compressed(file, about=np.array(json.dumps(about)), **arrays)
        print(f"{file}: {file.stat().st_size} bytes; L-BFGS {arrays['lbfgs'][0]:.6g} -> {arrays['lbfgs'][-1]:.6g}")


if __name__ == "__main__":
    main()
