"""Published weights by name: fetched once, verified, converted, kept. Nothing is fetched that was not asked for.

pooch keeps the books (temporary file, hash, move into place); the transfer itself is here, because an interrupted one
has to go on where it stopped, and a stalled or lying server has to be noticed.
"""

import contextlib
import json
import os
import time
from pathlib import Path
from urllib.parse import unquote, urlparse

from ..errors import MinivisError
from . import registry
from .convert import convert, file_hashes

BLOCK = 1 << 14                     # what an interruption loses at most
SLOWEST, WINDOW = 1000, 60.0        # bytes a second, over that many seconds; less is a stall


def fetch(name, *, source=None, progress=None, say=None, transfer=None):
    """The path of the converted weights of a published name, fetched if they are not in the cache yet.

    source      a local copy of the published file (path or file:// address) instead of the network
    progress    f(what, done, total): "download" or "convert", in bytes
    say         f(line) for size, licence and remarks; they come before anything is fetched
    transfer    options for Transfer: attempts, timeout, wait
    """
    say, progress = say or (lambda line: None), progress or (lambda what, done, total: None)
    entry = registry.entry(name)
    folder = registry.cache_folder()
    target = folder / f"{name}.h5"
    if target.is_file():
        return target
    local = None if source is None else local_path(source)
    if local is not None and not local.is_file():
        raise MinivisError(f"{local}: there is no such file")
    say(f"{name}: {entry.size_text}, {entry.citation}")
    say(f"licence: {entry.licence}" + (f"; {entry.notes}" if entry.notes else ""))
    _make_folder(folder)
    with locked(folder / f".{name}.lock", say):
        if target.is_file():                # another process was faster
            return target
        raw = local or _download(entry, folder, progress, say, transfer or {})
        known = _verify(entry, raw, say)
        convert(raw, target, family=entry.family, head=entry.head, trusted=known,
                progress=lambda done, total: progress("convert", done, total),
                about={"source": f"{entry.name}: {entry.citation}", "licence": entry.licence})
        if local is None:
            raw.unlink(missing_ok=True)
    return target


def keep_local(source, *, family=None, progress=None):
    """Convert a file of one's own into the cache, under its stem; the path it has there."""
    path = local_path(source)
    if path.stem in registry.entries():
        raise MinivisError(f"{path.stem} is the name of published weights; for a copy of those use "
                           f"`minivis weights get {path.stem} --source {path}`, else rename the file")
    folder = registry.cache_folder()
    _make_folder(folder)
    target = folder / f"{path.stem}.h5"
    with locked(folder / f".{path.stem}.lock"):
        convert(path, target, family=family,
                progress=progress and (lambda done, total: progress("convert", done, total)))
    return target


def local_path(text):
    """The Path of a path or file:// address."""
    text = os.fspath(text)
    address = urlparse(text)
    if address.scheme == "file":
        if address.netloc not in ("", "localhost"):
            raise MinivisError(f"{text}: a file address of another machine ({address.netloc}) is not read")
        return Path(unquote(address.path))
    if address.scheme in ("http", "https", "ftp"):
        raise MinivisError(f"{text}: only published names are downloaded; fetch the file yourself, then "
                           "`minivis weights convert FILE -o OUT.h5`")
    return Path(text).expanduser()


def _make_folder(folder):
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MinivisError(f"cannot create the folder of weights {folder}: {error.strerror}; MINIVIS_WEIGHTS names "
                           "another") from None


def _verify(entry, raw, say):
    """True: the published file, by its full hash. False: nothing is published to compare with, or only a prefix."""
    hashes = file_hashes(raw)
    matches = entry.matches(hashes)
    if matches is False:
        raise MinivisError(f"{raw}: is not the published file {entry.name}: its SHA-256 is {hashes['sha256']}, its MD5 "
                           f"{hashes['md5']}; delete it and fetch it again")
    if matches is None:
        say("its hash is not published: it is read as a stranger's file")
    return bool(entry.known_hash)


def _download(entry, folder, progress, say, options):
    import pooch
    import requests
    downloads = folder / "downloads"
    downloads.mkdir(exist_ok=True)
    pooch.get_logger().setLevel("WARNING")
    failures = []
    for url in entry.urls:
        name = f"{entry.name}-{os.path.basename(urlparse(url).path)}"
        transfer = Transfer(downloads / f"{name}.part", entry.bytes,
                            lambda done, total: progress("download", done, total), **options)
        try:
            return Path(pooch.retrieve(url, entry.known_hash, name, downloads, downloader=transfer))
        except ValueError as error:         # MinivisError is one too; pooch raises it when the hash is wrong
            if isinstance(error, MinivisError):
                failures.append(str(error))
            else:
                failures.append(f"{url}: what came is not the published file ({' '.join(str(error).split())[:160]})")
        except (OSError, requests.RequestException) as error:
            failures.append(f"{url}: {_reason(error)}")
        if url != entry.urls[-1]:
            say(failures[-1])
    raise MinivisError(failures[-1])


def _reason(error):
    if "NameResolution" in str(error) or "ProxyError" in type(error).__name__:
        return "the server cannot be reached; is there a network connection?"
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


class Transfer:
    """A downloader for pooch that goes on after an interruption, with HTTP ranges where the server has them.

    What has arrived stays in `part`, beside it a note of the address and the server's version of the file (ETag): only
    the same version is continued. A server that stalls, stops early or refuses is tried `attempts` times.
    """

    def __init__(self, part, expected, progress, attempts=5, timeout=30.0, wait=1.0):
        self.part, self.note, self.expected, self.progress = part, part.with_suffix(".note"), expected, progress
        self.attempts, self.timeout, self.wait = attempts, timeout, wait

    def __call__(self, url, output_file, pooch, check_only=False):
        import requests
        for attempt in range(1, self.attempts + 1):
            before = self._have(url)[0]
            try:
                self._once(url, requests)
                os.replace(self.part, output_file)
                self.note.unlink(missing_ok=True)
                return
            except requests.TooManyRedirects:
                raise MinivisError(f"{url}: the server redirects without end") from None
            except (requests.RequestException, _Interrupted) as error:
                have = self._have(url)[0]
                status = getattr(getattr(error, "response", None), "status_code", None)
                if status is not None and status < 500 and status not in (408, 416, 429):
                    raise MinivisError(f"{url}: the server says {status}") from None
                if attempt == self.attempts:
                    raise MinivisError(f"{url}: the transfer stopped after {have:,} bytes ({_reason(error)}); the same "
                                       "command goes on from there") from None
                time.sleep(self.wait * (1 if have > before else attempt))

    def _have(self, url):
        """(bytes that have arrived, ETag) of this address; 0 when nothing can be continued."""
        try:
            note = json.loads(self.note.read_text())
            if note["url"] == url and note["etag"]:
                return self.part.stat().st_size, note["etag"]
        except (OSError, ValueError, KeyError, TypeError):
            pass
        return 0, None

    def _once(self, url, requests):
        have, etag = self._have(url)
        headers = {"Accept-Encoding": "identity"}
        if have:
            headers |= {"Range": f"bytes={have}-", "If-Range": etag}
        with requests.Session() as session:
            session.max_redirects = 5
            with session.get(url, headers=headers, stream=True, timeout=self.timeout) as response:
                if response.status_code == 416:
                    self.part.unlink(missing_ok=True)
                response.raise_for_status()
                if url.startswith("https:") and not response.url.startswith("https:"):
                    raise MinivisError(f"{url}: the server sends us to {response.url}, without encryption: refused")
                start = have if response.status_code == 206 else 0
                if start and not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
                    self.part.unlink(missing_ok=True)
                    raise _Interrupted("the server continued at the wrong place")
                total = self._total(url, response, start)
                etag = response.headers.get("ETag") or response.headers.get("Last-Modified")
                self.note.write_text(json.dumps({"url": url, "etag": etag}))
                self._receive(response, start, total)

    def _total(self, url, response, start):
        """How many bytes the whole file has, or None; refused when it cannot be the published one."""
        length = response.headers.get("Content-Length", "")
        total = start + int(length) if length.isdigit() else None
        if total is not None and self.expected is not None and total != self.expected:
            raise MinivisError(f"{url}: the server offers {total:,} bytes; the published file has {self.expected:,}")
        if total is not None and total > registry.MAX_BYTES:
            raise MinivisError(f"{url}: the server offers {total:,} bytes, more than any published weights")
        return total if total is not None else self.expected

    def _receive(self, response, start, total):
        done, limit = start, self.expected or total or registry.MAX_BYTES
        marked, since = done, time.monotonic()
        with open(self.part, "r+b" if start else "wb") as file:
            file.seek(start)
            file.truncate()
            for block in response.iter_content(BLOCK):
                file.write(block)
                done += len(block)
                if done > limit:
                    raise MinivisError(f"{response.url}: the server sends more than the {limit:,} bytes expected")
                self.progress(done, total)
                if time.monotonic() - since > WINDOW:
                    if done - marked < SLOWEST * WINDOW:
                        raise _Interrupted(f"only {done - marked} bytes came in {WINDOW:.0f} s")
                    marked, since = done, time.monotonic()
        if total is not None and done < total:
            raise _Interrupted(f"the connection ended after {done:,} of {total:,} bytes")


class _Interrupted(Exception):
    """The transfer ended early; what has arrived can be continued."""


@contextlib.contextmanager
def locked(path, say=lambda line: None):
    """Hold the lock file `path`; another process waits. The system drops the lock when the holder dies."""
    handle = os.open(path, os.O_CREAT | os.O_RDWR, 0o666)
    try:
        if os.name == "nt":
            import msvcrt
            while True:
                with contextlib.suppress(OSError):
                    msvcrt.locking(handle, msvcrt.LK_LOCK, 1)
                    break
        else:
            import fcntl
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say("another process is fetching the same weights: waiting for it")
                fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
