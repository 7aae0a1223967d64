"""The loss curve of a training, as a picture file."""
import numpy as np

from .. import image
from ..results.base import Result


def smooth(values, width):
    """A running mean over `width` steps, without those whose window is not full."""
    values = np.asarray(values, float)
    width = max(1, min(width, len(values)))
    sums = np.concatenate([[0], np.cumsum(values)])
    return (sums[width:] - sums[:-width]) / width


def loss_curve(history, path, per_epoch, held_out=()):
    """Write a figure of {"loss", "accuracy", "rate"} (one number per step) to `path`.

    The running mean over a quarter of an epoch of the training loss and of the share that was right; the learning rate
    below; held_out: [(step, share right)] as dots.
    """
    ax = Result.new_axes(9, 5.5)
    figure = ax.figure
    figure.delaxes(ax)
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    width = max(1, per_epoch // 4)
    epochs = (np.arange(len(history["loss"])) + 1) / per_epoch
    middle = epochs[len(epochs) - len(smooth(epochs, width)):]
    top.plot(epochs, history["loss"], color="tab:blue", alpha=0.15, linewidth=0.5)
    top.plot(middle, smooth(history["loss"], width), color="tab:blue", label="loss of the batches")
    top.set_ylabel("cross-entropy", color="tab:blue")
    top.set_ylim(0, min(float(np.max(history["loss"])), 1.5 * float(np.max(smooth(history["loss"], width)))))
    top.grid(alpha=0.3)
    right = top.twinx()
    right.plot(middle, smooth(np.asarray(history["accuracy"]) * 100, width), color="tab:orange")
    if held_out:
        right.plot([s / per_epoch for s, _ in held_out], [100 * share for _, share in held_out], "o", color="tab:green",
                   markersize=5, label="held out pictures")
        right.legend(loc="center right")
    right.set_ylim(0, 100)
    right.set_ylabel("right, %", color="tab:orange")
    bottom.plot(epochs, history["rate"], color="tab:gray")
    bottom.set_ylabel("rate")
    bottom.set_xlabel("epochs")
    figure.canvas.draw()
    image.save(np.asarray(figure.canvas.buffer_rgba())[..., :3].copy(), path)
