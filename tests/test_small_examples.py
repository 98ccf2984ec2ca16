"""The examples that a reader copies from, run as they stand."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import threading
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

import wisp
from pipeline import Result
from tests.conftest import encoded, fake_cutout

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture
def no_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wisp, "Cutout", lambda: fake_cutout)


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.usefixtures("no_networks")
def test_a_batch_puts_aside_what_is_unsure(
    tmp_path: Path, photo: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos, out = tmp_path / "photos", tmp_path / "out"
    photos.mkdir()
    (photos / "a.jpg").write_bytes(encoded(photo, "JPEG"))
    (photos / "b.jpg").write_bytes(b"no picture")
    batch = load("batch")
    (a, sure), (b, broken) = batch.cut_folder(photos, out)
    assert (a.name, sure) == ("a.jpg", "done") and b.name == "b.jpg" and "b.jpg" in broken
    with Image.open(out / "a.jpg") as cutout:
        assert cutout.size < photo.shape[1::-1]  # cut down to the subject
    monkeypatch.setattr(Result, "unsure", True)
    (photos / "b.jpg").unlink()
    assert [became for _, became in batch.cut_folder(photos, out)] == ["look at it"]
    assert (out / "look" / "a.jpg").exists()


def test_a_loop_goes_on_while_photos_are_cut_out(
    tmp_path: Path, photo: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_work, most, lock = 0, 0, threading.Lock()

    def slow(source: Any) -> Result:
        nonlocal at_work, most
        with lock:
            at_work += 1
            most = max(most, at_work)
        time.sleep(0.05)
        with lock:
            at_work -= 1
        return fake_cutout(source)

    monkeypatch.setattr(wisp, "Cutout", lambda: slow)
    example = load("asynchronous")
    photos = [tmp_path / f"{number}.png" for number in range(4)]
    for path in photos:
        path.write_bytes(encoded(photo, "PNG"))
    ticks = 0

    async def clock() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0.001)

    async def run() -> None:
        task = asyncio.create_task(clock())
        await example.main([*photos, tmp_path / "none.png"])
        task.cancel()

    asyncio.run(run())
    assert ticks > 5 and most <= 2
    assert all((tmp_path / f"{number}-cutout.png").exists() for number in range(4))


def test_the_notebook_runs() -> None:
    cells = json.loads((EXAMPLES / "tour.ipynb").read_text(encoding="utf-8"))["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    namespace: dict[str, Any] = {}
    for text in code:
        exec(compile(text, "tour.ipynb", "exec"), namespace)
    assert len(code) >= 5 and namespace["written"].stat().st_size > 1000
    assert all(not cell.get("outputs") for cell in cells)  # committed without
