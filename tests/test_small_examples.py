"""The examples that a reader copies from, run as they stand."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click import ClickException
from click.testing import CliRunner
from PIL import Image
from skimage import data

import wisp
from pipeline import Result
from tests.conftest import encoded, example, fake_cutout

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture
def no_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wisp, "Cutout", lambda: fake_cutout)


@pytest.mark.usefixtures("no_networks")
def test_a_batch_puts_aside_what_is_unsure(
    tmp_path: Path, photo: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos, out = tmp_path / "photos", tmp_path / "out"
    photos.mkdir()
    (photos / "a.jpg").write_bytes(encoded(photo, "JPEG"))
    (photos / "b.jpg").write_bytes(b"no picture")
    batch = example("batch")
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
    asynchronous = example("asynchronous")
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
        await asynchronous.main([*photos, tmp_path / "none.png"])
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


def test_the_ratios_are_those_of_a_report_and_of_whole_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ratios = example("ratios")
    own = "wisp (model=wisp)"
    names = ("wisp", "rembg", "rembg-matting", "wisp-cut", "rembg-i", own, "wisp-own")
    means = {
        name: {figure: {"value": number + 1.0} for figure in ("seconds", "megabytes")}
        for number, name in enumerate(names)
    }
    pairs = {
        "wisp": {"rembg": {"value": 0.5}, "rembg-matting": {"value": 0.125}},
        "wisp-cut": {"rembg-i": {"value": 0.25}},
        own: {"rembg": {"value": 0.4}, "rembg-matting": {"value": 0.1}},
        "wisp-own": {"rembg-i": {"value": 0.2}},
    }
    large = {"size": [6000, 4000], "seconds": 3.0, "megabytes": 400.0}
    report = {
        "subsets": {"all": {"time_ratios": pairs, "means": means}},
        "footprint": {"photos": [large]},
    }
    rows = ratios.from_report(report)
    found = [ratio for _, ratio, _ in rows]
    assert found == [0.5, 0.4, 0.125, 0.1, 0.25, 0.2, 4 / 5, 7 / 5, 3.0]
    assert rows[4][2] == "4.00 s, 5.00 s"
    del pairs["wisp-cut"]  # as where rembg's command failed
    (tmp_path / "results.json").write_text(json.dumps(report))
    done = CliRunner().invoke(ratios.main, [str(tmp_path), "--rembg", "rembg"])
    assert done.exit_code == 1 and "a method may have failed" in done.output

    monkeypatch.setattr(ratios, "PHOTO", (48, 64))
    copy = (
        "import pathlib, shutil, sys; source, out = map(pathlib.Path, sys.argv[-2:]); out.mkdir()"
    )
    copy += "; [shutil.copy(one, out / (one.stem + '.png')) for one in source.iterdir()"
    rembg = [sys.executable, "-c", copy + "]"]
    title, ratio, figures = ratios.folder(rembg, "wisp", "{}", 2, 1)
    mine, other = map(float, figures.split(", "))
    assert ratio == pytest.approx(mine / other, rel=0.05) and "2 of 2 megapixels" in title
    lazy = [sys.executable, "-c", copy + " if one.stem != '001']"]
    with pytest.raises(ClickException, match="left photos out"):
        ratios.folder(lazy, "wisp", "{}", 2, 1)


def test_two_versions_are_timed_by_turns(tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    Image.fromarray(data.astronaut()[::4, ::4]).save(photo)
    versions = example("versions")
    done = CliRunner().invoke(
        versions.main,
        [str(EXAMPLES.parent), str(EXAMPLES.parent), "--photo", str(photo), "--rounds", "1"],
    )
    assert done.exit_code == 0, (done.output, done.exception)
    head, _, first, second = done.output.splitlines()
    assert head.count("|") == first.count("|") == second.count("|")
    assert first.endswith("| 1.00 |") and all(float(c) > 0 for c in second.split("|")[2:-1])
    photo.write_text("no picture")
    failed = CliRunner().invoke(versions.main, [str(EXAMPLES.parent), "--photo", str(photo)])
    assert failed.exit_code == 1 and "cannot cut" in failed.output
