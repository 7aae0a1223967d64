"""Trains minivgg, the network that comes with minivis, on Tiny ImageNet; or states the accuracy of what ships.

    python -m tools.train_minivgg --data tiny-imagenet-200              # trains, resumes, writes weights/minivgg.h5
    python -m tools.train_minivgg --data tiny-imagenet-200 --eval       # accuracy of the shipped file at 64, 80, 128 px

The state after every few minutes lies beside the output (`.state.h5`); a killed run goes on from there with the same
bits. `--phases 4x32/0.1,5x48,3x64` are epochs x size, and the share of crops that are not resized (see Augment).
Behind a semicolon another cycle of the learning rate follows, `;HEIGHT:PHASES`: a finished training is continued by
naming what it was and what comes next. The result is the end of the last cycle, or with `--average N` the mean of the
weights at the ends of the last N.

Without the state, `--start FILE` goes on from the weights of a finished file: batch normalisation is put back so that
the function stays the same, and the recipe that is stored names both trainings. With `--blend SHARE` the result lies
that share of the way from FILE's weights to the new ones: what was learnt for other sizes of picture is not forgotten
(Wortsman et al. 2022, arXiv:2109.01903).
"""
import argparse
import datetime
import json
import os
import sys
from pathlib import Path

MALLOC = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 34)}     # keep memory instead of giving it back
MEAN, STD = (122.5, 114.3, 101.4), (70.5, 68.6, 71.8)           # of the training pictures, grey levels
SIZES = (64, 80, 128)


def main(arguments=None):
    args = parser().parse_args(arguments)
    if not 0 <= args.blend <= 1 or (args.blend < 1 and not args.start):
        parser().error(f"--blend {args.blend:g} must be a share from 0 to 1, and wants --start FILE")
    from minivis.training import tiny_imagenet
    if args.eval:
        return state_accuracy(args, tiny_imagenet(args.data, "val"))
    train(args, tiny_imagenet(args.data, "train"), tiny_imagenet(args.data, "val"))


def parser():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--data", required=True, help="the folder tiny-imagenet-200")
    p.add_argument("-o", "--output", default=str(Path(__file__).parents[1] / "weights" / "minivgg.h5"))
    p.add_argument("--eval", action="store_true", help="state the accuracy of the file --output and end")
    p.add_argument("--phases", default="4x32/0.1,5x48/0.4,3x64/0.5;0.2:1.5x48+64+64+80+96+128/0.5",
                   help="epochs x size / sharp, ...")
    p.add_argument("--start", metavar="FILE", help="a minivgg whose weights are where this training begins")
    p.add_argument("--blend", type=float, default=1.0, metavar="SHARE",
                   help="with --start: how far the result goes from FILE's weights to those that were trained")
    p.add_argument("--rate", type=float, default=0.1)
    p.add_argument("--batch", type=int, default=128)
    p.add_argument("--weight-decay", type=float, default=5e-4)
    p.add_argument("--smoothing", type=float, default=0.1)
    p.add_argument("--scale", type=float, default=0.3, help="least share of the picture that a resized crop shows")
    p.add_argument("--average", type=int, default=1, metavar="N",
                   help="the result is the mean of the weights at the ends of the last N cycles")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--curve", metavar="PNG", help="where to draw the loss curve in the end")
    p.add_argument("--device", default="auto")
    p.add_argument("--stop-after", type=int, help="end after so many steps; the state is kept")
    return p


def untrained(labels, seed, device):
    """minivgg with batch normalisation and He's initialisation, all of it trainable."""
    from minivis import Network, architectures, loading
    from minivis.devices import choose
    from minivis.layers import Table
    table = architectures.minivgg(classes=len(labels), norm=True)
    layers = Table(table.pop("layers"))
    preprocessing = {"size": [128, 128], "resize": 128, "crop": "centre", "interpolation": "bilinear",
                     "antialias": True, "channels": "RGB", "range": 255, "mean": MEAN, "std": STD}
    net = Network(layers, loading.random_weights(layers, seed), **table, preprocessing=preprocessing, labels=labels,
                  meta={"architecture": "minivgg", "licence": "the weights: public domain (CC0)"}).to(choose(device))
    net.weights.unfreeze()
    return net


def begun(net, path, pictures):
    """`net` with the weights of a finished file, made trainable again."""
    from minivis import load_network
    from minivis.training import unfolded
    before = load_network(path)
    x = before.preprocessing.normalize(pictures, before.dtype)
    start = net.with_weights(unfolded(before, net.table, x))
    start.weights.unfreeze()
    start.meta["began_with"] = before.meta.get("recipe", "")
    return start


def plan(text):
    """([[Phase, ...] of each cycle], [height of each]) of "PHASES;HEIGHT:PHASES;..."."""
    heights, cycles = [], []
    for part in text.split(";"):
        height, _, phases = part.rpartition(":")
        heights.append(float(height or 1))
        cycles.append([phase(one) for one in phases.split(",")])
    return cycles, heights


def phase(text):
    """A Phase from "EPOCHSxSIZE/SHARP"; SIZE+SIZE+...: one of these for each batch."""
    from minivis.training import Phase
    epochs, rest = text.split("x")
    size, _, sharp = rest.partition("/")
    return Phase(float(epochs), tuple(map(int, size.split("+"))), {"sharp": float(sharp)} if sharp else {})


def continued(path, recipe):
    """The StateFile of a training; one whose recipe says less in --phases only, but the same as far as it goes, is
    taken over."""
    from minivis.monitor import StateFile, read_state, write_state
    if path.exists():
        state, before = read_state(path)
        same = {**before, "phases": recipe["phases"]} == recipe
        if same and before["phases"] != recipe["phases"] and recipe["phases"].startswith(before["phases"] + ";"):
            write_state(path, state, recipe)
    return StateFile(path, recipe, every=180)


def train(args, data, held_out):
    import numpy as np
    from tqdm import tqdm

    from minivis import training
    phases, heights = plan(args.phases)
    elsewhere = ("data", "output", "eval", "device", "curve", "stop_after")
    recipe = {key: value for key, value in vars(args).items() if key not in elsewhere}
    state = continued(Path(args.output).with_suffix(".state.h5"), recipe)
    net = untrained(data.labels, args.seed, args.device)
    if args.start:
        net = begun(net, args.start, data.pictures[::100])
    lengths = [sum(round(phase.epochs * (len(data) // args.batch)) for phase in cycle) for cycle in phases]
    trainer = training.Trainer(net, data, [phase for cycle in phases for phase in cycle],
                               training.SGD(0.9, args.weight_decay), args.rate, batch=args.batch,
                               schedule=training.cycles(list(zip(lengths, heights))),
                               smoothing=args.smoothing, seed=args.seed, start=state.load(),
                               augment={"scale": (args.scale, 1.0)},
                               average_at=np.cumsum(lengths)[-args.average:].tolist())
    some = training.Pictures(held_out.pictures[::5], held_out.classes[::5], held_out.labels)
    print(f"{net.parameters:,} parameters, {len(data):,} pictures, {trainer.steps:,} steps", flush=True)
    bar = tqdm(total=trainer.steps, initial=trainer.done, unit="step", mininterval=10, dynamic_ncols=True)
    for step in trainer:
        bar.update()
        loss, right = (np.mean(trainer.history[name][-100:]) for name in ("loss", "accuracy"))
        bar.set_postfix_str(f"{step.size} px, rate {step.rate:.4f}, loss {loss:.3f}, right {right:.1%}", refresh=False)
        if step.done % trainer.per_epoch == 0:
            share = training.accuracy(trainer.trained(), some, 64)[0]
            tqdm.write(f"after {step.done:,} steps: {share:.1%} of {len(some):,} held out pictures at 64 px")
        state.save(trainer.state)
        if step.done == args.stop_after:
            state.save(trainer.state, force=True)
            return
    bar.close()
    state.save(trainer.state, force=True)
    finish(args, trainer, held_out, recipe)


def finish(args, trainer, held_out, recipe):
    """Fold, store as float16, measure what was stored, and write the measurement into it."""
    from minivis import load_network, training
    from minivis.checkpoints import minivis_hdf5
    net = training.folded(trainer.trained(average=True).to("cpu"))
    if args.start:
        if args.blend < 1:
            net = blended(load_network(args.start, device="cpu"), net, args.blend)
        recipe = recipe | {"start": json.loads(net.meta.pop("began_with") or "null")}      # the recipe before this one
    net.meta |= {"source": "trained by tools/train_minivgg.py on Tiny ImageNet", "recipe": json.dumps(recipe),
                 "date": datetime.date.today().isoformat()}
    minivis_hdf5.write(net, args.output, "float16")
    stored = load_network(args.output)
    found = {size: training.accuracy(stored, held_out, size) for size in SIZES}
    net.meta["accuracy"] = accuracy_text(found)
    minivis_hdf5.write(net, args.output, "float16")
    if args.curve:
        training.loss_curve(trainer.history, args.curve, trainer.per_epoch)
    print(f"{args.output}: {net.meta['accuracy']}")


def blended(before, after, share):
    """`after` with weights this share of the way from those of `before`."""
    old = before.weights.arrays()
    return after.with_weights({name: (old[name] + share * (new - old[name])).astype(new.dtype)
                               for name, new in after.weights.arrays().items()})


def accuracy_text(found):
    return "; ".join(f"{size} px: top-1 {top1:.2%}, top-5 {top5:.2%}" for size, (top1, top5) in found.items())


def state_accuracy(args, held_out):
    from minivis import load_network, training
    net = load_network(args.output, device=args.device)
    print(f"stated   {net.meta.get('accuracy', 'nothing')}")
    print(f"measured {accuracy_text({size: training.accuracy(net, held_out, size) for size in SIZES})}")


if __name__ == "__main__":
    if sys.platform == "linux" and "MALLOC_MMAP_MAX_" not in os.environ:
        os.execve(sys.executable, [sys.executable, "-m", "tools.train_minivgg", *sys.argv[1:]], os.environ | MALLOC)
    main()
