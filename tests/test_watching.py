"""``wisp cut --watch``: photos that come are cut out, half-copied ones waited for."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from pipeline.cli import arrivals, main
from tests import networks
from tests.conftest import encoded, in_time

pytest.importorskip("watchfiles", reason="needs the extra 'watch'")


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[set]:
    """The changes that a stand-in for watchfiles tells of, look by look."""
    changes: list[set] = []

    def watch(*_: str, **__: Any) -> Iterator[set]:
        while True:
            yield changes.pop(0) if changes else set()

    monkeypatch.setattr("watchfiles.watch", watch)
    return changes


def test_a_photo_that_grows_is_waited_for(tmp_path: Path, looks: list[set]) -> None:
    there, growing = tmp_path / "there.jpg", tmp_path / "growing.jpg"
    there.write_bytes(b"1")
    lists = 0

    def photos() -> list[Path]:
        nonlocal lists
        lists += 1
        if lists == 3:
            growing.write_bytes(b"1")
        elif lists in (4, 5):
            growing.write_bytes(growing.read_bytes() + b"2")
        return [path for path in (there, growing) if path.exists()]

    resting = arrivals.at_rest([str(tmp_path)], photos)
    assert next(resting) == {there} and lists == 2  # the same in two looks
    looks.append({"something"})
    assert next(resting) == {growing} and growing.read_bytes() == b"122"
    growing.write_bytes(b"1")
    looks.append({"something"})
    assert next(resting) == {growing}  # another photo of that name


def test_nothing_is_listed_while_nothing_happens(tmp_path: Path, monkeypatch: Any) -> None:
    def watch(*_: str, **__: Any) -> Iterator[set]:
        yield from [set()] * 9

    monkeypatch.setattr("watchfiles.watch", watch)
    lists = 0

    def photos() -> list[Path]:
        nonlocal lists
        lists += 1
        return []

    assert list(arrivals.at_rest([str(tmp_path)], photos)) == []
    assert lists == 1


@pytest.mark.parametrize("arguments, message", [
    (["photo.jpg", "-o", "out"], "for folders"),
    (["in"], "-o FOLDER"),
    (["in", "-o", "-"], "-o FOLDER"),
    (["in", "-o", "out", "--report", "r.json"], "--json"),
])  # fmt: skip
def test_what_cannot_be_watched_is_said(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    Path("photo.jpg").write_bytes(b"x")
    done = CliRunner().invoke(main, ["cut", *arguments, "--watch"])
    assert done.exit_code == 2 and message in done.stderr


def test_photos_that_come_are_cut_out_and_ctrl_c_ends_it(tmp_path: Path, photo: np.ndarray) -> None:
    inbox, out = tmp_path / "in", tmp_path / "in" / "out"
    inbox.mkdir()
    (inbox / "first.jpg").write_bytes(encoded(photo, "JPEG"))
    model, refiner = networks.stage1(tmp_path / "c.onnx"), networks.stage2(tmp_path / "r.onnx")
    command = [sys.executable, "-m", "wisp", "cut", inbox, "-o", out, "--watch", "--json", "-q"]
    process = subprocess.Popen(
        [*map(str, command), "--model", str(model), "--refiner", str(refiner)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # What a shell starts in the background inherits a SIGINT that is ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        in_time((out / "first.png").exists)
        (inbox / "second.jpg").write_bytes(encoded(photo[::-1], "JPEG"))
        in_time((out / "second.png").exists)
        process.send_signal(signal.SIGINT)
        lines, errors = process.communicate(timeout=90)
    finally:
        process.kill()
    assert process.returncode == 0 and errors == ""
    assert [json.loads(line)["status"] for line in lines.splitlines()] == ["done", "done"]
