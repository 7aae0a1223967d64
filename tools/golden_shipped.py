"""Write minivis/golden/shipped/NAME.npz: PyTorch's logits, in float64, of the networks that come with minivis.

    python -m tools.golden_shipped

Needs the extra `bench`. The picture is drawn from np.random.RandomState(1), so it need not be stored.
"""
import json
from importlib import metadata
from pathlib import Path

import numpy as np
import torch

from minivis import golden, load_network
from minivis.loading import embedded_names
from tools import torch_reference


def main():
    for name in embedded_names():
        net = load_network(name, device="cpu", precision="float64")
        if net.logits_layer is None:
            continue
        picture = golden.shipped_picture(net)
        x = torch.tensor(net.preprocess(picture, policy="none")).permute(0, 3, 1, 2)
        with torch.no_grad():
            values = torch_reference.run(net.table.to_json(), net.weights.arrays(), x)
        about = {"network": name, "weights": net.weights_hash(),
                 "made_with": {package: metadata.version(package) for package in ("torch", "numpy")}}
        path = Path(golden.__file__).parent / "shipped" / f"{name}.npz"
        path.parent.mkdir(exist_ok=True)
        np.savez_compressed(path, about=json.dumps(about), logits=values[net.logits_layer].numpy())
        print(f"{path}: {path.stat().st_size / 1e3:.1f} kB")


if __name__ == "__main__":
    main()
