"""What the command line does besides techniques. One module per command, the function of the same name, annotated with
the words of minivis.options like a technique's; it returns what is to be printed (see results.Report), or None."""
import importlib

COMMANDS = {        # the words: (summary, the function if it is not named like the last word)
    "demo": ("a page of pictures from every technique: no argument, no download",),
    "layers": ("every layer of a network: shape, parameters, multiply-adds, receptive field",),
    "compare": ("several techniques on one picture, with a table of the evidence for each",),
    "index": ("features and strongest patches of a whole set of pictures, kept in a file",),
    "train_style": ("train a network that redraws pictures in a style, or in several",),
    "stylize_film": ("redraw a film in a style: GIF, WebP, .mp4, or a folder of pictures",),
    "health": ("which channels of a network are dead, idle or noisy on a set of pictures",),
    "verify": ("compute what other tools computed for small networks, and print every difference",),
    "warmup": ("compile the CPU kernels now, so that the first picture need not wait",),
    "weights list": ("published weights by name, their size and licence", "list_weights"),
    "weights get": ("fetch published weights, verify and convert them",),
    "weights convert": ("convert a weights file of any form",),
    "weights check": ("read a weights file of any form completely, and say what it is",),
    "weights normalise": ("the same network with mean activation 1 in every filter (Gatys)",),
}


def load(name):
    """The function of a command; its module is imported only now."""
    module, *_, word = f"{name.split()[0]} {name}".split()
    return getattr(importlib.import_module(f"{__name__}.{module}"), (*COMMANDS[name], word)[1])
