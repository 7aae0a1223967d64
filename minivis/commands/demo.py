"""`minivis demo`: a page of pictures from every technique, without any argument and without any download."""
import sys
import time
from pathlib import Path

from .. import image, techniques
from ..demonstration.materials import Materials, Unavailable
from ..demonstration.page import page
from ..errors import MinivisError
from ..files import atomic_write
from ..options import File, Network, parameters, reserved
from ..results.report import Report


def demo(net: Network, *, out: File = "minivis-demo", only: list[str] | None = None, all: bool = False, seed=0,
         memory=None, monitor=None) -> Report:
    """Run the techniques on photographs that come with matplotlib and scikit-learn, and make one page of the pictures.

    Without options every technique runs with settings that take a few seconds at most. Open OUT/index.html.

    out    the folder to write into
    only   families by letter (A to I) or techniques by name
    all    every technique with its own defaults instead: the best pictures, and long; the time is announced first
    """
    folder = Path(out)
    if folder.exists() and not folder.is_dir():
        raise MinivisError(f"{out} is a file; --out names a folder")
    names = chosen(only)
    if all:
        expected = sum(techniques.TECHNIQUES[name].seconds for name in names)
        time_needed = "a minute" if expected < 90 else f"{expected / 60:.0f} minutes"
        print(f"{len(names)} techniques with their defaults: about {time_needed} on two cores", file=sys.stderr)
    folder.mkdir(parents=True, exist_ok=True)
    materials, begun = Materials(folder, net, seed), time.perf_counter()
    shown, skipped = [], []
    for i, name in enumerate(names):
        if monitor is not None:
            monitor.step(i, len(names), picture=None)
        try:
            shown.append(show(name, materials, folder, all, seed, memory))
        except Unavailable as why:
            skipped.append((name.replace("_", "-"), str(why)))
        except MinivisError as error:           # one technique that cannot work with this network is not the end
            skipped.append((name.replace("_", "-"), str(error)))
    if monitor is not None:
        monitor.step(len(names), len(names))
    seconds = time.perf_counter() - begun
    write_page(folder, net, shown, skipped, seconds)
    found = {one["family"] for one in shown}
    table = {"family": list(found := sorted(found)), "": [techniques.FAMILIES[letter] for letter in found],
             "pictures": [sum(one["family"] == letter for one in shown) for letter in found],
             "seconds": [round(sum(one["seconds"] for one in shown if one["family"] == letter), 1) for letter in found]}
    notes = [f"not shown: {name}: {why}" for name, why in skipped]
    return Report(table, f"{len(shown)} pictures in {seconds:.0f} s: open {folder / 'index.html'}", notes)


def chosen(only):
    """The names of the techniques that `only` names, in the order of the list."""
    wanted = {word.replace("-", "_") for word in only or techniques.FAMILIES}
    unknown = sorted(wanted - set(techniques.FAMILIES) - set(techniques.TECHNIQUES))
    if unknown:
        raise MinivisError(f"demo: {unknown[0]!r} is no family (A to I) and no technique; `minivis --help` lists them")
    return [name for name, entry in techniques.TECHNIQUES.items() if name in wanted or entry.family in wanted]


def show(name, materials, folder, full, seed, memory):
    """Run one technique; write its figure; what the page says of it."""
    entry, function = techniques.TECHNIQUES[name], techniques.load(name)
    needed = {p.name for p in parameters(function) if p.required} | {"net"}
    settings = {key: value for key, value in entry.demo.items() if key in needed or not full}
    values, texts = materials.arguments(function, settings)
    before = time.perf_counter()
    extra = {key: value for key, value in (("seed", seed), ("memory", memory)) if key in reserved(function)}
    result = function(**values, **extra)
    seconds = time.perf_counter() - before
    picture = result.picture()
    file = f"{name.replace('_', '-')}.png"
    image.save(picture, folder / file)
    return {"name": name, "family": entry.family, "summary": entry.summary, "title": result.technique, "file": file,
            "size": picture.shape[:2], "seconds": seconds, "command": command(name, function, texts, settings, file)}


def command(name, function, texts, settings, file):
    """The command line that makes the same picture, to be typed in the folder."""
    words = ["minivis", name.replace("_", "-")]
    for p in parameters(function):
        if p.name in texts:
            given = [f'"{text}"' if " " in text else text for text in texts[p.name]]
            if p.is_bool:
                words.append(p.flag if settings[p.name] else p.flag.replace("--", "--no-", 1))
            else:
                words += given if p.positional else [p.flag, *given]
    if "net" in settings:
        words += ["--network", settings["net"]]
    entry = techniques.TECHNIQUES[name]
    return " ".join([*words, *(["--figure", file] if entry.family in techniques.MAKING else ["-o", file])])


def write_page(folder, net, shown, skipped, seconds):
    classes = "" if net.labels is None else f", {len(net.labels)} classes"
    intro = [f"What the network {net.name} ({net.parameters:,} parameters{classes}) makes of photographs that come "
             f"with matplotlib and scikit-learn: {len(shown)} techniques in {seconds:.0f} s. Every figure says what it "
             "shows and what to be careful about; every command can be typed in this folder."]
    if net.meta.get("accuracy"):
        intro.append(f"Accuracy of the network: {net.meta['accuracy']}.")
    with atomic_write(folder / "index.html") as temporary:
        Path(temporary).write_text(page("minivis: a demonstration", intro, techniques.FAMILIES, shown, skipped),
                                   encoding="utf-8")
