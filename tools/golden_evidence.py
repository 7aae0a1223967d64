"""Write minivis/golden/evidence/*.npz: what Captum and pytorch-grad-cam say of a random map in float64, and RISE's
deletion and insertion by the formulas of its authors' code, on the networks of tools/make_golden.py.

    python -m tools.golden_evidence

Needs the extras `bench` and `peers`. ROAD's noise and the shifts of max-sensitivity are those that minivis draws.
"""
import json
from importlib import metadata
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from captum.metrics import infidelity, sensitivity_max
from scipy.ndimage import gaussian_filter

from benchmarks.stand_in import stand_in
from minivis import golden
from minivis.preprocessing import Preprocessing
from tools import torch_reference

MASKS, SEED, STEP, SHARES, RADIUS, SAMPLES = 12, 7, 60, (0.2, 0.4, 0.6, 0.8), 5, 4
BLUR_CELLS, BLUR_SIGMA = 11, 5.0


def compute(name):
    """(about, arrays) of one network."""
    about, arrays = golden.load(name)
    weights = golden.draw_weights(golden.network(about).table, about["seed"])
    prepare = Preprocessing.from_json(about["preprocessing"])
    picture, index = arrays["picture"], about["class"]
    x = torch_reference.as_torch(prepare.apply(picture, np.float64))
    black = torch_reference.as_torch(prepare.apply(np.zeros_like(picture), np.float64))
    random = np.random.RandomState(SEED)
    masks = (random.rand(MASKS, *x.shape[2:]) < 0.3).astype(np.float64)
    values = random.standard_normal(x.shape[2:])

    def forward(batch):
        return torch_reference.run(about["layers"], weights, batch)[about["logits_layer"]]
    found = {"map": values, "masks": masks, "infidelity": fidelity(forward, x, black, index, masks, values)}
    found["deletion"] = curve(forward, x, torch.zeros_like(x), values, index)
    found["insertion"] = curve(forward, blurred(x), x, values, index)
    found["sensitivity"] = sensitivity(forward, prepare, picture, x, index)
    found["imputed"], found["road"] = road(forward, x, values, masks[0], index, prepare)
    tools = {"infidelity": "captum", "sensitivity": "captum", "imputed": "grad-cam", "road": "grad-cam",
             "deletion": "formula in torch", "insertion": "formula in torch"}
    about = {"class": index, "seed": SEED, "step": STEP, "shares": SHARES, "radius": RADIUS, "samples": SAMPLES,
             "tools": tools, "made_by": {tool: metadata.version(tool) for tool in ("captum", "grad-cam", "torch")}}
    return about, found


def fidelity(forward, x, black, index, masks, values):
    """Captum's infidelity of a map for given masks, as it is and normalized."""
    hide = torch.as_tensor(masks)[:, None].expand(-1, 3, -1, -1)

    def perturb(inputs):
        return hide / 3, inputs * (1 - hide) + black * hide
    t = torch.as_tensor(values)[None, None].expand(1, 3, -1, -1)
    return np.array([float(infidelity(forward, perturb, x, t, target=index, n_perturb_samples=MASKS,
                                      max_examples_per_batch=MASKS, normalize=n).detach()) for n in (False, True)])


def curve(forward, start, end, values, index):
    """Probabilities as STEP pixels after STEP go from `start` to `end`, the most important first; then their area."""
    order = np.argsort(-values, axis=None, kind="stable")
    steps = -(-len(order) // STEP)
    now, scores = start.clone(), []
    for i in range(steps + 1):
        scores.append(float(torch.softmax(forward(now), 1)[0, index].detach()))
        chosen = order[i * STEP:(i + 1) * STEP]
        now.flatten(2)[0, :, chosen] = end.flatten(2)[0, :, chosen]
    area = (sum(scores) - scores[0] / 2 - scores[-1] / 2) / steps
    return np.array([*scores, area])


def blurred(x):
    """A Gaussian on 11 x 11 cells, zeros beyond the border."""
    kernel = np.zeros((BLUR_CELLS, BLUR_CELLS))
    kernel[BLUR_CELLS // 2, BLUR_CELLS // 2] = 1
    kernel = torch.as_tensor(gaussian_filter(kernel, BLUR_SIGMA))
    return torch.nn.functional.conv2d(x, kernel.expand(3, 1, -1, -1), padding=BLUR_CELLS // 2, groups=3)


def sensitivity(forward, prepare, picture, x, index):
    """Captum's max-sensitivity of the gradient, for the noise of minivis.evidence.sensitivity."""
    moved = []
    for i in range(SAMPLES):
        noise = np.random.default_rng([SEED, 8, i]).integers(-RADIUS, RADIUS + 1, picture.shape)
        noisy = np.clip(picture.astype(np.int64) + noise, 0, 255).astype(np.uint8)
        moved.append(torch_reference.as_torch(prepare.apply(noisy, np.float64)))

    def explain(inputs):
        inputs = (inputs[0] if isinstance(inputs, tuple) else inputs).detach().requires_grad_()
        with torch.enable_grad():
            return torch.autograd.grad(forward(inputs)[:, index].sum(), inputs)
    return sensitivity_max(explain, x, lambda _: torch.cat(moved), n_perturb_samples=SAMPLES,
                           max_examples_per_batch=SAMPLES).numpy()


def road(forward, x, values, mask, index, prepare):
    """(a picture imputed by pytorch-grad-cam (H, W, 3), RGB; its combined ROAD), in float64 and with minivis' noise."""
    from pytorch_grad_cam.metrics.perturbation_confidence import RemoveLeastRelevantFirst, RemoveMostRelevantFirst
    from pytorch_grad_cam.metrics.road import NoisyLinearImputer
    imputer, spread = NoisyLinearImputer(noise=1.0), 0.01 * float(x.numpy().std())

    def noise(like):
        return torch.as_tensor(np.random.default_rng([SEED, 5]).standard_normal(like.shape[::-1]) * spread).t()
    with mock.patch("torch.float", torch.float64), mock.patch("torch.randn_like", noise):
        filled = imputer(x[0], torch.as_tensor(1 - mask))
        gains = []
        for share in SHARES:
            pictures = [kind(100 * (1 - share), imputer)(x[0], torch.as_tensor(values))
                        for kind in (RemoveLeastRelevantFirst, RemoveMostRelevantFirst)]
            least, most = forward(torch.stack(pictures))[:, index].detach().numpy()
            gains.append((least - most) / 2)
    return prepare.to_rgb(np.moveaxis(filled.numpy(), 0, 2)), np.array([np.mean(gains)])


def main():
    stand_in("torchvision", "ttach", "cv2")
    folder = Path(golden.__file__).parent / "evidence"
    folder.mkdir(exist_ok=True)
    for name in golden.names():
        about, arrays = compute(name)
        np.savez_compressed(folder / f"{name}.npz", about=np.array(json.dumps(about)), **arrays)
        print(name, {key: arrays[key][-1] for key in ("infidelity", "deletion", "insertion", "sensitivity", "road")})


if __name__ == "__main__":
    main()
