"""Nothing leaves the machine: no telemetry, no look-up of a name, no connection to another host."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]

# Runs at the start of every process, before any import: each forbidden event goes into a file.
WATCH = """
import os, sys

def _watch(event, args):
    if event == "import" and args[0].split(".")[0] == "onnxruntime":
        value = os.environ.get("ORT_DISABLE_TELEMETRY")
        bad = "" if value else "onnxruntime is imported with its telemetry on"
    elif event in ("socket.connect", "socket.sendto"):
        address = args[1]
        host = address[0] if isinstance(address, tuple) else "local"
        bad = "" if host in ("local", "127.0.0.1", "::1", "localhost") else f"{event} {address}"
    elif event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"):
        host = args[0]
        known = (None, "", "127.0.0.1", "::1", "0.0.0.0", "localhost")
        bad = "" if host in known else f"{event} {host}"
    else:
        return
    if bad:
        with open(os.environ["WATCHED"], "a") as log:
            log.write(bad + "\\n")
        raise OSError("not allowed here: " + bad)

sys.addaudithook(_watch)
"""


@pytest.fixture
def stranger(tmp_path: Path):
    """An environment with a new home, where every process is watched; checked at the end."""
    home, watch, log = tmp_path / "home", tmp_path / "watch", tmp_path / "forbidden"
    home.mkdir()
    watch.mkdir()
    (watch / "sitecustomize.py").write_text(WATCH)
    left_out = ("ORT_DISABLE_TELEMETRY", "XDG_")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(left_out)}
    environment |= {
        "HOME": str(home),
        "PYTHONPATH": f"{watch}:{ROOT}",
        "WATCHED": str(log),
        "WISP_THREADS": "1",
        "WISP_DATA": str(tmp_path / "data"),
    }
    noise = np.random.default_rng(0).integers(0, 255, (48, 64, 3))
    Image.fromarray(noise.astype(np.uint8)).save(tmp_path / "photo.png")
    yield environment
    assert not log.exists(), log.read_text()
    assert not [path for path in home.rglob("*") if "onnxruntime" in path.name.lower()]
    assert not (home / ".cache" / "Microsoft").exists()


ENTRIES = {
    "import": "import pipeline; pipeline.Cutout()",
    "cut": "from pipeline.cli import main; main(['cut', 'photo.png'])",
    "explain": "from pipeline.cli import main; main(['explain', 'photo.png'])",
    "doctor": "from pipeline.cli import main; main(['doctor'])",
    "models": "from pipeline.cli import main; main(['models', 'show', 'wisp'])",
    "bench": "from eval.cli import bench\n"
    "if __name__ == '__main__':\n"
    "    bench(['builtin', '--limit', '1', '--size', '64x64', '--methods', 'coarse', "
    "'--repeats', '1', '--no-lpips', '--against', 'coarse'])",
    "stage 1's training": "import train_u2net, u2net.inner, u2net.export, u2net.evaluate",
    "stage 2's training": "import train_refiner, refiner.export",
}


@pytest.mark.parametrize("entry", ENTRIES)
def test_nothing_leaves_by_any_entry(entry, stranger, tmp_path):
    script = tmp_path / "entry.py"
    script.write_text(ENTRIES[entry])
    command = [sys.executable, str(script)]
    done = subprocess.run(command, cwd=tmp_path, env=stranger, capture_output=True, timeout=100)
    assert done.returncode == 0, done.stderr.decode()


def test_nothing_leaves_by_the_server(stranger, tmp_path):
    pytest.importorskip("fastapi")
    script = tmp_path / "entry.py"
    script.write_text("import service.cli; service.cli.serve(['--port', '0'])")
    with open(tmp_path / "log", "wb") as log:
        server = subprocess.Popen(
            [sys.executable, str(script)], cwd=tmp_path, env=stranger, stdout=log, stderr=log
        )
    try:
        deadline = time.monotonic() + 100
        while '"url"' not in (text := (tmp_path / "log").read_text()):
            assert server.poll() is None and time.monotonic() < deadline, text
            time.sleep(0.1)
        time.sleep(1)  # what a library would send, it sends right after the start
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(60)


def test_what_the_user_has_set_stays(stranger):
    code = "import os, pipeline; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    command = [sys.executable, "-c", code]
    environment = {**stranger, "ORT_DISABLE_TELEMETRY": "0"}
    assert subprocess.check_output(command, env=environment, text=True) == "0\n"


def test_a_forbidden_look_up_is_noticed(stranger):
    """The watch itself works: else the tests above could not fail."""
    code = "import socket; socket.getaddrinfo('example.invalid', 80)"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=stranger, capture_output=True, text=True)
    assert "not allowed here" in done.stderr
    log = Path(stranger["WATCHED"])
    assert "example.invalid" in log.read_text()
    log.unlink()
