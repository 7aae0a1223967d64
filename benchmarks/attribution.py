"""Seconds per attribution map, ours and the libraries': the same weights, picture, threads, and a process for each.

    python -m benchmarks.attribution [--networks squeezenet1_0,vgg16] [--techniques GLOB,GLOB] [--rounds 5]
                                     [--threads 2] [--clock wall|cpu] [--rival torch-cl] [-o FILE.json]

A technique's map is made by both and compared before either is timed, except where maps.py says why not; the two take
turns, and medians are printed as one table. A FILE that exists is added to: a table can be made in several goes.
"""
import argparse
import json
import os
import tempfile
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np

from . import check, machine, networks
from .cases import MAP_NETWORKS, map_cases
from .engines import ENGINES
from .maps import MAPS
from .processes import Process, WorkerError
from .stats import median

PAIR_SECONDS = 8        # rounds are cut to what fits in here; what fits once is done thrice, for a median
COLUMNS = ("technique", "library", "ours, ms", "library, ms", "ours / library", "difference of the maps")


def measure(case, entry, workers, folder, rounds, clock="wall"):
    """{"ours", "library": seconds, "difference", "unchecked" or "failed"}."""
    answers, first = {}, {}
    for side, worker in workers.items():
        try:
            reply = worker.ask("build", case=case.to_json(), folder=str(folder))
            if "unsupported" in reply:
                return {"failed": f"{side}: {reply['unsupported']}"}
            file = folder / f"{side}.npz"
            worker.ask("answer", file=str(file))
            with np.load(file) as arrays:
                answers[side] = arrays["map"]
            first[side], = worker.ask("time", calls=1, clock=clock)["seconds"]
        except WorkerError as error:
            return {"failed": f"{side}: {error}"}
    difference = check.norm_error(answers["ours"], answers["library"])
    if not entry.unchecked and not difference <= check.FLIPPED:
        return {"failed": f"the maps differ by {difference:.1e} (norm); {check.FLIPPED:g} is allowed"}
    times = {side: [seconds] for side, seconds in first.items()}
    pair = sum(first.values())
    fit = max(int(PAIR_SECONDS / (2 * pair)), 3 if pair < PAIR_SECONDS else 1)
    for _ in range(min(rounds, fit) - 1):
        for side, worker in workers.items():
            times[side] += worker.ask("time", calls=1, clock=clock)["seconds"]
    found = {side: median(seconds) for side, seconds in times.items()} | {"rounds": len(times["ours"])}
    return found | ({"unchecked": entry.unchecked} if entry.unchecked else {"difference": difference})


def table(result):
    """Markdown."""
    clock = {"wall": "", "cpu": " (processor time: others worked on the machine)"}[result["clock"]]
    rows = [f"Measured {result['date']} on {result['machine']['cpu']}, {result['threads']} threads{clock}, float32, "
            "with " + ", ".join(f"{name} {version}" for name, version in result["versions"].items()) + "."]
    for network, found in result["networks"].items():
        rows += ["", f"{network}:", "", "| " + " | ".join(COLUMNS) + " |", "| --- | --- | ---: | ---: | ---: | --- |"]
        for technique, row in found.items():
            cells = [technique, MAPS[technique].peer]
            if "failed" in row:
                cells += ["-", "-", "-", row["failed"]]
            else:
                said = f"{row['difference']:.0e}" if "difference" in row else f"not compared: {row['unchecked']}"
                cells += [f"{1e3 * row[side]:.3g}" for side in ("ours", "library")]
                cells += [f"{row['ours'] / row['library']:.2f}", said]
            rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", default=",".join(MAP_NETWORKS))
    parser.add_argument("--techniques", default="*", metavar="GLOB,GLOB")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--clock", default="wall", choices=("wall", "cpu"),
                        help="cpu: the seconds that processors worked, for machines that others use; with --threads 1")
    parser.add_argument("--rival", default="torch-cl", choices=[name for name in ENGINES if name.startswith("torch")])
    parser.add_argument("-o", type=Path, metavar="FILE.json")
    a = parser.parse_args()
    result = json.loads(a.o.read_text()) if a.o and a.o.exists() else machine.measured(
        threads=a.threads, rival=a.rival, clock=a.clock, networks={})
    with Process(ENGINES["ours"], a.threads) as ours, Process(ENGINES[a.rival], a.threads) as rival:
        for network in a.networks.split(","):
            found = result["networks"].setdefault(network, {})
            with tempfile.TemporaryDirectory() as folder:
                networks.write(folder, *networks.material(network, head=True))
                for technique, case in map_cases(network).items():
                    if not any(fnmatchcase(technique, glob) for glob in a.techniques.split(",")):
                        continue
                    if MAPS[technique].slow and network == "vgg16" and a.techniques == "*":
                        continue
                    row = measure(case, MAPS[technique], {"ours": ours, "library": rival}, Path(folder), a.rounds,
                                  a.clock)
                    found[technique] = row
                    print(network, technique, row, flush=True)
                    if a.o:
                        partial = a.o.with_suffix(".part")
                        partial.write_text(json.dumps(result, indent=1))
                        os.replace(partial, a.o)
    print(table(result))


if __name__ == "__main__":
    main()
