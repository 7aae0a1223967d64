"""The same figure for several networks."""
import argparse
import inspect
import shlex

from ..errors import MinivisError
from ..options import Network, Picture, parameters, reserved
from ..provenance import make_recipe, network_identity
from ..results import Comparison


def compare_networks(net: Network, technique: str, others: list[Network], *, picture: Picture | None = None,
                     options: str = "", seed=0, memory=None) -> Comparison:
    """One technique, run with the same options on several networks; their figures side by side.

    Each map keeps its own scale, printed below it: heights of different networks cannot be compared, shapes can. To
    compare what layers know, not what they look at, see `cka`.

    technique   the name of a technique
    others      networks to set beside the first
    picture     the picture that all explain, if the technique takes one
    options     the technique's own options, as "layer=relu5 steps=30": without dashes, several values after commas
    """
    from . import load
    name = technique.strip().replace("-", "_")
    if name == "compare_networks":
        raise MinivisError("compare_networks: name another technique")
    function = load(name)
    given = read_options(function, options)
    takes = inspect.signature(function).parameters
    wanted = [p.name for p in parameters(function) if p.required]
    if picture is not None:
        if "picture" not in takes:
            raise MinivisError(f"compare_networks: {name} takes no picture")
        given["picture"] = picture
    missing = [n for n in wanted if n not in given]
    if "net" not in takes or missing:
        raise MinivisError(f"compare_networks: {name} needs {', '.join(missing) or 'no network'}; give "
                           + ("--picture" if missing == ["picture"] else "them in --options, as NAME=VALUE"))
    given |= {key: value for key, value in (("seed", seed), ("memory", memory)) if key in reserved(function)}
    nets = [net, *others]
    results = [function(one, **given) for one in nets]
    title = f"{results[0].technique}: {len(nets)} networks"
    notes = list(dict.fromkeys(note for result in results for note in result.notes
                               if all(note in r.notes for r in results)))
    return Comparison(results, captions(nets), title=title, notes=notes,
                      recipe=make_recipe("compare_networks", {"technique": name, "picture": picture, "options": options,
                                         "others": [network_identity(other) for other in others]}, net, seed,
                                         net.precision, net.device))


def captions(nets):
    """Their names; with the beginning of their weights' hash where names repeat."""
    names = [one.name for one in nets]
    return [name if names.count(name) == 1 else f"{name}, weights {one.weights_hash()[:8]}"
            for name, one in zip(names, nets)]


def read_options(function, text):
    """{name: value} of "layer=relu5 sizes=1,2", read as the command line would."""
    parser = _Parser(add_help=False, allow_abbrev=False)
    known = {p.name: p for p in parameters(function)}
    for p in known.values():
        if not p.is_picture:
            p.positional, p.required = False, False
            p.add_to(parser)
    words, named = [], []
    for word in shlex.split(text):
        key, equals, value = word.partition("=")
        key = key.strip().lstrip("-").replace("-", "_")
        if key not in known or known[key].is_picture or not equals:
            raise MinivisError(f"compare_networks: {word!r} is no option NAME=VALUE of {function.__name__}; it has "
                               f"{', '.join(n for n, p in known.items() if not p.is_picture)}")
        named.append(key)
        p = known[key]
        if p.is_bool:
            if value.lower() not in ("yes", "no", "true", "false", "1", "0"):
                raise MinivisError(f"compare_networks: {word!r} must be yes or no")
            words.append(p.flag if value.lower() in ("yes", "true", "1") else f"--no-{p.flag[2:]}")
        else:
            words += [p.flag, *value.split(",")] if p.many else [f"{p.flag}={value}"]
    values = vars(parser.parse_args(words))
    return {key: values[key] for key in named}


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        raise MinivisError(f"compare_networks: {message}")


