"""A plugin: pytest's tests as cases (lines.py). `pytest -p tools.gpu_check.pytest_lines` with the variables set."""
import os

from .lines import LOST, Writer, device_is_lost

_writer, _phases = None, {}


def pytest_configure(config):
    global _writer
    _writer = Writer()


def pytest_collection_modifyitems(config, items):
    mine = set(_writer.mine([item.nodeid for item in items]))
    config.hook.pytest_deselected(items=[item for item in items if item.nodeid not in mine])
    items[:] = [item for item in items if item.nodeid in mine]


def pytest_runtest_logstart(nodeid, location):
    _phases.clear()
    _writer(begin=nodeid)


def pytest_runtest_logreport(report):
    _phases[report.when] = report
    if report.when != "teardown":
        return
    failed = next((r for r in _phases.values() if r.failed), None)
    skipped = next((r for r in _phases.values() if r.skipped), None)
    seconds = round(sum(r.duration for r in _phases.values()), 2)
    result = {"case": report.nodeid, "ok": failed is None, "seconds": seconds}
    if failed is not None:
        result["error"] = failed.longreprtext[-6000:]
    elif skipped is not None:
        result["skipped"] = str(skipped.longrepr[2] if isinstance(skipped.longrepr, tuple) else skipped.longrepr)
    _writer(**result)
    if failed is not None and device_is_lost():
        os._exit(LOST)


def pytest_sessionfinish(session, exitstatus):
    if exitstatus in (0, 1, 5):         # passed, some failed, none left: not what ends before all has been tried
        _writer(end=True)
