"""Modules in which every name is an empty class, for packages that a rival imports but does not use here."""
import importlib.abc
import importlib.machinery
import importlib.util
import sys
import types


class Empty:
    def __init__(self, *args, **kwargs):
        pass


class StandIn(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """`stand_in("torchvision")`: where the package is not installed, imports of it find this."""

    def __init__(self, names):
        self.names = names

    def find_spec(self, name, path=None, target=None):
        return importlib.machinery.ModuleSpec(name, self, is_package=True) if name.split(".")[0] in self.names else None

    def create_module(self, spec):
        module = types.ModuleType(spec.name)
        module.__getattr__ = lambda name: type(name, (Empty,), {}) if not name.startswith("__") else None
        module.__path__ = []
        return module

    def exec_module(self, module):
        pass


def stand_in(*names):
    """Stand in for those of the packages that are not installed."""
    missing = [name for name in names if name not in sys.modules and importlib.util.find_spec(name) is None]
    if missing:
        sys.meta_path.append(StandIn(missing))
