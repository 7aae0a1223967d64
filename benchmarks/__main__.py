"""The command line of the benchmarks; `python -m benchmarks -h`."""
import argparse
import json
import os
import sys
from datetime import date
from pathlib import Path

RESULTS = Path(__file__).parent / "results"


def main(arguments=None):
    if (arguments or sys.argv[1:]) == ["worker"]:       # before anything is imported that would weigh on the worker
        from .worker import main as work
        return work()
    options = _parser().parse_args(arguments)
    try:
        return options.command(options)
    except (ValueError, OSError) as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 1


def _parser():
    parser = argparse.ArgumentParser(prog="python -m benchmarks", allow_abbrev=False)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name, function, help):
        sub = commands.add_parser(name, help=help, allow_abbrev=False)
        sub.set_defaults(command=function)
        return sub

    run = command("run", run_cases, "measure; writes a dated JSON file")
    run.add_argument("--cases", default="*", metavar="GLOB[,GLOB]", help="which cases; default: all")
    run.add_argument("--engines", metavar="NAME[,NAME]", help="which engines; default: all that are installed")
    run.add_argument("--rounds", type=int, default=10, help="undisturbed rounds per case (10)")
    run.add_argument("--threads", type=int, default=2, help="threads of every engine (2)")
    run.add_argument("--skip-time", action="store_true", help="check the answers and measure memory only")
    run.add_argument("--skip-memory", action="store_true", help="no memory measurements")
    run.add_argument("-o", metavar="FILE.json", help="default: benchmarks/results/DATE.json")
    show = command("table", print_table, "a result as a Markdown table")
    show.add_argument("file", nargs="?", help="default: the newest result")
    show.add_argument("--readme", action="store_true", help="write it into README.md between the markers")
    show.add_argument("--layers", action="store_true", help="single convolutions too")
    goals = command("goals", print_goals, "the goals, and whether a result meets them")
    goals.add_argument("file", nargs="?", help="default: the newest result")
    command("list", print_list, "cases and engines")
    command("worker", None, "(internal) one engine, driven through standard input")
    return parser


def run_cases(options):
    from .cases import select
    from .report import table, troubles
    from .session import Session
    if options.rounds < 1 or options.threads < 1:
        raise ValueError(f"--rounds {options.rounds} and --threads {options.threads} must be 1 or more")
    cases = select(options.cases.split(","))
    engines = options.engines.split(",") if options.engines else None
    target = Path(options.o) if options.o else _dated()
    target.parent.mkdir(parents=True, exist_ok=True)
    with Session(engines, options.threads, options.rounds, measure_time=not options.skip_time,
                 measure_memory=not options.skip_memory) as session:
        result = session.run(cases)
    partial = target.with_suffix(".part")
    partial.write_text(json.dumps(result, indent=1))
    os.replace(partial, target)
    print(table(result))
    print(f"written to {target}")
    return 1 if troubles(result) else 0


def _dated():
    """The first free name of the day."""
    today, n = date.today().isoformat(), 1
    file = RESULTS / f"{today}.json"
    while file.exists():
        n += 1
        file = RESULTS / f"{today}-{n}.json"
    return file


def _read(file):
    if file is None:
        found = sorted(RESULTS.glob("*.json"), key=lambda f: json.loads(f.read_text())["date"])
        if not found:
            raise ValueError(f"no result in {RESULTS}; `python -m benchmarks run` makes one")
        file = found[-1]
    return json.loads(Path(file).read_text())


def print_table(options):
    from .report import table, write_into
    text = table(_read(options.file), layers=options.layers)
    if options.readme:
        write_into(Path(__file__).parent.parent / "README.md", text)
    else:
        print(text)
    return 0


def print_goals(options):
    from .goals import report
    lines, all_met = report(_read(options.file))
    print("\n".join(lines))
    return 0 if all_met else 1


def print_list(options):
    from .cases import CASES
    from .engines import ENGINES
    for name, engine in ENGINES.items():
        print(f"engine {name}: {engine.missing() or 'found'}")
    print("\n".join(CASES))
    return 0


if __name__ == "__main__":
    sys.exit(main())
