"""Write minivis/golden/training/steps.npz: losses, gradients and weights of training steps in PyTorch, float64.

    python -m tools.golden_training

Needs the extra `bench`. The network is minivgg's form in small, with batch normalisation; its weights and the batch are
drawn from np.random.RandomState, so they need not be stored.
"""
import json
from importlib import metadata
from pathlib import Path

import numpy as np
import torch
from torch import nn

from minivis import architectures, golden
from minivis.layers import Table

WIDTHS, CLASSES, SEED, BATCH, SIZE, SMOOTHING, STEPS = (5, 8), 6, 11, 7, 12, 0.1, 3
OPTIMISERS = {"sgd": {"momentum": 0.9, "weight_decay": 0.01, "rate": 0.05},
              "adamw": {"weight_decay": 0.1, "rate": 0.01}}


class Minivgg(nn.Module):
    """The same layer table in torch's own modules."""

    def __init__(self, table):
        super().__init__()
        channels, self.names, self.parts = 3, [], nn.ModuleList()
        for row in table.layers[1:]:
            if row.kind == "conv":
                part = nn.Conv2d(channels, row["filters"], 3, padding=1, bias=row["bias"])
                channels = row["filters"]
            elif row.kind == "linear":
                part = nn.Linear(channels, row["outputs"])
            elif row.kind == "batch_norm":
                part = nn.BatchNorm2d(channels)
            elif row.kind == "global_avg_pool":
                part = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
            else:           # the loss works on logits: no softmax
                part = {"relu": nn.ReLU(), "max_pool": nn.MaxPool2d(2), "softmax": nn.Identity()}[row.kind]
            self.names.append(row.name)
            self.parts.append(part)

    def forward(self, x):
        for part in self.parts:
            x = part(x)
        return x

    def put(self, weights):
        """Take over {"conv1_1/weight": array} in our layout."""
        for name, array in weights.items():
            layer, part = name.split("/")
            target = self.tensor(layer, part)
            order = {4: (3, 2, 0, 1), 2: (1, 0), 1: (0,)}[array.ndim]
            target.data.copy_(torch.tensor(array.transpose(order)))

    def tensor(self, layer, part):
        names = {"scale": "weight", "shift": "bias", "mean": "running_mean", "var": "running_var"}
        return getattr(self.parts[self.names.index(layer)], names.get(part, part))

    def ours(self, layer, part, tensor):
        """A torch array of a weight's shape in our layout."""
        array = tensor.detach().numpy()
        return array.transpose({4: (2, 3, 1, 0), 2: (1, 0), 1: (0,)}[array.ndim]).copy()


def about():
    table = architectures.minivgg(widths=WIDTHS, depths=(2, 1), classes=CLASSES, norm=True)
    preprocessing = {"channels": "RGB", "range": 255, "mean": [120] * 3, "std": [70] * 3}
    return {"name": "steps", "layers": Table(table["layers"]).to_json(), "logits_layer": "fc8", "seed": SEED,
            "preprocessing": preprocessing, "batch": [BATCH, SIZE, SIZE, 3], "smoothing": SMOOTHING,
            "optimisers": OPTIMISERS, "steps": STEPS,
            "made_with": {name: metadata.version(name) for name in ("torch", "numpy")}}


def main():
    facts = about()
    table = Table(facts["layers"])
    weights = golden.draw_weights(table, SEED)
    x, classes = golden.training_batch(facts)
    arrays = {}
    for name, how in OPTIMISERS.items():
        model = Minivgg(table).double()
        model.put(weights)
        learned = [n for n in weights if n.split("/")[1] not in ("mean", "var")]
        tensors = {n: model.tensor(*n.split("/")) for n in learned}
        decayed = [t for n, t in tensors.items() if n.endswith("/weight")]
        rest = [t for n, t in tensors.items() if not n.endswith("/weight")]
        groups = [{"params": decayed, "weight_decay": how["weight_decay"]}, {"params": rest, "weight_decay": 0.0}]
        optimiser = (torch.optim.SGD(groups, how["rate"], how["momentum"], nesterov=True) if name == "sgd" else
                     torch.optim.AdamW(groups, how["rate"]))
        losses = []
        for step in range(STEPS):
            optimiser.zero_grad()
            logits = model(torch.tensor(x).permute(0, 3, 1, 2))
            loss = nn.functional.cross_entropy(logits, torch.tensor(classes), label_smoothing=SMOOTHING)
            loss.backward()
            losses.append(loss.item())
            if step == 0:
                arrays |= {f"gradient/{n}": model.ours(*n.split("/"), t.grad) for n, t in tensors.items()}
            optimiser.step()
        arrays[f"{name}/losses"] = np.array(losses)
        arrays |= {f"{name}/after/{n}": model.ours(*n.split("/"), t) for n, t in tensors.items()}
    path = Path(golden.__file__).parent / "training" / "steps.npz"
    np.savez_compressed(path, about=json.dumps(facts), **arrays)
    print(f"{path}: {path.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
