"""Writing files whole or not at all."""

import contextlib
import os
import secrets
import stat
from pathlib import Path

from .errors import MinivisError


def check_folder(path):
    """The absolute path to be written, or one clear error: call this before long work whose result goes to `path`."""
    target = Path(os.path.realpath(path))       # through symbolic links: the link stays, its target is replaced
    if target.is_dir():
        raise MinivisError(f"cannot write {path}: it is a folder; give a file name in it")
    if target.exists() and not stat.S_ISREG(target.stat().st_mode):
        raise MinivisError(f"cannot write {path}: it is not an ordinary file, and replacing it would remove it")
    if not target.parent.is_dir():
        raise MinivisError(f"cannot write {path}: there is no folder {target.parent}; create it first")
    return target


@contextlib.contextmanager
def atomic_write(path):
    """Yield the name of a temporary file in the same folder; on success it replaces `path`, on any error it vanishes.

        with atomic_write("out.npz") as temporary:
            np.savez(temporary, values=values)

    The temporary name keeps the suffix of `path`, because np.savez and others add a missing one. The data are on the
    disk (fsync) before the name changes, so a reader, or a machine that loses power, sees the old file or the new one.
    """
    target = check_folder(path)
    temporary = target.with_name(f".{target.stem[:64]}.{secrets.token_hex(6)}{target.suffix}")
    try:
        # O_EXCL: never follow a link planted under this name. 0o666: the user's umask decides, as with open().
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        if target.exists():
            os.chmod(temporary, stat.S_IMODE(target.stat().st_mode))
        yield temporary
        _flush_to_disk(temporary)
        os.replace(temporary, target)
        _flush_to_disk(target.parent)
    except OSError as error:
        raise MinivisError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def _flush_to_disk(path):
    """fsync a file or folder. Folders cannot be opened on Windows, where the rename is durable without."""
    if path.is_dir() and os.name == "nt":
        return
    handle = os.open(path, os.O_RDWR if path.is_file() else os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
