"""A file is written whole or not at all."""

import os

import pytest

from minivis.errors import MinivisError
from minivis.files import atomic_write


def test_the_file_appears_with_its_content_and_nothing_else(tmp_path):
    with atomic_write(tmp_path / "a.npz") as temporary:
        assert temporary.suffix == ".npz" and temporary.parent == tmp_path
        temporary.write_bytes(b"whole")
        assert not (tmp_path / "a.npz").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]
    assert (tmp_path / "a.npz").read_bytes() == b"whole"


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_error_leaves_the_old_file_and_no_other(tmp_path, error):
    (tmp_path / "a.txt").write_text("old")
    with pytest.raises(error), atomic_write(tmp_path / "a.txt") as temporary:
        temporary.write_text("half")
        raise error
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "old"


def test_permissions_follow_the_umask_or_the_file_replaced(tmp_path):
    path, mask = tmp_path / "a", os.umask(0o027)
    try:
        with atomic_write(path) as temporary:
            temporary.write_text("x")
        assert path.stat().st_mode & 0o777 == 0o640
        path.chmod(0o604)
        with atomic_write(path) as temporary:
            temporary.write_text("y")
        assert path.stat().st_mode & 0o777 == 0o604
    finally:
        os.umask(mask)


def test_a_symbolic_link_stays_and_its_target_is_replaced(tmp_path):
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to("real")
    with atomic_write(tmp_path / "link") as temporary:
        temporary.write_text("new")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "real").read_text() == "new"


def test_impossible_targets_are_one_clear_error(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path, reason in [(tmp_path, "is a folder"), (tmp_path / "no" / "a", "there is no folder"),
                         (tmp_path / "pipe", "not an ordinary file")]:
        with pytest.raises(MinivisError, match=reason), atomic_write(path):
            pytest.fail("the body must not run")


def test_a_full_disk_is_one_clear_error(tmp_path):
    with pytest.raises(MinivisError, match="No space left"), atomic_write(tmp_path / "a"):
        raise OSError(28, "No space left on device")
    assert list(tmp_path.iterdir()) == []
