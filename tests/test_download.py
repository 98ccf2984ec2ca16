"""Downloads, against a server on this machine that behaves as badly as real ones do."""

from __future__ import annotations

import hashlib
import http.server
import os
import subprocess
import sys
import threading
import time
from collections import namedtuple
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline import ModelError, ModelInvalid, OutputError, models
from pipeline.models import download, store
from pipeline.models.catalogue import PUBLIC

BODY = np.random.default_rng(7).bytes(3_000_000)
DIGEST = hashlib.sha256(BODY).hexdigest()


class Server(http.server.ThreadingHTTPServer):
    """Serves ``BODY``, in the way that ``answer`` does."""

    daemon_threads = True

    def __init__(self, answer: Callable[[Handler], None]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answer = answer
        self.ranges: list[str] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}/u2net.onnx"

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # a client that hangs up is part of the test


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.ranges.append(self.headers.get("Range", ""))
        self.server.answer(self)

    def log_message(self, format: str, *args: object) -> None:
        pass

    @property
    def start(self) -> int:
        """Where the client wants to go on."""
        return int(self.headers.get("Range", "bytes=0-")[6:-1])

    def begin(self, start: int, length: int | None, total: int = len(BODY)) -> None:
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.end_headers()


def honest(handler: Handler) -> None:
    handler.begin(handler.start, len(BODY) - handler.start)
    handler.wfile.write(BODY[handler.start :])


def breaks_off(handler: Handler) -> None:
    """A third at a time, whatever was promised."""
    handler.begin(handler.start, len(BODY) - handler.start)
    handler.wfile.write(BODY[handler.start :][:1_000_000])


def ignores_range(handler: Handler) -> None:
    handler.begin(0, len(BODY))
    handler.wfile.write(BODY)


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    """A proxy that the environment names has no business between us and ourselves."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def serve() -> Iterator[Callable[[Callable[[Handler], None]], Server]]:
    servers = []

    def start(answer: Callable[[Handler], None]) -> Server:
        server = Server(answer)
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        return server

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def verify(path: Path) -> str:
    return "" if hashlib.sha256(path.read_bytes()).hexdigest() == DIGEST else "other bytes"


def fetch(server: Server, target: Path, length: int = len(BODY)) -> list[int]:
    """Download; return what was reported as done."""
    steps: list[int] = []
    download.fetch(
        server.url, target, length, verify, lambda done, _: steps.append(done), pause=0.01
    )
    return steps


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_arrives_whole(serve, tmp_path):
    steps = fetch(serve(honest), tmp_path / "m.onnx")
    assert (tmp_path / "m.onnx").read_bytes() == BODY
    assert leftovers(tmp_path) == ["m.onnx"]
    assert steps == sorted(steps)
    assert (steps[0], steps[-1]) == (0, len(BODY))


def test_it_goes_on_where_it_broke_off(serve, tmp_path):
    server = serve(breaks_off)
    fetch(server, tmp_path / "m.onnx")
    assert (tmp_path / "m.onnx").read_bytes() == BODY
    assert server.ranges == ["", "bytes=1000000-", "bytes=2000000-"]


def test_a_later_call_goes_on(serve, tmp_path):
    (tmp_path / "m.onnx.part").write_bytes(BODY[:1_234_567])
    server = serve(honest)
    steps = fetch(server, tmp_path / "m.onnx")
    assert (tmp_path / "m.onnx").read_bytes() == BODY
    assert server.ranges == ["bytes=1234567-"]
    assert steps[0] == 1_234_567


def test_a_complete_part_needs_no_server(tmp_path):
    (tmp_path / "m.onnx.part").write_bytes(BODY)
    download.fetch("http://127.0.0.1:9/", tmp_path / "m.onnx", len(BODY), verify, print)
    assert leftovers(tmp_path) == ["m.onnx"]


def test_a_server_that_ignores_ranges(serve, tmp_path):
    (tmp_path / "m.onnx.part").write_bytes(b"x" * 1000)
    fetch(serve(ignores_range), tmp_path / "m.onnx")
    assert (tmp_path / "m.onnx").read_bytes() == BODY


def test_a_range_from_elsewhere_is_not_appended(serve, tmp_path):
    def shifted(handler: Handler) -> None:
        if handler.start:
            handler.begin(handler.start - 10, len(BODY) - handler.start + 10)
            handler.wfile.write(BODY[handler.start - 10 :])
        else:
            honest(handler)

    (tmp_path / "m.onnx.part").write_bytes(BODY[:1000])
    server = serve(shifted)
    fetch(server, tmp_path / "m.onnx")
    assert server.ranges == ["bytes=1000-", ""]
    assert (tmp_path / "m.onnx").read_bytes() == BODY


def test_a_wrong_half_is_fetched_anew_once(serve, tmp_path):
    (tmp_path / "m.onnx.part").write_bytes(b"x" * 1000)
    server = serve(honest)
    fetch(server, tmp_path / "m.onnx")
    assert server.ranges == ["bytes=1000-", ""]
    assert (tmp_path / "m.onnx").read_bytes() == BODY


@pytest.mark.parametrize("excess", [1, 5_000_000])
def test_a_part_that_is_too_long_is_fetched_anew(serve, tmp_path, excess):
    (tmp_path / "m.onnx.part").write_bytes(BODY + bytes(excess))
    fetch(serve(honest), tmp_path / "m.onnx")
    assert (tmp_path / "m.onnx").read_bytes() == BODY


def test_wrong_bytes_are_refused(serve, tmp_path):
    def wrong(handler: Handler) -> None:
        handler.begin(0, len(BODY))
        handler.wfile.write(bytes(len(BODY)))

    with pytest.raises(ModelInvalid, match="other bytes"):
        fetch(serve(wrong), tmp_path / "m.onnx")
    assert leftovers(tmp_path) == []


def test_the_page_of_a_proxy_is_refused_before_it_is_written(serve, tmp_path):
    def page(handler: Handler) -> None:
        text = b"<html>Please log in</html>"
        handler.begin(0, len(text))
        handler.wfile.write(text)

    with pytest.raises(ModelInvalid, match=r"has 26 bytes where .* has 3,000,000"):
        fetch(serve(page), tmp_path / "m.onnx")
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("announced", [None, len(BODY) - 1, len(BODY) + 1])
def test_a_server_that_says_no_length_or_a_wrong_one(serve, tmp_path, announced):
    def lies(handler: Handler) -> None:
        handler.begin(0, announced)
        handler.wfile.write(BODY)

    if announced is None:
        fetch(serve(lies), tmp_path / "m.onnx")
        assert (tmp_path / "m.onnx").read_bytes() == BODY
    else:
        with pytest.raises(ModelInvalid, match="bytes where the published file has"):
            fetch(serve(lies), tmp_path / "m.onnx")


def test_an_endless_answer_ends(serve, tmp_path):
    def endless(handler: Handler) -> None:
        handler.begin(0, None)
        while True:
            handler.wfile.write(bytes(100_000))

    with pytest.raises(ModelInvalid, match="goes on after the 3,000,000 bytes"):
        fetch(serve(endless), tmp_path / "m.onnx")
    assert not (tmp_path / "m.onnx").exists()


def test_a_slow_server_is_waited_for(serve, tmp_path, monkeypatch):
    def trickles(handler: Handler) -> None:
        handler.begin(0, 1000)
        for start in range(0, 1000, 100):
            handler.wfile.write(BODY[start : start + 100])
            time.sleep(0.02)

    monkeypatch.setattr(download, "TIMEOUT", 0.15)
    part = hashlib.sha256(BODY[:1000]).hexdigest()
    download.fetch(
        serve(trickles).url,
        tmp_path / "m.onnx",
        1000,
        lambda p: "" if hashlib.sha256(p.read_bytes()).hexdigest() == part else "other",
        lambda *_: None,
    )
    assert (tmp_path / "m.onnx").read_bytes() == BODY[:1000]


def test_a_server_that_falls_silent_is_asked_again(serve, tmp_path, monkeypatch):
    def stalls(handler: Handler) -> None:
        handler.begin(handler.start, len(BODY) - handler.start)
        handler.wfile.write(BODY[handler.start :][:2_000_000])
        if not handler.start:
            time.sleep(1)

    monkeypatch.setattr(download, "TIMEOUT", 0.2)
    server = serve(stalls)
    fetch(server, tmp_path / "m.onnx")
    assert server.ranges == ["", "bytes=2000000-"]


def test_it_gives_up_and_keeps_what_came(serve, tmp_path):
    def once(handler: Handler) -> None:
        if handler.start:
            handler.send_error(503)
        else:
            breaks_off(handler)

    server = serve(once)
    with pytest.raises(ModelError, match="503"):
        fetch(server, tmp_path / "m.onnx")
    assert len(server.ranges) == 1 + download.PATIENCE
    assert (tmp_path / "m.onnx.part").read_bytes() == BODY[:1_000_000]


@pytest.mark.parametrize("code", [403, 404, 410])
def test_what_is_not_there_is_asked_for_once(serve, tmp_path, code):
    server = serve(lambda handler: handler.send_error(code))
    with pytest.raises(ModelError, match=str(code)):
        fetch(server, tmp_path / "m.onnx")
    assert len(server.ranges) == 1


def test_redirects_are_followed_with_their_range(serve, tmp_path):
    real = serve(honest)

    def elsewhere(handler: Handler) -> None:
        handler.send_response(302)
        handler.send_header("Location", real.url)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    (tmp_path / "m.onnx.part").write_bytes(BODY[:1000])
    fetch(serve(elsewhere), tmp_path / "m.onnx")
    assert real.ranges == ["bytes=1000-"]


def test_nobody_there(tmp_path):
    with pytest.raises(ModelError, match="refused"):
        download.fetch("http://127.0.0.1:9/m", tmp_path / "m", 9, verify, print, pause=0.001)


def test_a_full_disk_is_not_taken_for_a_broken_line(serve, tmp_path, monkeypatch):
    class Full:
        name = "m.onnx.part"

        def write(self, data: bytes) -> int:
            raise OSError(28, "No space left on device")

    with pytest.raises(OutputError, match="No space left"):
        download._write(Full(), b"1")  # type: ignore[arg-type]
    (tmp_path / "m.onnx.part").mkdir()
    with pytest.raises(OutputError, match="cannot be written"):
        fetch(serve(honest), tmp_path / "m.onnx")


# The store: what it makes of all this.


@pytest.fixture
def catalogue(serve, tmp_path, monkeypatch):
    """One public model that a server of ours has, in a home of its own."""

    server = serve(honest)
    card = replace(
        PUBLIC["u2net"],
        length=len(BODY),
        sha256=DIGEST,
        md5=hashlib.md5(BODY).hexdigest(),
    )
    monkeypatch.setitem(PUBLIC, "u2net", card)
    monkeypatch.setenv("WISP_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("WISP_MODELS_URL", server.url.rpartition("/")[0] + "/")
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    for name in ("U2NET_HOME", "REMBG_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    return server


def test_first_use_fetches_and_later_use_does_not(catalogue, tmp_path, capsys):
    card = models.coarse_model("u2net")
    assert card.path == tmp_path / "home" / "models" / "u2net.onnx"
    assert card.path.read_bytes() == BODY
    message = capsys.readouterr().err
    assert "fetching u2net (3.0 MB, Apache-2.0) from http://127.0.0.1" in message
    assert models.coarse_model("u2net") == card
    assert store.ensure("u2net") == card.path
    assert len(catalogue.ranges) == 1
    assert capsys.readouterr().err == ""


def test_whoever_asks_is_told_how_far_it_is(catalogue, capsys):
    steps: list[tuple[int, int]] = []
    store.fetch("u2net", True, lambda *step: steps.append(step))
    assert steps[0] == (0, len(BODY)) and steps[-1] == (len(BODY), len(BODY))
    assert capsys.readouterr().err == ""


def test_a_file_that_was_changed_is_not_used(catalogue):
    path = store.ensure("u2net")
    path.write_bytes(bytes(len(BODY)))
    with pytest.raises(ModelInvalid, match="wisp models remove u2net"):
        store.ensure("u2net")
    store.remove("u2net")
    assert store.ensure("u2net").read_bytes() == BODY


@pytest.mark.parametrize(
    "variable, file",
    [
        ("U2NET_HOME", "u2net.onnx"),
        ("U2NET_HOME", "models/u2net/u2net.onnx"),
        ("REMBG_HOME", "models/u2net/u2net.onnx"),
        ("XDG_DATA_HOME", "rembg/models/u2net/u2net.onnx"),
        ("XDG_DATA_HOME", ".u2net/u2net.onnx"),
        ("HOME", ".u2net/u2net.onnx"),
        ("HOME", ".rembg/models/u2net/u2net.onnx"),
    ],
)
def test_what_rembg_has_is_used_where_it_lies(catalogue, tmp_path, monkeypatch, variable, file):
    monkeypatch.setenv(variable, str(tmp_path / "rembg"))
    path = tmp_path / "rembg" / file
    path.parent.mkdir(parents=True)
    path.write_bytes(BODY)
    assert store.ensure("u2net") == path
    assert catalogue.ranges == []


def test_what_rembg_has_is_verified(catalogue, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("U2NET_HOME", str(tmp_path / "rembg"))
    theirs = tmp_path / "rembg" / "u2net.onnx"
    theirs.parent.mkdir()
    theirs.write_bytes(bytes(len(BODY)))
    assert store.ensure("u2net") == store.model_path("u2net")
    assert "left alone" in capsys.readouterr().err
    assert theirs.read_bytes() == bytes(len(BODY))


def test_offline_it_says_what_to_fetch_and_where_to_put_it(catalogue, tmp_path, monkeypatch):
    monkeypatch.setenv("WISP_MODELS_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(download, "PATIENCE", 1)
    with pytest.raises(ModelError) as caught:
        store.ensure("u2net")
    for fact in (PUBLIC["u2net"].url, DIGEST, "3,000,000", str(store.model_path("u2net"))):
        assert fact in str(caught.value)
    assert "\n" not in str(caught.value)
    store.model_path("u2net").write_bytes(BODY)  # what it says helps
    assert store.ensure("u2net") == store.model_path("u2net")


def test_a_folder_without_room(catalogue, monkeypatch):

    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage(10**9, 10**9, 1000))
    with pytest.raises(OutputError, match=r"needs 3\.0 MB .* WISP_HOME"):
        store.ensure("u2net")


def test_a_licence_against_commerce_is_said_before_first_use(catalogue, monkeypatch, capsys):

    strict = replace(PUBLIC["u2net"], noncommercial=True, licence="CC BY-NC 4.0")
    monkeypatch.setitem(PUBLIC, "u2net", strict)
    store.ensure("u2net", quiet=True)  # hushes all but this
    assert capsys.readouterr().err.startswith(
        "u2net is licensed CC BY-NC 4.0: not for commercial use."
    )
    store.remove("u2net")
    store.ensure("u2net")
    licence, fetching = capsys.readouterr().err.splitlines()
    assert "CC BY-NC 4.0" in licence and fetching.startswith("fetching")
    store.ensure("u2net")
    assert capsys.readouterr().err == ""


def test_processes_share_one_download(catalogue, tmp_path):
    """Four at once: one fetches, the others wait for it."""

    def slowly(handler: Handler) -> None:
        handler.begin(0, len(BODY))
        for start in range(0, len(BODY), 300_000):
            handler.wfile.write(BODY[start : start + 300_000])
            time.sleep(0.15)

    catalogue.answer = slowly
    code = (
        "import dataclasses, hashlib, sys\n"
        "from pipeline.models import store\n"
        "from pipeline.models.catalogue import PUBLIC\n"
        f"PUBLIC['u2net'] = dataclasses.replace(PUBLIC['u2net'], length={len(BODY)},\n"
        f"    sha256='{DIGEST}', md5='')\n"
        "print(hashlib.sha256(store.ensure('u2net').read_bytes()).hexdigest())\n"
    )
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", code],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=dict(os.environ),
        )
        for _ in range(3)
    ]
    answers = [worker.communicate(timeout=60) for worker in workers]
    assert [out.strip() for out, _ in answers] == [DIGEST] * 3
    assert len(catalogue.ranges) == 1
    assert sum("fetching" in err for _, err in answers) == 1
