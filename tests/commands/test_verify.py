"""`minivis verify` compares everything that is stored, and notices what is wrong."""
import numpy as np
import pytest

from minivis import golden, replay
from minivis.commands.verify import verify
from minivis.errors import MinivisError
from minivis.replay import difference

INPUTS = {"picture", "labels", "map", "masks", "baselines"}


@pytest.fixture(scope="module")
def rows():
    return list(replay.results())


def test_all_stored_results_are_reproduced(rows):
    wrong = [row for row in rows if not row.error <= row.allowed]
    assert not wrong and {row.network for row in rows} >= set(golden.names())


def test_every_stored_result_is_replayed(rows):
    compared = {(row.network, row.what) for row in rows}
    for stored in replay.files():
        missing = {key for key in stored.arrays if (stored.name, key) not in compared} - INPUTS
        assert not missing, f"{stored.folder}{stored.name}: {missing} is stored, but not verified"


def test_every_result_names_the_tool_and_its_version(rows):
    assert all(any(letter.isdigit() for letter in row.tool) or "PAIR" in row.tool for row in rows)
    tools = {row.tool.split()[0] for row in rows}
    assert tools >= {"torch", "captum", "zennit", "grad-cam", "innvestigate", "formula", "PAIR"}


def test_a_wrong_number_is_found(monkeypatch):
    def load(name, load=golden.load):
        about, arrays = load(name)
        if name == "perturbation/fire":
            arrays["rise"] = arrays["rise"] * (1 + 1e-6)
        return about, arrays
    monkeypatch.setattr(golden, "load", load)
    monkeypatch.setattr(golden, "names", lambda: ["fire"])
    monkeypatch.setattr(replay, "FOLDERS", {"perturbation/": replay.perturbation})
    with pytest.raises(MinivisError, match=r"1 of \d+ results differ by more than is allowed: fire rise by 1.0e-06"):
        verify()


def test_the_report_prints_every_difference(monkeypatch):
    monkeypatch.setattr(golden, "names", lambda: ["fire"])
    monkeypatch.setattr(replay, "FOLDERS", {"perturbation/": replay.perturbation})
    report = verify()
    assert all(row[""] == "ok" and float(row["difference"]) <= float(row["allowed"]) for row in report.rows())
    assert {"rise", "extremal_dual", "kernel_shap"} <= {row["what"] for row in report.rows()}
    assert "largest difference" in report.notes[0] and "captum" in report.notes[1]


@pytest.mark.parametrize("got, wanted, expected", [
    (np.ones(3), np.ones(3), 0.0), (np.ones(3), np.ones(4), np.inf), (np.zeros(2), np.zeros(2), np.inf),
    (np.array([np.nan]), np.ones(1), np.inf), (np.array([2.0, 0]), np.array([4.0, 0]), 0.5)])
def test_the_difference_is_relative_and_zeros_prove_nothing(got, wanted, expected):
    assert difference(got, wanted) == expected
