"""`minivis verify` compares everything that is stored, and notices what is wrong."""
import numpy as np
import pytest

from minivis import golden
from minivis.commands import verify as module
from minivis.commands.verify import difference, verify
from minivis.errors import MinivisError

INPUTS = {"picture", "labels", "infidelity_masks", "infidelity_values"}
LAYER_PARTS = {"excitation_backprop", "gradcam", "gradcam_plus_plus", "xgradcam", "layercam", "eigencam",
               "ablation_cam", "scorecam", "full_gradient"}      # tests/techniques/test_golden_attribution.py


def test_all_stored_results_are_reproduced():
    report = verify()
    assert all(row[""] == "ok" for row in report.rows())
    compared = {(row["network"], row["what"]) for row in report.rows()}
    assert {name for name, _ in compared} == set(golden.names()) and "captum" in report.notes[0]
    for folder in module.FOLDERS:
        for name in golden.names():
            try:
                _, arrays = golden.load(folder + name)
            except FileNotFoundError:
                assert folder
                continue
            missing = {key for key in arrays if (name, key) not in compared} - INPUTS - LAYER_PARTS
            assert not missing, f"{folder}{name}: {missing} is stored, but not verified"


def test_a_wrong_number_is_found(monkeypatch):
    def load(name, load=golden.load):
        about, arrays = load(name)
        if name == "perturbation/fire":
            arrays["rise"] = arrays["rise"] * (1 + 1e-6)
        return about, arrays
    monkeypatch.setattr(golden, "load", load)
    monkeypatch.setattr(golden, "names", lambda: ["fire"])
    with pytest.raises(MinivisError, match=r"1 of \d+ results differ by more than is allowed: fire rise by 1.0e-06"):
        verify()


@pytest.mark.parametrize("got, wanted, expected", [
    (np.ones(3), np.ones(3), 0.0), (np.ones(3), np.ones(4), np.inf), (np.zeros(2), np.zeros(2), np.inf),
    (np.array([np.nan]), np.ones(1), np.inf), (np.array([2.0, 0]), np.array([4.0, 0]), 0.5)])
def test_the_difference_is_relative_and_zeros_prove_nothing(got, wanted, expected):
    assert difference(got, wanted) == expected
