"""The child process that reads strangers' files: one JSON request per line in, one JSON answer per line out.

    {"source": FILE, "target": FILE or null, "options": {...}, "seconds": CPU seconds, "bytes": address space}
    -> {"done": n, "total": n} while it works, then {"summary": {...}} or {"refused": "one line"}

Its limits are set before the file is opened, and only ever lowered by the request: address space, CPU time, size of the
file written, no core dump.
"""

import json
import os
import sys
import time

try:
    import resource
except ImportError:         # Windows has no such limits; the time limit of the parent remains
    resource = None


def main():
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())       # whatever a library prints must not look like an answer
    from ..errors import MinivisError
    from .convert import convert_here

    def answer(**content):
        answers.write(json.dumps(content) + "\n")
        answers.flush()

    answer(ready=True)
    for line in sys.stdin:
        request = json.loads(line)
        _limit(request["seconds"], request["bytes"])
        last = [0.0]

        def progress(done, total, last=last):
            if time.monotonic() - last[0] > 0.1 or done == total:
                last[0] = time.monotonic()
                answer(done=done, total=total)

        try:
            answer(summary=convert_here(request["source"], request["target"], request["options"], progress))
        except MinivisError as error:
            answer(refused=str(error))
        except MemoryError:
            answer(refused=f"{request['source']}: asks for more memory than a file of its size can need")
        except Exception as error:      # a reader's own mistake, or what a library raised: refused, with its name
            answer(refused=f"{request['source']}: is damaged or of an unknown form ({type(error).__name__}: "
                           f"{' '.join(str(error).split())[:200]})")


def _limit(seconds, size):
    if resource is None:
        return
    used = resource.getrusage(resource.RUSAGE_SELF)
    _lower(resource.RLIMIT_CPU, int(used.ru_utime + used.ru_stime) + seconds)
    _lower(resource.RLIMIT_AS, size)
    _lower(resource.RLIMIT_FSIZE, size)
    _lower(resource.RLIMIT_CORE, 0)


def _lower(kind, limit):
    _, hard = resource.getrlimit(kind)
    soft = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
    try:
        resource.setrlimit(kind, (soft, hard))
    except (ValueError, OSError):
        pass                # macOS does not limit address space


if __name__ == "__main__":
    main()
