"""Trains `digits`, writes weights/digits.h5 and says how good it is; or repeats Choromanska's remark on loss surfaces.

    python -m tools.train_digits                        # a minute at most
    python -m tools.train_digits --spread spread.png    # 20 trainings at each of three widths

Choromanska et al. 2015 (arXiv:1412.0233): the larger the network, the closer together are the losses of the minima that
training ends in, so which of them one finds matters less and less. --spread shows it: the held-out loss after training
from 20 seeds, for networks of 2, 8 and 32 filters.
"""
import argparse
import datetime
import json
import time
from pathlib import Path

import numpy as np

WIDTHS, SEEDS = (2, 8, 32), 20


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", default=str(Path(__file__).parents[1] / "weights" / "digits.h5"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--curve", metavar="PNG", help="where to draw the loss curve")
    parser.add_argument("--spread", metavar="PNG", help="the experiment in place of the training")
    args = parser.parse_args(arguments)
    if args.spread:
        spread(args.spread)
    else:
        train(args)


def train(args):
    from tqdm import tqdm

    from minivis import load_network
    from minivis.checkpoints import minivis_hdf5
    from minivis.training import accuracy, loss_curve
    from minivis.training.digits import digits_data, train_digits
    begun = time.perf_counter()
    with tqdm(unit="step") as bar:
        def show(step):
            bar.total = step.total
            bar.set_postfix_str(f"loss {step.loss:.3f}, right {step.accuracy:.0%}", refresh=False)
            bar.update()
        net, history = train_digits(seed=args.seed, epochs=args.epochs, progress=show)
    held_out = digits_data()[1]
    net.meta |= {"source": "trained by tools/train_digits.py on scikit-learn's digits",
                 "recipe": json.dumps({"seed": args.seed, "epochs": args.epochs}),
                 "date": datetime.date.today().isoformat()}
    minivis_hdf5.write(net, args.output, "float16")
    share = accuracy(load_network(args.output), held_out)[0]
    net.meta["accuracy"] = f"top-1 {share:.2%} of {len(held_out)} digits held out"
    minivis_hdf5.write(net, args.output, "float16")
    if args.curve:
        loss_curve(history, args.curve, len(digits_data()[0]) // 32)
    print(f"{args.output}: {Path(args.output).stat().st_size / 1e3:.0f} kB, {net.parameters:,} parameters, "
          f"{net.meta['accuracy']}; {time.perf_counter() - begun:.0f} s")


def spread(path):
    from tqdm import tqdm

    from minivis import image
    from minivis.results.base import Result
    from minivis.training.digits import digits_data, train_digits
    held_out = digits_data()[1]
    losses = {width: [] for width in WIDTHS}
    for width, seed in tqdm([(w, s) for w in WIDTHS for s in range(SEEDS)], unit="training"):
        net, _ = train_digits(width, seed, epochs=15)
        losses[width].append(held_out_loss(net, held_out))
    ax = Result.new_axes(7, 4)
    for i, (width, values) in enumerate(losses.items()):
        ax.plot(i + np.linspace(-0.25, 0.25, SEEDS), sorted(values), "o", markersize=4)
        ax.plot([i - 0.3, i + 0.3], [np.mean(values)] * 2, color="black", linewidth=1)
        print(f"width {width:2d}: loss {np.mean(values):.4f}, standard deviation {np.std(values):.4f}")
    ax.set_xticks(range(len(WIDTHS)), [f"{width} and {2 * width} filters" for width in WIDTHS])
    ax.set_yscale("log")
    for which in (ax.yaxis.set_major_formatter, ax.yaxis.set_minor_formatter):      # 0.2, not 2 x 10^-1
        which("{x:g}")
    ax.set_ylabel("cross-entropy on held-out digits")
    ax.set_title(f"{SEEDS} trainings each: the larger the network, the nearer and the lower the minima", fontsize=10)
    ax.grid(alpha=0.3, axis="y", which="both")
    ax.figure.canvas.draw()
    image.save(np.asarray(ax.figure.canvas.buffer_rgba())[..., :3].copy(), path)


def held_out_loss(net, data):
    from minivis.ops.loss import cross_entropy
    logits = net(net.preprocessing.normalize(data.pictures))[net.logits_layer]
    return float(cross_entropy(logits, data.classes).numpy().mean())


if __name__ == "__main__":
    main()
