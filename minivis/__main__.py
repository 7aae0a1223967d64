"""`python -m minivis` and the console script `minivis`: see commandline.py."""
import sys


def main():
    from .commandline import main as run
    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
