"""How long each technique takes with its defaults, beside what its entry in TECHNIQUES says; `minivis demo --all`
announces the sum of the entries.

    python -m tools.time_defaults [NAME or FAMILY ...] [--clock wall|cpu] [--pictures FOLDER]

wall, on two idle cores. cpu: half of the processor time, where others work on the machine. FOLDER keeps the figures.
"""
import argparse
import tempfile
import time
from pathlib import Path

OFF = 1.5               # an entry that is wrong by more than this factor is marked, from this many seconds on
SHORT = 3


def main(arguments=None):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("only", nargs="*", help="techniques by name, families by letter")
    p.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    p.add_argument("--pictures", type=Path, metavar="FOLDER")
    args = p.parse_args(arguments)
    from minivis import load_network, techniques
    from minivis.commands.demo import chosen, show
    from minivis.demonstration.materials import Materials, Unavailable
    from minivis.errors import MinivisError
    clock = time.perf_counter if args.clock == "wall" else lambda: time.process_time() / 2
    total = {"measured": 0.0, "stated": 0.0}
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.pictures or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        materials = Materials(folder, load_network())
        for name in chosen(args.only):
            before = clock()
            try:
                show(name, materials, folder, True, 0, None)
            except (Unavailable, MinivisError) as why:
                print(f"{name:24} {why}", flush=True)
                continue
            found, stated = clock() - before, techniques.TECHNIQUES[name].seconds
            total["measured"] += found
            total["stated"] += stated
            off = max(found, stated) > SHORT and max(found / stated, stated / found) > OFF
            print(f"{name:24} {found:7.1f} s, stated {stated:6.1f}{'   <-- ' if off else ''}", flush=True)
    print(f"{'in all':24} {total['measured']:7.1f} s, stated {total['stated']:6.1f}")


if __name__ == "__main__":
    main()
