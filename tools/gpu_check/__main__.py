"""The command line: `python -m tools.gpu_check -h`."""
import argparse
import datetime
import json
import sys
from pathlib import Path

from . import __doc__ as about
from . import carry
from .conduct import Report, conduct
from .known import RESULTS, table
from .stages import stages


def main(arguments=None):
    options = _parser().parse_args(arguments)
    if options.table:
        print(table())
    elif options.plan:
        print(carry.PLAN, end="")
    elif options.missing:
        print("\n".join(carry.lacking()) or "nothing is missing")
    elif options.list:
        for stage in stages():
            print(f"{stage.name:12} {stage.limit:4.0f} s  {stage.about}")
    elif options.wheels:
        if len(options.wheels) < 2:
            print("gpu_check: --wheels FOLDER NAME...: which packages?", file=sys.stderr)
            return 2
        carry.wheels(options.wheels[0], options.wheels[1:], options.python, options.portion)
    else:
        return check(options)
    return 0


def check(options):
    every = {stage.name: stage for stage in stages()}
    names = options.stages.split(",") if options.stages else list(every)
    unknown = [name for name in names if name not in every]
    if unknown:
        print(f"gpu_check: no stage {unknown[0]!r}; there are {', '.join(every)}", file=sys.stderr)
        return 2
    missing = _no_gpu()
    if missing:
        print(f"gpu_check: {missing}", file=sys.stderr)
        return 1
    passed = {}
    if options.after:
        before = json.loads(Path(options.after).read_text(encoding="utf-8"))
        passed = {name: [case["case"] for case in entry["cases"] if case["ok"]]
                  for name, entry in before["stages"].items()}
    now = datetime.datetime.now(datetime.UTC)
    report = Report(Path(options.out) / f"{now:%Y-%m-%d-%H%M}-gpu.json", options.commit)
    data = conduct([every[name] for name in names], report, options.seconds, passed, options.small)
    print(f"{data['device'].get('name', 'no device was described')}: {report.path}")
    fine = all(entry["state"] == "finished" and all(case["ok"] for case in entry["cases"])
               for entry in data["stages"].values())
    return 0 if fine else 1


def _no_gpu():
    from minivis.devices import choose
    from minivis.errors import MinivisError
    try:
        choose("gpu")
    except MinivisError as error:
        return str(error)
    return None


def _parser():
    parser = argparse.ArgumentParser(prog="gpu_check", description=about, allow_abbrev=False,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=540, help="for all stages together (540)")
    parser.add_argument("--stages", metavar="NAME,...", help="these alone, in this order")
    parser.add_argument("--after", metavar="REPORT.json", help="leave out what passed there")
    parser.add_argument("--out", metavar="FOLDER", default=RESULTS, help="where the report goes (benchmarks/results)")
    parser.add_argument("--commit", metavar="HASH", help="which commit this is, where git cannot tell")
    parser.add_argument("--small", action="store_true", help="small sizes: a rehearsal, not a measurement")
    for name, text in (("list", "the stages"), ("plan", "how to prepare a run without network"),
                       ("missing", "requirements that this environment lacks"),
                       ("table", "what is known of each kernel")):
        parser.add_argument(f"--{name}", action="store_true", help=text)
    parser.add_argument("--wheels", nargs="+", metavar=("FOLDER", "NAME"), help="download packages, in portions")
    parser.add_argument("--python", default="3.12", help="of the machine they are for (3.12)")
    parser.add_argument("--portion", type=float, default=carry.PORTION, metavar="MIB",
                        help=f"how much travels at once ({carry.PORTION})")
    return parser


if __name__ == "__main__":
    sys.exit(main())
