"""Batches cover all items, in order, within the budget."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minivis import batching
from minivis.batching import default_budget, parse_bytes, split
from minivis.errors import MinivisError


@pytest.mark.parametrize("text, count", [
    ("1GB", 10**9), ("256MB", 256 * 10**6), ("256 mb", 256 * 10**6), ("1.5GiB", 3 * 2**29), ("2k", 2000),
    ("800000", 800000), (12345, 12345), (1e9, 10**9), ("1B", 1),
])
def test_amounts_are_read(text, count):
    assert parse_bytes(text) == count


@pytest.mark.parametrize("text", ["", "GB", "-1GB", "1XB", "0", "0.1B", "one", "1 2", "nan", "inf", None, True, [1],
                                  "1e999"])
def test_what_is_no_amount_is_refused(text):
    with pytest.raises(MinivisError, match="memory"):
        parse_bytes(text)


@given(st.integers(0, 500), st.integers(0, 10**6), st.integers(1, 10**7))
def test_slices_cover_everything_in_order_within_the_budget(count, bytes_each, budget):
    slices = split(count, bytes_each, budget)
    assert [i for part in slices for i in range(part.start, part.stop)] == list(range(count))
    lengths = [part.stop - part.start for part in slices]
    assert all(length == 1 or length * bytes_each <= budget for length in lengths)
    assert not lengths or max(lengths) - min(lengths) <= 1
    fewest = -(-count // max(1, budget // bytes_each)) if bytes_each else min(count, 1)
    assert len(slices) == fewest


def test_one_item_above_the_budget_is_allowed_and_noted():
    notes = []
    assert split(2, 5_000_000, "3MB", notes) == [slice(0, 1), slice(1, 2)]
    assert notes == ["one sample needs 5 MB, more than the memory budget of 3 MB"]
    split(2, 1, "3MB", notes)
    assert len(notes) == 1


def test_negative_counts_are_refused():
    with pytest.raises(ValueError, match="must not be negative"):
        split(-1, 5)


@pytest.mark.parametrize("free, budget", [(10**9, 5 * 10**8), (10**12, 2 * 10**9), (None, 2 * 10**9), (0, 1)])
def test_the_default_is_half_of_what_is_free_at_most_2_gb(monkeypatch, free, budget):
    monkeypatch.setattr(batching, "free_bytes", lambda: free)
    assert default_budget() == budget


def test_this_machine_has_free_memory():
    free = batching.free_bytes()
    assert free is None or 10**6 < free < 10**15
