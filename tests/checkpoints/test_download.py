"""Fetching published weights, against a server on this machine that truncates, stalls, lies, redirects and refuses."""
import hashlib
import http.server
import multiprocessing
import re
import threading
import time

import numpy as np
import pytest

from minivis.checkpoints import minivis_hdf5, registry
from minivis.checkpoints.download import BLOCK, fetch, keep_local, local_path
from minivis.errors import MinivisError

QUICK = {"attempts": 3, "timeout": 0.5, "wait": 0.01}


class Behaviour:
    """What the server does next; counts what was asked."""

    def __init__(self, body):
        self.body, self.etag, self.log = body, '"1"', []
        self.ranges, self.stop_after, self.stall, self.redirect, self.status, self.claim = True, [], 0, None, None, None


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        b = self.server.behaviour
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        b.log.append((self.path, int(wanted[1]) if wanted else 0))
        if b.status:
            return self.reply(b.status, b"", 0)
        if b.redirect and self.path != "/moved":
            self.send_response(302)
            self.send_header("Location", b.redirect)
            self.send_header("Content-Length", "0")
            return self.end_headers()
        start = int(wanted[1]) if wanted and b.ranges and self.headers.get("If-Range") == b.etag else 0
        return self.reply(206 if start else 200, b.body, start)

    def reply(self, status, body, start):
        b = self.server.behaviour
        self.send_response(status)
        self.send_header("Content-Length", str(b.claim if b.claim is not None else len(body) - start))
        self.send_header("ETag", b.etag)
        if status == 206:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        self.end_headers()
        end = b.stop_after.pop(0) if b.stop_after else len(body)
        self.wfile.write(body[start:end])
        self.wfile.flush()
        if end < len(body):
            time.sleep(b.stall)
            self.close_connection = True

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(sample):
    class Server(http.server.ThreadingHTTPServer):
        def handle_error(self, request, address):
            pass                        # a client that hangs up is what some tests are about

    server = Server(("127.0.0.1", 0), Handler)
    server.behaviour = Behaviour(sample("torch_vgg16.pth").read_bytes())
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def entry(server, **changes):
    body = server.behaviour.body
    fields = {"bytes": len(body), "sha256": hashlib.sha256(body).hexdigest()} | changes
    return registry.Entry("toy", "vgg16", True, "torchvision", "pytorch",
                          (f"http://127.0.0.1:{server.server_port}/toy.pth",), "none", "CC BY 4.0", "A. Author 2015",
                          **fields)


@pytest.fixture
def toy(server, tmp_path, monkeypatch):
    """toy(**changes) publishes the server's file under the name "toy"; the cache is a new folder."""
    monkeypatch.setenv("MINIVIS_WEIGHTS", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    def publish(**changes):
        known = entry(server, **changes)
        monkeypatch.setattr(registry, "entries", lambda path=None: {"toy": known})
    publish()
    return publish


class about(int):
    """Equal to a number of bytes, or up to a block less: what an interruption may lose."""

    def __eq__(self, other):
        return self - BLOCK < other <= int(self)

    __hash__ = None


def leftovers(tmp_path):
    folder = tmp_path / "cache"
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file() and not p.name.endswith(".lock"))


def test_size_and_licence_are_said_first_then_the_network_is_there(server, toy, tmp_path):
    said, seen = [], []
    path = fetch("toy", say=said.append, progress=lambda *at: seen.append(at), transfer=QUICK)
    assert said == ["toy: 0.5 MB, A. Author 2015", "licence: CC BY 4.0"]
    assert seen[0][0] == "download" and ("download", len(server.behaviour.body), len(server.behaviour.body)) in seen
    assert seen[-1] == ("convert", 134638 * 4, 134638 * 4)
    net = minivis_hdf5.read(path)
    assert (net.logits_layer, net.meta["licence"]) == ("fc8", "CC BY 4.0")
    assert leftovers(tmp_path) == ["toy.h5"], "the download itself is not kept"


def test_works_without_network_once_fetched(server, toy):
    first = fetch("toy", transfer=QUICK)
    server.behaviour.status = 503
    asked = len(server.behaviour.log)
    assert fetch("toy", transfer=QUICK) == first and len(server.behaviour.log) == asked


def test_transfer_cut_off_goes_on_where_it_stopped(server, toy):
    server.behaviour.stop_after = [100_000, 250_000]
    fetch("toy", transfer=QUICK)
    assert [start for _, start in server.behaviour.log] == [0, about(100_000), about(250_000)]


def test_server_without_ranges_is_asked_again_from_the_start(server, toy):
    server.behaviour.ranges, server.behaviour.stop_after = False, [100_000]
    fetch("toy", transfer=QUICK)
    assert len(server.behaviour.log) == 2


def test_a_changed_file_is_not_continued(server, toy):
    server.behaviour.stop_after = [100_000] * 3
    with pytest.raises(MinivisError, match=r"the transfer stopped after \d+,\d+ bytes.*the same command goes on"):
        fetch("toy", transfer=QUICK)
    server.behaviour.etag = '"2"'
    fetch("toy", transfer=QUICK)
    assert server.behaviour.log[-1][1] == about(100_000)       # it asked to go on, and took the whole file it was given


def test_interrupted_run_resumes_in_the_next(server, toy, tmp_path):
    def interrupt(what, done, total):
        if done >= 200_000:
            raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt):
        fetch("toy", progress=interrupt, transfer=QUICK)
    assert not (tmp_path / "cache" / "toy.h5").exists()
    fetch("toy", transfer=QUICK)
    assert server.behaviour.log[-1][1] >= 200_000 - BLOCK
    assert leftovers(tmp_path) == ["toy.h5"]


def test_stalled_server_is_left_and_continued(server, toy):
    server.behaviour.stop_after, server.behaviour.stall = [100_000], 3
    begin = time.monotonic()
    fetch("toy", transfer=QUICK)
    assert time.monotonic() - begin < 3 and server.behaviour.log[1][1] == about(100_000)


def test_server_that_stalls_for_ever_is_one_line(server, toy, tmp_path):
    server.behaviour.stop_after, server.behaviour.stall = [50_000] * 9, 1
    with pytest.raises(MinivisError, match="the transfer stopped after 49,152 bytes"):
        fetch("toy", transfer=QUICK)
    assert not (tmp_path / "cache" / "toy.h5").exists()


@pytest.mark.parametrize("claim, known, says", [
    (100, {}, r"offers 100 bytes; the published file has \d"),
    (10**12, {}, "offers 1,000,000,000,000 bytes"),
    (10**12, {"bytes": None}, "more than any published weights"),
    (100_000, {"bytes": None}, "is not the published file"),
])
def test_server_that_lies_about_the_length_is_refused(server, toy, tmp_path, claim, known, says):
    toy(**known)
    server.behaviour.claim = claim
    with pytest.raises(MinivisError, match=says):
        fetch("toy", transfer=QUICK)
    assert not (tmp_path / "cache" / "toy.h5").exists()


def test_wrong_hash_is_refused_and_fetched_anew_next_time(server, toy, tmp_path):
    good = server.behaviour.body
    server.behaviour.body = good[:-1] + bytes([good[-1] ^ 1])
    with pytest.raises(MinivisError, match="what came is not the published file"):
        fetch("toy", transfer=QUICK)
    assert leftovers(tmp_path) == []
    server.behaviour.body = good
    fetch("toy", transfer=QUICK)


def test_wrong_prefix_of_a_hash_is_refused(server, toy, tmp_path):
    toy(sha256=None, sha256_prefix="00000000")
    with pytest.raises(MinivisError, match="is not the published file toy: its SHA-256 is"):
        fetch("toy", transfer=QUICK)
    assert not (tmp_path / "cache" / "toy.h5").exists()


def test_file_without_published_hash_is_said_so_and_read_as_a_strangers(server, toy, monkeypatch):
    from minivis.checkpoints import convert
    toy(sha256=None)
    monkeypatch.setattr(convert, "convert_here", lambda *a: pytest.fail("read in this process"))
    said = []
    fetch("toy", say=said.append, transfer=QUICK)
    assert said[-1] == "its hash is not published: it is read as a stranger's file"


def test_redirects_are_followed_a_few_times(server, toy):
    server.behaviour.redirect = "/moved"
    fetch("toy", transfer=QUICK)
    assert [path for path, _ in server.behaviour.log] == ["/toy.pth", "/moved"]


def test_endless_redirect_is_one_line(server, toy):
    server.behaviour.redirect = "/toy.pth"
    with pytest.raises(MinivisError, match="redirects"):
        fetch("toy", transfer=QUICK)


@pytest.mark.parametrize("status, asked", [(404, 1), (403, 1), (500, 3), (503, 3)])
def test_refusals_are_said_and_only_passing_ones_are_tried_again(server, toy, status, asked):
    server.behaviour.status = status
    with pytest.raises(MinivisError, match=str(status)):
        fetch("toy", transfer=QUICK)
    assert len(server.behaviour.log) == asked


def test_no_server_is_one_line(server, toy):
    server.shutdown()
    server.server_close()
    with pytest.raises(MinivisError, match=r"127\.0\.0\.1"):
        fetch("toy", transfer=QUICK)


@pytest.mark.parametrize("form", ["path", "file address"])
def test_a_copy_that_lies_here_is_used_instead(server, toy, sample, form):
    copy = sample("torch_vgg16.pth")
    path = fetch("toy", source=copy if form == "path" else copy.as_uri())
    assert server.behaviour.log == [] and minivis_hdf5.read(path).logits_layer == "fc8"
    assert copy.exists()


def test_a_copy_of_something_else_is_refused(toy, sample):
    with pytest.raises(MinivisError, match="is not the published file toy"):
        fetch("toy", source=sample("torch_vgg16_stream.pth"))


def test_own_files_are_kept_under_their_stem(toy, sample, tmp_path):
    path = keep_local(sample("torch_mixed.onnx").as_uri())
    assert path == tmp_path / "cache" / "torch_mixed.h5" and minivis_hdf5.read(path).logits_layer == "head"
    (tmp_path / "toy.pth").write_bytes(b"")
    with pytest.raises(MinivisError, match="is the name of published weights"):
        keep_local(tmp_path / "toy.pth")


@pytest.mark.parametrize("text", ["http://example.org/x.pth", "https://example.org/x.pth", "file://elsewhere/x.pth"])
def test_other_addresses_are_not_fetched(text):
    with pytest.raises(MinivisError):
        local_path(text)


def test_unknown_name_offers_close_ones(toy):
    with pytest.raises(MinivisError, match="did you mean toy"):
        fetch("toyy")


def _fetch_in_process(folder, known, queue):
    import os
    os.environ["MINIVIS_WEIGHTS"], os.environ["NO_PROXY"] = folder, "127.0.0.1"
    registry.entries = lambda path=None: {"toy": known}
    queue.put(str(fetch("toy", transfer=QUICK)))


def test_two_processes_at_once_fetch_once(server, toy, tmp_path):
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    both = [context.Process(target=_fetch_in_process, args=(str(tmp_path / "cache"), entry(server), queue))
            for _ in range(2)]
    for process in both:
        process.start()
    paths = {queue.get(timeout=60) for _ in both}
    for process in both:
        process.join()
    assert len(paths) == 1 and len(server.behaviour.log) == 1
    assert np.isfinite(minivis_hdf5.read(paths.pop()).weights["fc8/weight"].data).all()


def test_registry_is_complete_and_invents_no_hash():
    entries = registry.entries.__wrapped__() if hasattr(registry.entries, "__wrapped__") else registry.entries()
    assert {"vgg16", "vgg16-notop", "vgg19", "vgg19-notop", "vgg16-torchvision", "squeezenet1_1"} <= set(entries)
    for e in entries.values():
        assert e.urls and all(url.startswith("https://") for url in e.urls) and e.licence and e.citation
        for value, digits in ((e.md5, 32), (e.sha256, 64), (e.sha256_prefix, 8)):
            assert value is None or re.fullmatch(rf"[0-9a-f]{{{digits}}}", value)
    assert entries["vgg19-torchvision"].known_hash is None      # only its first eight digits are published
