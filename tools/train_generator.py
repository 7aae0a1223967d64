"""Train the generator of `--preset generator` on the codes of a network.

    python -m tools.train_generator --data tiny-imagenet-200 --network minivgg -o generator.h5 [--minutes 15]

Needs nothing but pictures; labels are not used. Writes a weights file (float16) and OUT.sheet.png: pictures that were
kept back in the upper rows, what the generator makes of their codes below. An interrupted run goes on with --resume.
"""
import argparse
import json
import time
from pathlib import Path

import numpy as np

from minivis import image, show
from minivis.checkpoints import minivis_hdf5
from minivis.loading import load_network
from minivis.monitor import StateFile
from minivis.training.data import tiny_imagenet
from minivis.training.generator import GeneratorTask
from minivis.training.style import StyleTrainer

SHOWN = 16


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="the folder tiny-imagenet-200")
    parser.add_argument("--split", default="train", choices=("train", "val"), help="val: a tenth of the memory")
    parser.add_argument("--network", default="minivgg")
    parser.add_argument("--layer", default="pool5", help="whose activations are the code")
    parser.add_argument("--seen", default="relu2_1,relu4_1", help="layers in which pictures are compared")
    parser.add_argument("-o", "--out", default="generator.h5")
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--width", type=int, default=192)
    parser.add_argument("--minutes", type=float, help="stop after so long, whatever --steps says")
    parser.add_argument("--resume", action="store_true")
    a = parser.parse_args()
    net, kept = load_network(a.network), tiny_imagenet(a.data, "val").pictures
    pictures = kept[SHOWN:] if a.split == "val" else tiny_imagenet(a.data).pictures
    kept = kept[:SHOWN]
    task = GeneratorTask(net, a.layer, pictures, seen=dict.fromkeys(a.seen.split(","), 1.0),
                         batch=a.batch, width=a.width)
    states = StateFile(Path(a.out).with_suffix(".resume.h5"), {**vars(a), "minutes": None, "resume": None}, every=60)
    trainer = StyleTrainer(task, a.steps, a.rate, start=states.load() if a.resume else None)
    begun = time.monotonic()
    for step in trainer:
        states.save(trainer.state)
        if step.done % 25 == 0 or step.done == step.total:
            print(f"{step.done} of {step.total}, {(time.monotonic() - begun) / 60:.1f} min: "
                  + ", ".join(f"{name} {value:.4f}" for name, value in step.terms.items()), flush=True)
        if step.done % 200 == 0 or step.done == step.total:
            deliver(task, net, kept, a.out, recipe(a, step.done))
        if a.minutes and time.monotonic() - begun > 60 * a.minutes:
            break
    deliver(task, net, kept, a.out, recipe(a, trainer.done))


def recipe(a, done):
    """What the file says of how it came about; whose codes it reads is in its `source`."""
    options = {name: getattr(a, name) for name in ("split", "network", "layer", "seen", "batch", "rate", "width")}
    return json.dumps({"trained_by": "tools/train_generator.py", **options, "steps": a.steps, "done": done},
                      sort_keys=True)


def deliver(task, net, kept, out, how):
    """Write the generator as it is, and what it makes of pictures that were kept back."""
    generator = task.trained()
    generator.meta["recipe"] = how
    minivis_hdf5.write(generator, out, "float16")
    code = net(net.preprocessing.normalize(kept, net.dtype), layers=[task.layer])[task.layer].data
    z = (code - generator.weights["code/shift"].data) / generator.weights["code/scale"].data
    made = np.rint(generator(z, layers=["picture"])["picture"].data.clip(0, 255)).astype(np.uint8)
    image.save(show.grid(np.concatenate([kept, made]), columns=8, padding=2), Path(out).with_suffix(".sheet.png"))


if __name__ == "__main__":
    main()
