"""The text of a .cu file with the files it includes put in place: one string, which is also what caches go by.

Neither NVRTC nor a cache then has to know where files lie, and an edit of an included file is an edit of the text.
"""
import functools
import hashlib
import re
from pathlib import Path

FOLDER = Path(__file__).parent
_INCLUDE = re.compile(r'\s*#\s*include\s+"([\w.]+)"')


def names():
    """Every .cu file."""
    return sorted(path.name for path in FOLDER.glob("*.cu"))


@functools.cache
def text(name):
    """The flattened source of one .cu file; #line marks keep the file and line of every error right."""
    return "\n".join(_lines(name, set())) + "\n"


def digest(name):
    """Twenty hex digits that change with any character of the flattened source."""
    return hashlib.sha256(text(name).encode()).hexdigest()[:20]


def _lines(name, seen):
    yield f'#line 1 "{name}"'
    for number, line in enumerate((FOLDER / name).read_text(encoding="utf-8").splitlines(), 1):
        include = _INCLUDE.match(line)
        if include is None:
            if line.strip() != "#pragma once":      # every file is put in place once, below
                yield line
        elif include[1] not in seen:
            seen.add(include[1])
            yield from _lines(include[1], seen)
            yield f'#line {number + 1} "{name}"'
        else:
            yield ""
