"""What the command line does besides techniques. One module per command, the function of the same name, annotated with
the words of minivis.options like a technique's; it returns what is to be printed (see results.Report), or None."""
import importlib

COMMANDS = {
    "layers": "every layer of a network: shape, parameters, multiply-adds, receptive field",
}


def load(name):
    """The function of a command; its module is imported only now."""
    return getattr(importlib.import_module(f"{__name__}.{name}"), name)
