"""The command line: one sub-command per technique and command, options read from the function's own signature.

    minivis TECHNIQUE INPUT... [options] -o OUT.png

Exit status: 0, 1 (one line says what was wrong), 2 (usage), 130 (Ctrl-C). Pictures and data go to files or stdout,
progress and remarks to stderr. Only the module of the sub-command that was asked for is imported.
"""
import argparse
import contextlib
import difflib
import json
import os
import sys
import traceback
from pathlib import Path

from . import __version__, commands, techniques
from .errors import MinivisError
from .options import parameters, reserved, summary

PRINTS = ("classify",)      # techniques whose result is read, not looked at: no picture unless -o asks for one


def main(argv):
    try:
        return _run(list(argv))
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except _Usage as error:
        return _usage_error(str(error))
    except BrokenPipeError:         # `minivis layers | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _run(argv):
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(overview())
        return 0
    if argv[0] == "--version":
        print(f"minivis {__version__}")
        return 0
    name, rest = _sub_command(argv)
    if name not in techniques.TECHNIQUES and name not in commands.COMMANDS:
        return _usage_error(f"no command {name!r}{_did_you_mean(name)}; `minivis --help` lists them")
    verbose = any(a in ("-v", "--verbose") for a in argv)
    try:
        function = (techniques if name in techniques.TECHNIQUES else commands).load(name)
        parser = parser_for(name, function)
        rest = getattr(function, "translate", list)(rest)       # words that people know from another program
        arguments = parser.parse_args(rest)
        return Job(name, function, arguments).run()
    except SystemExit as exit:      # argparse has said what it had to say
        return exit.code or 0
    except BrokenPipeError:
        raise
    except (MinivisError, ValueError, KeyError, OSError, MemoryError) as error:
        if verbose:
            traceback.print_exc()
        return _failed(error)
    except Exception as error:
        if verbose:
            traceback.print_exc()
        return _failed(f"internal error: {type(error).__name__}: {error}" + ("" if verbose else " (-v shows where)"))


def _sub_command(argv):
    """-> the technique or command meant, and the arguments after it; a command may have two words: `weights get`."""
    name, rest = argv[0].replace("-", "_"), argv[1:]
    if rest and f"{name} {rest[0]}" in commands.COMMANDS:
        return f"{name} {rest[0]}", rest[1:]
    seconds = [n.split()[1] for n in commands.COMMANDS if n.startswith(f"{name} ")]
    if seconds:
        raise _Usage(f"say which: {argv[0]} {' | '.join(seconds)}")
    return name, rest


class _Usage(Exception):
    """A wrong usage that is found before there is a parser."""


def overview():
    """What `minivis --help` prints."""
    lines = ["usage: minivis TECHNIQUE INPUT... [options] -o OUT.png", "",
             "See inside convolutional networks and make pictures with them.", ""]
    width = 2 + max(map(len, [*techniques.TECHNIQUES, *commands.COMMANDS]))
    for family, title in techniques.FAMILIES.items():
        entries = [(n, e) for n, e in techniques.TECHNIQUES.items() if e.family == family]
        if entries:
            lines += [f"{title}:"] + [f"  {n.replace('_', '-'):<{width}}{e.summary}" for n, e in entries]
    lines += ["Other commands:"]
    lines += [f"  {n.replace('_', '-'):<{width}}{text}" for n, (text, *_) in commands.COMMANDS.items()]
    return "\n".join(lines + ["", "`minivis TECHNIQUE --help` shows a technique's options."])


class Parser(argparse.ArgumentParser):
    """One line for a wrong usage, exit 2."""

    def error(self, message):
        _usage_error(f"{message} (see `{self.prog} --help`)")
        self.exit(2)


def parser_for(name, function):
    """The argparse parser of one sub-command."""
    parser = Parser(prog=f"minivis {name.replace('_', '-')}", description=summary(function), allow_abbrev=False)
    takes_pictures = False
    for p in parameters(function):
        if p.is_picture and p.positional and not p.many:
            parser.add_argument(p.name, metavar="PICTURE", nargs="+", help=p.help or "one or several picture files")
            takes_pictures = True
        else:
            p.add_to(parser)
    common = parser.add_argument_group("the same for every technique")
    if "net" in reserved(function):
        common.add_argument("--network", metavar="NAME|FILE", help="a network by name, or a file with weights")
        common.add_argument("--device", default="auto", metavar="auto|cpu|gpu|gpu:N", help="(default: auto)")
        common.add_argument("--precision", default="float32", help="(default: float32)",
                            choices=("float32", "float32-direct", "float64", "tf32", "float16"))
    if {"net", "memory"} & set(reserved(function)):
        common.add_argument("--memory", metavar="SIZE", help="for work space, e.g. 500MB "
                            "(default: the smaller of 2 GB and half of what is free)")
    if "seed" in reserved(function):
        common.add_argument("--seed", type=int, default=0, metavar="N", help="random numbers start here (default: 0)")
    common.add_argument("--threads", type=int, metavar="N", help="(default: all cores)")
    if name in techniques.TECHNIQUES:
        what = "a folder if there are several pictures" if takes_pictures else "a picture file"
        common.add_argument("-o", "--output", metavar="OUT.png", help=f"where the picture goes; {what}")
        common.add_argument("--raw", metavar="OUT.npz", help="also write the numbers: arrays and the recipe")
        if techniques.TECHNIQUES[name].family in techniques.MAPS:
            common.add_argument("--scale", type=float, metavar="X", dest="ends_at", help="the figure's colours end at "
                                "this value, so that figures can be compared (default: where the technique lets them)")
            common.add_argument("--percentile", type=float, metavar="P", dest="ends_percentile",
                                help="or at this percentile of |values|; 100: at the largest")
        if techniques.TECHNIQUES[name].family in techniques.MAKING:
            common.add_argument("--figure", metavar="FIGURE.png", help="also write the picture among what it was made "
                                "of: the course of the score, differences, what the network says")
            if "monitor" in reserved(function):
                common.add_argument("--resume", action="store_true",
                                    help="go on from OUT.resume.h5, which an interrupted run leaves behind")
                common.add_argument("--film", metavar="FILM.webp", help="also write how the picture came about, as a "
                                    "film (.webp or .gif)")
                common.add_argument("--preview", metavar="FILE.png", help="keep the latest picture of the run in this "
                                    "file")
                common.add_argument("--look-every", type=int, metavar="N", help="steps from one look of film and "
                                    "preview to the next (default: a sixtieth of the run)")
    common.add_argument("--json", action="store_true", help="print the numbers as JSON")
    common.add_argument("-q", "--quiet", action="store_true", help="no progress, no remarks")
    common.add_argument("-v", "--verbose", action="store_true", help="on an error show where it happened")
    return parser


class Job:
    """One call of a technique or command: inputs read, function run once or for each picture, results delivered."""

    def __init__(self, name, function, arguments):
        self.name, self.function, self.args = name, function, arguments
        self.parameters = parameters(function)
        self.reserved = reserved(function)
        self.each = next((p for p in self.parameters if p.is_picture and p.positional and not p.many), None)
        self.stopped = False        # by Ctrl-C, with what there was until then delivered

    def run(self):
        if self.args.threads is not None:
            from .kernels.cpu import set_threads
            set_threads(self.args.threads)
        sources = _pictures_in(getattr(self.args, self.each.name)) if self.each else [None]
        if self.name in techniques.TECHNIQUES:
            targets = self._targets(sources)
        else:
            targets = [(None, None)] * len(sources)
        fixed = self._fixed_arguments()
        rows, failures = [], 0
        for source, (picture_file, raw_file) in zip(sources, targets):
            try:
                rows.append(self._one(source, fixed, picture_file, raw_file))
                if self.stopped:
                    break
            except (MinivisError, ValueError, KeyError, OSError) as error:
                if len(sources) == 1:
                    raise
                failures += 1       # the other pictures are not to blame
                _failed(error)
        if self.args.json:
            print(json.dumps(rows, indent=1))
        return 130 if self.stopped else 1 if failures else 0

    def _fixed_arguments(self):
        """Everything but the picture that changes from call to call."""
        values = {}
        if "net" in self.reserved:
            values["net"] = self._network()
        for name in ("seed", "memory"):
            if name in self.reserved:
                values[name] = getattr(self.args, name)
        for p in self.parameters:
            if p is not self.each:
                value = getattr(self.args, p.name)
                if p.is_picture and value is not None:
                    value = [p.reads.read(v) for v in value] if p.many else p.reads.read(value)
                values[p.name] = value
        return values

    def _network(self):
        from .loading import DEFAULT, load_network
        choose = getattr(self.function, "network_for", None)    # a technique that needs another one, or none
        name = self.args.network or (choose(self.args) if choose else DEFAULT)
        if name is None:
            return None
        net = load_network(name, device=self.args.device, precision=self.args.precision)
        return net.with_memory(self.args.memory) if self.args.memory else net

    def _one(self, source, fixed, picture_file, raw_file):
        values = dict(fixed)
        if self.each:
            values[self.each.name] = self.each.reads.read(source)
        monitor, state_file = None, None
        if "monitor" in self.reserved:
            from .monitor import SilentMonitor, TerminalMonitor
            how = {}
            if hasattr(self.args, "resume") and picture_file is not None:      # commands keep their own states
                state_file = self._state_file(values, picture_file)
                how = {"state_file": state_file, "resume": self.args.resume}
            monitor = SilentMonitor(**how) if self.args.quiet else TerminalMonitor(self.name, **how)
            if hasattr(self.args, "film"):
                from .recorder import Recorder
                monitor = Recorder(monitor, self.args.film, self.args.preview, self.args.look_every)
            values["monitor"] = monitor
        result = self._call(values, monitor)
        row = self._deliver(result, source, picture_file, raw_file)
        if getattr(self.args, "film", None) and monitor.finish(result.recipe):
            self._wrote(self.args.film)
        self.stopped = monitor is not None and monitor.stopping
        if state_file is not None and not self.stopped:
            state_file.delete()
        return row

    def _call(self, values, monitor):
        if monitor is None:
            return self.function(**values)
        from .monitor import Stop, stops_on_interrupt
        gently = stops_on_interrupt(monitor) if self.name in techniques.TECHNIQUES else contextlib.nullcontext()
        try:
            with gently:
                return self.function(**values)
        except Stop:
            raise KeyboardInterrupt from None       # it has nothing to show yet
        finally:
            monitor.close()

    def _state_file(self, values, picture_file):
        """Where this run keeps what it needs to go on, and what a run must have in common with it."""
        from .monitor import StateFile
        from .provenance import make_recipe
        options = {name: value for name, value in values.items() if name not in ("net", "seed", "memory")}
        net = values.get("net")
        recipe = make_recipe(self.name, options, net, values.get("seed", 0), getattr(self.args, "precision", "float32"),
                             "cpu" if net is None else net.device)
        return StateFile(picture_file.with_name(f"{picture_file.stem}.resume.h5"), recipe)

    def _deliver(self, result, source, picture_file, raw_file):
        row = {"image": source} if source is not None else {}
        if result is None:
            return row
        ends = [getattr(self.args, name, None) for name in ("ends_at", "ends_percentile")]
        if ends != [None, None]:
            result.set_scale(*ends)
        for file in (picture_file, raw_file):
            if file is not None:
                result.save(file)
                self._wrote(file)
        if self.name in techniques.TECHNIQUES and getattr(self.args, "figure", None):
            from .image import save
            save(result.picture(), self.args.figure)
            self._wrote(self.args.figure)
        if self.args.json:
            return row | result.to_dict()
        said = result.said() if hasattr(result, "said") and not self.args.quiet else ""
        if said:
            print(said)
        if self.name in PRINTS or self.name in commands.COMMANDS:
            many = self.each is not None and len(getattr(self.args, self.each.name)) > 1
            print((f"{source}\n" if many else "") + result.text())
        return row

    def _wrote(self, file):
        if not self.args.quiet and not self.args.json:
            print(f"wrote {file}", file=sys.stderr)

    def _check_looks(self, several):
        """--film, --preview and --look-every, before any work is done."""
        from .files import check_folder
        from .image import FILMS, check_writable
        film, preview, every = (getattr(self.args, name, None) for name in ("film", "preview", "look_every"))
        if several and (film or preview):
            raise MinivisError("--film and --preview go with one picture; with several, call minivis once for each")
        if film:
            if Path(film).suffix.lower() not in FILMS:
                raise MinivisError(f"--film {film}: a film ends in {' or '.join(FILMS)}")
            check_folder(film)
        if preview:
            check_writable(preview)
        if every is not None and every < 1:
            raise MinivisError(f"--look-every {every} must be at least 1")

    def _targets(self, sources):
        """(picture file, raw file) for each source; all checked before any work is done."""
        from .image import FILMS, check_writable
        several = len(sources) > 1
        if getattr(self.args, "figure", None):
            if several:
                raise MinivisError("--figure goes with one picture; with several, call minivis once for each")
            check_writable(self.args.figure)
        self._check_looks(several)
        names = _distinct_names(sources, self.name)
        pictures = _places(self.args.output, several, names, ".png")
        if self.args.output is None and self.name in PRINTS:
            pictures = [None] * len(sources)
        raws = _places(self.args.raw, several, names, ".npz") if self.args.raw else [None] * len(sources)
        for picture, raw in zip(pictures, raws):
            film = getattr(self.args, "frames", None) and picture is not None and picture.suffix.lower() in FILMS
            if picture is not None and not film:
                check_writable(picture)
            if raw is not None:
                _check_raw(raw)
        return list(zip(pictures, raws))


def _pictures_in(sources):
    """The files named; a folder stands for the pictures that lie in it, by name."""
    found = []
    for source in sources:
        files = []
        if Path(source).is_dir():
            from .dataset import SUFFIXES
            files = [str(f) for f in sorted(Path(source).iterdir()) if f.suffix.lower() in SUFFIXES]
        found += files or [source]          # reading a folder without pictures is an error that says so
    return found


def _places(where, several, names, suffix):
    """Files to write: the one named, or one for each source in the folder named, or in this one."""
    folder = None if where is None else Path(where)
    if folder is not None and not several and not folder.is_dir() and not str(where).endswith(("/", os.sep)):
        return [folder]
    if folder is not None and folder.exists() and not folder.is_dir():
        raise MinivisError(f"{where} is a file; with several pictures -o and --raw name a folder")
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    return [(folder or Path()) / f"{name}{suffix}" for name in names]


def _distinct_names(sources, technique):
    """STEM.TECHNIQUE for each source; sources of the same stem are numbered, so that none overwrites another."""
    names, seen = [], {}
    for source in sources:
        stem = Path(source).stem if source is not None else None
        name = technique.replace("_", "-") if stem is None else f"{stem}.{technique.replace('_', '-')}"
        seen[name] = seen.get(name, 0) + 1
        names.append(name if seen[name] == 1 else f"{name}.{seen[name]}")
    return names


def _check_raw(path):
    from .files import check_folder
    if Path(path).suffix != ".npz":
        raise MinivisError(f"{path}: numbers are written as .npz; end the name in .npz")
    check_folder(path)


def _failed(error):
    if type(error).__module__.startswith("cupy") and isinstance(error, MemoryError):
        from .devices import out_of_memory
        error = out_of_memory(error)
    if isinstance(error, MemoryError) and not isinstance(error, MinivisError):
        message = f"out of memory: {error}".rstrip(": ") + "; a smaller picture or --memory may help"
    elif isinstance(error, KeyError) and error.args:
        message = str(error.args[0])        # str(KeyError) would add quotes
    else:
        message = str(error)
    print(f"minivis: {' '.join(message.split())}", file=sys.stderr)
    return 1


def _usage_error(message):
    print(f"minivis: {message}", file=sys.stderr)
    return 2


def _did_you_mean(name):
    close = difflib.get_close_matches(name, [*techniques.TECHNIQUES, *commands.COMMANDS], 2)
    return f"; did you mean {' or '.join(c.replace('_', '-') for c in close)}?" if close else ""
