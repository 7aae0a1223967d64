"""Progress, previews, stop and saved state: one channel between a long technique and whoever runs it.

A technique calls `monitor.step(...)` once per step; it may raise `Stop`, upon which the technique returns its best so
far. It offers its state by `monitor.save(...)` and asks for the last one by `monitor.load()`. The command line, a
notebook and a page each supply a monitor; a technique that gets None uses `SilentMonitor()`.
"""

import contextlib
import json
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Protocol
from urllib.parse import quote, unquote

import numpy as np

from .errors import MinivisError
from .files import atomic_write

FORMAT = "minivis state"
VERSION = 1


class Stop(Exception):
    """Raised by a monitor's `step`: end now and return the best so far. Not an error."""


class Monitor(Protocol):
    """What a technique may call."""

    def step(self, done, total, terms=None, picture=None):
        """`done` of `total` steps are finished; terms: {name of a loss term: number}; picture: the latest, uint8, or a
        function that makes it, called only if someone looks. May raise Stop."""

    def save(self, state):
        """Offer a state: a nested dict of arrays, numbers and strings, or a function that makes it. The monitor
        decides whether to keep it."""

    def load(self):
        """The last state kept by an earlier run with the same recipe, or None."""


class SilentMonitor:
    """Shows nothing; keeps states when given a StateFile, and goes on from an old one unless `resume` is False."""

    def __init__(self, state_file=None, resume=True):
        self.state_file, self.resume = state_file, resume
        self.stopping, self.offered = False, None

    def stop(self):
        """Let the run end at its next step, with the best so far; its state is kept."""
        self.stopping = True

    def step(self, done, total, terms=None, picture=None):
        if self.stopping and done < total:
            if self.offered is not None:        # the last one came too early to be written
                self.state_file.save(self.offered, force=True)
            raise Stop

    def save(self, state):
        if self.state_file is not None:
            self.offered = None if self.state_file.save(state, force=self.stopping) else state

    def load(self):
        return self.state_file.load() if self.state_file is not None and self.resume else None

    def close(self):
        """Called when the run ends, however it ends."""


class TerminalMonitor(SilentMonitor):
    """A bar with the time left and the loss terms on stderr; silent when stderr is no terminal."""

    def __init__(self, title="", state_file=None, stream=None, resume=True):
        super().__init__(state_file, resume)
        self.title = title
        self.stream = sys.stderr if stream is None else stream
        self.bar = None

    def step(self, done, total, terms=None, picture=None):
        if self.stream.isatty():
            self._show(done, total, terms)
        super().step(done, total, terms, picture)

    def _show(self, done, total, terms):
        if self.bar is None or self.bar.total != total:
            self.close()
            from tqdm import tqdm
            # a resumed run begins at its first step's number, so that the time left counts this run's speed only
            self.bar = tqdm(total=total, initial=max(0, done - 1), desc=self.title or None, file=self.stream,
                            dynamic_ncols=True, leave=False)
        if terms:
            self.bar.set_postfix({name: f"{float(value):.4g}" for name, value in terms.items()}, refresh=False)
        self.bar.update(done - self.bar.n)
        if done == total:
            self.bar.refresh()          # tqdm draws at most every 0.1 s

    def close(self):
        if self.bar is not None:
            self.bar.close()
            self.bar = None


@contextlib.contextmanager
def stops_on_interrupt(monitor, stream=None):
    """Within, the first Ctrl-C stops a SilentMonitor's run at its next step; the second ends it at once."""
    def interrupt(_number, _frame):
        if monitor.stopping:
            raise KeyboardInterrupt
        monitor.stop()
        print("stopping after this step, with what there is; Ctrl-C again ends at once", file=stream or sys.stderr)

    ours = threading.current_thread() is threading.main_thread() and (      # only that thread may handle signals
        signal.getsignal(signal.SIGINT) is signal.default_int_handler)      # and nobody else wants them
    if ours:
        signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        if ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)


class StateFile:
    """Where a long run keeps its state: one HDF5 file, replaced whole (temporary file, fsync, rename).

    recipe: the JSON-able dict that says what is run; a file with another recipe is refused. A save is skipped until
    `every` seconds after the last one, and longer where saving would take more than `share` of the run time.
    """

    def __init__(self, path, recipe, every=30.0, share=0.05, clock=time.monotonic):
        self.path = Path(path)
        self.recipe = json.loads(json.dumps(recipe, sort_keys=True))
        self.every, self.share, self.clock = every, share, clock
        self.wait = every
        self.last = clock()

    def save(self, state, force=False):
        """Write the state, or skip it when it is too early. Returns whether it was written."""
        begin = self.clock()
        if not force and begin - self.last < self.wait:
            return False
        write_state(self.path, state() if callable(state) else state, self.recipe)
        self.last = self.clock()
        self.wait = max(self.every, (self.last - begin) / self.share)
        return True

    def load(self):
        """The stored state; None when there is no file; an error when it belongs to another recipe or is damaged."""
        if not self.path.exists():
            return None
        state, recipe = read_state(self.path)
        if recipe != self.recipe:
            names = sorted(_differences(self.recipe, recipe))
            raise MinivisError(f"{self.path} belongs to another run: {', '.join(names)} differ; "
                               "give the options of that run, or delete the file to start anew")
        return state

    def delete(self):
        """Remove the file: the run is complete."""
        self.path.unlink(missing_ok=True)


def write_state(path, state, recipe):
    """Write a nested dict (lists allowed) of arrays, numbers, strings, booleans and None, exactly, as one HDF5 file."""
    import h5py
    with atomic_write(path) as temporary, h5py.File(temporary, "w", track_order=True) as file:
        file.attrs.update({"format": FORMAT, "version": VERSION})
        file["recipe"] = json.dumps(recipe)
        _write(file, "state", state)


def read_state(path):
    """(state, recipe) of a file written by `write_state`."""
    import h5py
    try:
        with h5py.File(path, "r") as file:
            if file.attrs.get("format") != FORMAT or file.attrs.get("version") != VERSION:
                raise MinivisError(f"{path} is not a saved state of this version of minivis")
            recipe = json.loads(_item(file, "recipe")[()])
            return _read(file, "state"), recipe
    except MinivisError:
        raise
    except Exception as error:      # h5py raises OSError, KeyError, RuntimeError ... on damaged files
        raise MinivisError(f"{path} is damaged and cannot be resumed from: {error}") from error


def _write(group, name, value):
    """One value under `name`. Arrays are datasets; dicts and lists are groups; the rest is a JSON string, exact for
    floats (shortest round trip) and for integers of any size (a random generator's state has 128 bits)."""
    if isinstance(value, dict):
        child = group.create_group(name, track_order=True)
        child.attrs["kind"] = "dict"
        for key, item in value.items():
            if not isinstance(key, str):
                raise TypeError(f"saved state: the key {key!r} must be a string")
            _write(child, "k" + quote(key, safe="").replace(".", "%2E"), item)      # '/' and '.' mean paths in HDF5
    elif isinstance(value, (list, tuple)):
        child = group.create_group(name, track_order=True)
        child.attrs["kind"] = "list"
        for i, item in enumerate(value):
            _write(child, str(i), item)
    elif value is None or (isinstance(value, (bool, int, float, str)) and not isinstance(value, np.generic)):
        group[name] = json.dumps(value)
        group[name].attrs["kind"] = "json"
    else:
        array = np.asarray(value.get() if hasattr(value, "get") else value)         # `.get()`: from a GPU
        if array.dtype.kind not in "biufc":
            raise TypeError(f"saved state: {name!r} is a {type(value).__name__}, which cannot be stored")
        group[name] = array
        group[name].attrs["kind"] = "array"


def _read(group, name):
    item = _item(group, name)
    kind = item.attrs["kind"]
    if kind == "dict":
        return {unquote(key[1:]): _read(item, key) for key in item}
    if kind == "list":
        return [_read(item, str(i)) for i in range(len(item))]
    return json.loads(item[()]) if kind == "json" else item[()]


def _item(group, name):
    """The member `name`, only if it lies in this very file: HDF5 links may name other files."""
    import h5py
    if not isinstance(group.get(name, getlink=True), h5py.HardLink):
        raise ValueError(f"{name!r} is a link")
    item = group[name]
    if isinstance(item, h5py.Dataset) and (item.is_virtual or item.external):
        raise ValueError(f"{name!r} is stored outside the file")
    return item


def _differences(ours, theirs, prefix=""):
    """Dotted names of the entries in which two JSON values differ."""
    if not (isinstance(ours, dict) and isinstance(theirs, dict)):
        return [] if ours == theirs else [prefix or "recipe"]
    names = []
    for key in sorted(set(ours) | set(theirs)):
        name = f"{prefix}.{key}" if prefix else key
        if key not in ours or key not in theirs:
            names.append(name)
        else:
            names += _differences(ours[key], theirs[key], name)
    return names
