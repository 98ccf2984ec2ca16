"""What ``examples/soak.py`` does to a server: small requests that cost it much, until told to stop.

Each attack comes from an address of its own (127.0.9.x, which Linux has without being asked), and
raises :class:`Harm` where the server gives away what it must not.
"""

from __future__ import annotations

import io
import itertools
import os
import select
import socket
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import httpx
import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests import hostile

Stop = threading.Event


class Harm(Exception):
    """The server did what it must never do."""


class Target:
    """The server under attack, and the file beside it that nobody may see."""

    def __init__(self, url: str, secret: Path) -> None:
        self.url, self.secret = url, secret
        self.address = ("127.0.0.1", int(url.rpartition(":")[2]))

    def client(self, host: str, patience: float = 30) -> httpx.Client:
        return httpx.Client(
            base_url=self.url, transport=httpx.HTTPTransport(local_address=host), timeout=patience
        )

    def connect(self, host: str) -> socket.socket:
        one = socket.socket()
        one.bind((host, 0))
        one.connect(self.address)
        return one

    def head(self, path: str, *lines: str) -> bytes:
        return "\r\n".join([f"{path} HTTP/1.1", f"Host: {self.url[7:]}", *lines, ""]).encode()


def idle(target: Target, stop: Stop) -> None:
    """Hold 530 connections that say nothing, or begin a head and do not end it."""
    while not stop.is_set():
        with ExitStack() as stack:
            for number in range(530):
                try:
                    one = stack.enter_context(closing(target.connect("127.0.9.1")))
                    if number % 2:
                        one.sendall(target.head("GET /healthz", "X-Slow: "))
                except OSError:  # shut at once
                    continue
            stop.wait(8)


def unfinished(target: Target, stop: Stop) -> None:
    """Send forty uploads of 29 MB, and hold back the last bytes."""
    kind = "Content-Type: multipart/form-data; boundary=b"
    head = target.head("POST /api/matting", "Content-Length: 29000000", kind) + b"\r\n"
    head += b'--b\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
    block = bytes(1 << 20)
    while not stop.is_set():
        with ExitStack() as stack:
            open_ = []
            for _ in range(40):
                one = stack.enter_context(closing(target.connect("127.0.9.2")))
                one.sendall(head)
                open_.append(one)
            stop.wait(0.5)
            refused, _, _ = select.select(open_, [], [], 0)
            for one in set(open_) - set(refused):
                one.settimeout(2)
                try:
                    for _ in range(27):
                        one.sendall(block)
                except OSError:
                    continue
            stop.wait(8)


def unread(target: Target, stop: Stop) -> None:
    """Ask for one large result again and again, and read none of it."""
    noise = np.random.default_rng(0).integers(0, 256, (1600, 1600, 3), np.uint8)
    with target.client("127.0.9.3") as client:
        answer = client.post("/api/remove-background", files={"file": _encoded(noise)})
    if answer.status_code != 200:
        return
    head = target.head(f"GET {answer.json()['result_url']}") + b"\r\n"
    while not stop.is_set():
        with ExitStack() as stack:
            for _ in range(60):
                stack.enter_context(closing(target.connect("127.0.9.3"))).sendall(head)
            stop.wait(8)


def slow_files(target: Target, stop: Stop) -> None:
    """Send small files that cost a decoder seconds to minutes."""
    files = itertools.cycle(
        [
            hostile.gif_comment(4_000_000),
            hostile.gif_comment(16_000_000),
            hostile.jpeg_scans(5000, 1000),
            hostile.tiff_pages(40_000),
            hostile.png_chunks(2_000_000),
            hostile.jpeg_markers(2_000_000),
            hostile.bmp_runs(2000),
        ]
    )
    _pour(target, stop, "127.0.9.4", ((("image", file),) for file in files), "/api/matting", 0.5)


def large_pictures(target: Target, stop: Stop) -> None:
    """Send few bytes of many pixels, as the photo and as what goes behind it."""
    small = _encoded(np.zeros((64, 64, 3), np.uint8))
    flat = _encoded(np.full((3000, 4000, 3), 128, np.uint8))
    bomb = io.BytesIO()
    Image.new("1", (14_000, 14_000)).save(bomb, "PNG")
    behind = itertools.cycle([bomb.getvalue(), flat])
    files = ((("file", small + os.urandom(8)), ("background_file", next(behind))) for _ in behind)
    _pour(target, stop, "127.0.9.5", files, "/api/remove-background", 1.0)


def _pour(
    target: Target,
    stop: Stop,
    host: str,
    files: Iterator[tuple[tuple[str, bytes], ...]],
    path: str,
    pause: float,
) -> None:
    with target.client(host) as client:
        while not stop.is_set():
            answer = client.post(path, files=dict(next(files)))
            if answer.status_code >= 500 and answer.status_code not in (503, 504):
                raise Harm(f"{path}: {answer.status_code} {answer.text[:200]}")
            stop.wait(pause)


def zips(target: Target, stop: Stop) -> None:
    """Give the page twelve zips that unpack to 200 MB each."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(200):
            archive.writestr(f"{number}.png", bytes(1_000_000))
    data = buffer.getvalue()
    with target.client("127.0.9.6") as client:
        client.get("/")
        options = _options(client, "batch")
        while not stop.is_set():
            sent = client.post(
                "/gradio_api/upload", files=[("files", (f"{n}.zip", data)) for n in range(12)]
            )
            if sent.status_code == 200:
                files = [_file(path) for path in sent.json()]
                _event(client, "batch", [files, *options])
            stop.wait(3)


def foreign_files(target: Target, stop: Stop) -> None:
    """Name the server's own files to the page."""
    paths = [str(target.secret), "/dev/zero", "/etc/passwd", "/proc/self/environ", "/nowhere.png"]
    with target.client("127.0.9.7") as client:
        client.get("/")
        one, many = (_options(client, name) for name in ("cut", "batch"))
        while not stop.is_set():
            for path in paths:
                events = {_event(client, "cut", [_file(path), *one])}
                events.add(_event(client, "batch", [[_file(path)], *many]))
                for text in events:
                    if "result" in text or "root:" in text:
                        raise Harm(f"the page opened {path}: {text[:300]}")
            stop.wait(1)


def _file(path: str) -> dict[str, object]:
    return {"path": path, "meta": {"_type": "gradio.FileData"}}


def _options(client: httpx.Client, name: str) -> list[object]:
    """Return what the page has set for one of its functions, all but the first input."""
    config = client.get("/config").json()
    values = {entry["id"]: entry["props"].get("value") for entry in config["components"]}
    (inputs,) = (e["inputs"] for e in config["dependencies"] if e["api_name"] == name)
    return [values[number] for number in inputs[1:]]


def _event(client: httpx.Client, name: str, data: list[object]) -> str:
    """Call one of the page's functions; return all that it says, or the refusal."""
    asked = client.post(f"/gradio_api/call/{name}", json={"data": data})
    if asked.status_code != 200:
        return asked.text
    event = asked.json()["event_id"]
    return client.get(f"/gradio_api/call/{name}/{event}").text.replace("event: error", "")


def forged(target: Target, stop: Stop) -> None:
    """Ask as fast as can be, each time as somebody else."""
    with target.client("127.0.9.8") as client:
        for number in itertools.count():
            if stop.is_set():
                return
            client.get("/v1.0/account", headers={"X-Forwarded-For": f"8.8.{number % 256}.8"})
            stop.wait(0.02)


def _encoded(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


ATTACKS: dict[str, Callable[[Target, Stop], None]] = {
    attack.__name__.replace("_", "-"): attack
    for attack in (
        idle,
        unfinished,
        unread,
        slow_files,
        large_pictures,
        zips,
        foreign_files,
        forged,
    )
}
