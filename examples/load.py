"""Wisp's server beside the real ``rembg s``: speed, memory, and whether every answer comes.

    python examples/load.py --rembg PATH/bin/rembg [--requests 2000] [--out load.json]

Both servers hold the same stage-1 weights and get the same pictures in turns, a block each, so
that whatever else the machine does hits both. Every request is a picture of its own (a few bytes
after the end of the JPEG differ), so that no cache answers; Wisp's is off besides. Wisp refines
the edge, rembg does not. Memory is what the kernel says of each process (VmRSS, VmHWM).
"""

from __future__ import annotations

import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

import click
import httpx
from PIL import Image
from tqdm import tqdm

from eval.plain import without_hints
from pipeline.models import coarse_model


@dataclass
class Server:
    """A server under test, and what was seen of it."""

    name: str
    command: list[str]
    environment: dict[str, str]
    port: int
    fields: dict[str, str]
    query: dict[str, str]
    seconds: list[float] = field(default_factory=list)
    busy: float = 0.0
    lost: int = 0
    rest: int = 0
    memory: list[tuple[int, int]] = field(default_factory=list)  # (requests so far, bytes)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self, log: Path) -> None:
        with open(log, "wb") as stream:
            self.process = subprocess.Popen(
                self.command,
                env={**os.environ, **self.environment},
                stdout=stream,
                stderr=subprocess.STDOUT,
            )
        deadline = time.monotonic() + 120
        while True:
            try:
                httpx.get(f"{self.url}/openapi.json", timeout=5)
                return
            except httpx.HTTPError as error:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    message = f"{self.name} does not start:\n{log.read_text()}"
                    raise click.ClickException(message) from error
                time.sleep(0.2)

    def read(self, key: str = "VmRSS") -> int:
        assert self.process
        text = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        return next(int(line.split()[1]) for line in text.splitlines() if key in line) * 1024

    def ask(self, picture: bytes) -> None:
        start = time.perf_counter()
        try:
            answer = httpx.post(
                f"{self.url}/api/remove",
                files={"file": picture},
                data=self.fields,
                params=self.query,
                timeout=120,
            )
            whole = answer.status_code == 200 and _whole(answer.content)
        except httpx.HTTPError:
            whole = False
        self.seconds.append(time.perf_counter() - start)
        self.lost += not whole

    def block(self, pictures: list[bytes], clients: int) -> None:
        start = time.perf_counter()
        with ThreadPoolExecutor(clients) as pool:
            list(pool.map(self.ask, pictures))
        self.busy += time.perf_counter() - start
        self.memory.append((len(self.seconds), self.read()))

    def report(self) -> dict[str, object]:
        ordered = sorted(self.seconds)

        def part(share: float) -> float:
            return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 3)

        early = [size for count, size in self.memory if count <= max(1, len(ordered) // 10)]
        late = [size for count, size in self.memory if count > len(ordered) * 0.9]
        return {
            "requests": len(ordered),
            "lost": self.lost,
            "requests_per_second": round(len(ordered) / self.busy, 2),
            "p50": part(0.5),
            "p95": part(0.95),
            "p99": part(0.99),
            "rest_mb": round(self.rest / 1e6),
            "peak_mb": round(self.read("VmHWM") / 1e6),
            "early_mb": round(early[-1] / 1e6) if early else None,
            "late_mb": round(statistics.median(late) / 1e6),
            "growth_percent": round(100 * (statistics.median(late) / early[-1] - 1), 1)
            if early
            else None,
            "curve_mb": [(count, round(size / 1e6)) for count, size in self.memory],
        }


def _whole(content: bytes) -> bool:
    try:
        with Image.open(BytesIO(content)) as image:
            image.load()
            return image.mode == "RGBA"
    except (OSError, ValueError):
        return False


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def _photos(paths: tuple[Path, ...], size: tuple[int, int]) -> list[bytes]:
    """Return JPEGs of one size: of the files given, else of scikit-image's photos."""
    if paths:
        images = [Image.open(path).convert("RGB") for path in paths]
    else:
        from skimage import data

        shots = (data.astronaut(), data.chelsea(), data.coffee(), data.rocket())
        images = [Image.fromarray(shot) for shot in shots]
    photos = []
    for image in images:
        buffer = BytesIO()
        image.resize(size, Image.Resampling.LANCZOS).save(buffer, "JPEG", quality=92)
        photos.append(buffer.getvalue())
    return photos


def _servers(folder: Path, model: str, ours: str, rembg: str | None) -> list[Server]:
    weights = coarse_model(model).path
    serve = "from service.cli import serve; serve()"
    port = _free_port()
    servers = [
        Server(
            "wisp",
            [sys.executable, "-c", serve, "--port", str(port)],
            {"WISP_CACHE": "off", "WISP_DATA": str(folder / "wisp"), "WISP_MODEL": ours},
            port,
            {},
            {},
        )
    ]
    if rembg:
        home = folder / "rembg"
        home.mkdir()
        own = without_hints(weights, home / "same.onnx")
        port = _free_port()
        extras = json.dumps({"model_path": str(own)})
        servers.append(
            Server(
                "rembg",
                [*rembg.split(), "s", "--host", "127.0.0.1", "--port", str(port)],
                {"U2NET_HOME": str(home), "BROWSER": "true", "GRADIO_ANALYTICS_ENABLED": "False"},
                port,
                {"model": "u2net_custom"},
                {"extras": extras},
            )
        )
    return servers


@click.command()
@click.option("--requests", default=2000, show_default=True, help="To each server.")
@click.option("--block", default=20, show_default=True, help="Requests in a turn.")
@click.option("--clients", default=1, show_default=True, help="At a time.")
@click.option("--model", default="wisp", show_default=True, help="Stage 1 of both.")
@click.option("--ours", help="Stage 1 of Wisp, in place of that.")
@click.option("--size", nargs=2, default=(1920, 1080), show_default=True, help="Of the photos.")
@click.option("--photo", "photos", multiple=True, type=click.Path(path_type=Path, exists=True))
@click.option("--rembg", metavar="COMMAND", help="rembg's; without it, Wisp alone.")
@click.option("--out", type=click.Path(path_type=Path), help="JSON with the memory curves.")
def main(
    requests: int,
    block: int,
    clients: int,
    model: str,
    ours: str | None,
    size: tuple[int, int],
    photos: tuple[Path, ...],
    rembg: str | None,
    out: Path | None,
) -> None:
    """Load Wisp's server, beside rembg's."""
    pictures = _photos(photos, size)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        servers = _servers(folder, model, ours or model, rembg)
        try:
            for server in servers:
                server.start(folder / f"{server.name}.log")
                for picture in pictures:  # warm up
                    server.ask(picture)
                server.seconds.clear()
                server.lost = 0
                time.sleep(2)
                server.rest = server.read()
            bar = tqdm(total=requests * len(servers), unit="req", disable=None)
            for first in range(0, requests, block):
                count = min(block, requests - first)
                for server in servers:
                    batch = [
                        pictures[(first + i) % len(pictures)] + os.urandom(8) for i in range(count)
                    ]
                    server.block(batch, clients)
                    bar.update(count)
            bar.close()
            reports = {server.name: server.report() for server in servers}
        finally:
            _stop(servers)
    shown = [key for key in reports["wisp"] if key != "curve_mb"]
    click.echo(f"{'':22}" + "".join(f"{name:>12}" for name in reports))
    for key in shown:
        click.echo(f"{key:22}" + "".join(f"{report[key]!s:>12}" for report in reports.values()))
    if out:
        out.write_text(json.dumps(reports, indent=1), encoding="utf-8")
    if reports["wisp"]["lost"]:
        raise click.ClickException("answers were lost")


def _stop(servers: list[Server]) -> None:
    def stop(server: Server) -> None:
        if server.process:
            server.process.send_signal(signal.SIGTERM)
            try:
                server.process.wait(30)
            except subprocess.TimeoutExpired:
                server.process.kill()

    threads = [threading.Thread(target=stop, args=(server,)) for server in servers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()
