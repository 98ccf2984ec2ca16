"""Methods from outside: any command, and any folder of finished results."""

from __future__ import annotations

import io
import json
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from eval.methods.protocol import Input, Kind, Method, MethodError, Options, Outside
from pipeline.errors import quoted


def pixels_of(path: Path) -> NDArray:
    """Read a result: RGBA where it has transparency, else a grey matte, (H, W) float in 0..1."""
    try:
        with Image.open(path) as image:
            if image.has_transparency_data:
                return np.asarray(image.convert("RGBA"))
            return np.asarray(image.convert("L"), np.float32) / 255
    except OSError as error:
        raise MethodError(f"{path.name} is no picture: {error}") from error


def _command(options: Options) -> Method:
    line = options.get("run", "")
    if "{in}" not in line or "{out}" not in line:
        raise MethodError(f"a command names its {{in}} and its {{out}}: {quoted(line)} does not")

    def run(photo: Input) -> Outside:
        suffix = (Image.open(io.BytesIO(photo.data)).format or "png").lower()
        with tempfile.TemporaryDirectory(prefix="wisp-bench-") as scratch:
            source, target = Path(scratch, f"in.{suffix}"), Path(scratch, "out.png")
            source.write_bytes(photo.data)
            words = [
                word.replace("{in}", str(source)).replace("{out}", str(target))
                for word in shlex.split(line)
            ]
            seconds, megabytes = timed(words, Path(scratch, "log"))
            if not target.is_file():
                raise MethodError(f"{words[0]} ended well, but wrote no output")
            return Outside(pixels_of(target), seconds, megabytes)

    return run


# The kernel counts towards a process's peak what its parent held when it was started, so the
# command is started by a process that holds next to nothing.
_LAUNCHER = """
import json, os, subprocess, sys, time
with open(sys.argv[1], "wb") as sink:
    start = time.perf_counter()
    try:
        child = subprocess.Popen(sys.argv[2:], stdin=subprocess.DEVNULL, stdout=sink, stderr=sink)
    except OSError as error:
        sys.exit(str(error))
    _, status, usage = os.wait4(child.pid, 0)
    seconds = time.perf_counter() - start
unit = 1 << 20 if sys.platform == "darwin" else 1 << 10
print(json.dumps([seconds, usage.ru_maxrss / unit, os.waitstatus_to_exitcode(status)]))
"""


def timed(words: list[str], log: Path) -> tuple[float, float]:
    """Run a command; what it prints goes into ``log``.

    Returns wall-clock seconds and the peak memory of its process, in MB (of 2²⁰ bytes). Raises
    :class:`MethodError` with its last line where it cannot be run, or ends with other than 0.
    """
    launched = subprocess.run(
        [sys.executable, "-S", "-c", _LAUNCHER, str(log), *words], capture_output=True, text=True
    )
    if launched.returncode:
        raise MethodError(f"cannot run {words[0]}: {launched.stderr.strip()}")
    seconds, megabytes, code = json.loads(launched.stdout)
    if code:
        last_line = log.read_text(errors="replace").strip().splitlines()[-1:]
        raise MethodError(f"{words[0]} ended with {code}: {' '.join(last_line)}")
    return seconds, megabytes


def _folder(options: Options) -> Method:
    root = Path(options.get("path", ""))
    if not options.get("path") or not root.is_dir():
        raise MethodError(f"{quoted(options.get('path', ''))} is not a folder of results")

    def run(photo: Input) -> Outside:
        file = result_file(root, photo.name)
        if file is None:
            raise MethodError(f"{root} has no result for {photo.name}")
        return Outside(pixels_of(file), None, None)

    return run


def result_file(root: Path, name: str) -> Path | None:
    """Return the finished result for a photo, None where there is none."""
    return next((path for path in sorted(root.glob("*")) if path.stem == name), None)


KINDS = {
    "command": Kind(
        "any command: run='tool {in} {out}'; timed cold, process and all",
        ("run",),
        _command,
        ours=False,
    ),
    "folder": Kind(
        "a folder of finished results, named as the photos: path=DIR",
        ("path",),
        _folder,
        ours=False,
    ),
}
