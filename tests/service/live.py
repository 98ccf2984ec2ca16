"""A real server in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import httpx
import pytest

from pipeline.models import own

ROOT = Path(__file__).parents[2]
COMMAND = "import service.cli; service.cli.serve()"

#: With patience: a busy machine is no fault of the server.
get, post = partial(httpx.get, timeout=60), partial(httpx.post, timeout=60)


def import_model(data: Path, file: Path, name: str) -> None:
    """Take a U²-Net in for the server that keeps its data there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WISP_HOME", str(data / "home"))
        own.take_in(file, "u2netp", name)


class Live:
    """A server that listens on a free port of this machine."""

    def __init__(self, nets: Path, data: Path, *arguments: str, **settings: str) -> None:
        self.log = data.parent / f"{data.name}.log"
        environment = {k: v for k, v in os.environ.items() if not k.startswith("WISP_")}
        environment |= {
            "PYTHONPATH": str(ROOT),
            "WISP_MODEL": str(nets / "tiny.onnx"),
            "WISP_REFINER": str(nets / "identity.onnx"),
            "WISP_THREADS": "1",
            "WISP_DATA": str(data),
            "WISP_HOME": str(data / "home"),
            **{f"WISP_{name.upper()}": value for name, value in settings.items()},
        }
        port = settings.get("port", "0")
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", COMMAND, "--port", port, *arguments],
                env=environment,
                stderr=log,
                stdout=log,
                cwd=ROOT,
            )
        try:
            self.url = self._ready()
        except BaseException:
            self.process.kill()
            self.process.wait()
            raise

    def _ready(self) -> str:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.log.read_text()
            for line in reversed(self.log.read_text().splitlines()):
                if '"url": "' in line:
                    url = line.partition('"url": "')[2].partition('"')[0]
                    try:
                        if get(f"{url}/readyz").status_code == 200:
                            return url
                    except httpx.HTTPError:
                        pass
                    break
            time.sleep(0.1)
        raise AssertionError(f"the server did not start: {self.log.read_text()}")

    def stop(self, sign: int = signal.SIGTERM, seconds: float = 60) -> int:
        if self.process.poll() is None:
            self.process.send_signal(sign)
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise


@contextmanager
def live(nets: Path, data: Path, *arguments: str, **settings: str) -> Iterator[Live]:
    server = Live(nets, data, *arguments, **settings)
    try:
        yield server
    finally:
        server.stop(signal.SIGKILL)
