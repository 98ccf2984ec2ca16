"""Clips in the harness: figures against what can be counted by hand, and the command."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from skimage import data

from eval import clips, video
from eval.cli import bench
from eval.metrics.temporal import (
    aligned_change,
    dtssd,
    photo_flow,
    read_flow,
    write_flow,
)
from eval.scenes import DatasetError
from tests.conftest import ellipse


def cutout() -> np.ndarray:
    photo = cv2.resize(data.astronaut(), (96, 96), interpolation=cv2.INTER_AREA)
    return np.dstack([photo, np.rint(255 * ellipse(96, 96)).astype(np.uint8)])


def made(motion: str, frames: int = 4) -> list[tuple[np.ndarray, np.ndarray]]:
    background = cv2.resize(data.coffee(), (160, 120), interpolation=cv2.INTER_AREA)
    return list(clips.clip(cutout(), background, motion, (96, 128), frames))


@pytest.fixture
def folder(tmp_path):
    for number, motion in enumerate(("still", "walk")):
        for kind in ("com", "pha"):
            (tmp_path / "set" / motion / kind).mkdir(parents=True)
        for index, (frame, alpha) in enumerate(made(motion)):
            grey = np.rint(255 * alpha).astype(np.uint8)
            at = tmp_path / "set" / motion
            Image.fromarray(frame).save(at / "com" / f"{index:04d}.png")
            Image.fromarray(grey).save(at / "pha" / f"{index:04d}.png")
        assert number < 2
    return tmp_path / "set"


def test_a_clip_moves_as_its_motion_says():
    still, walk = made("still"), made("walk")
    assert (still[0][1] == still[3][1]).all()
    assert (still[0][0] != still[3][0]).any()  # each frame has noise of its own
    columns = np.arange(128)
    centre = [(alpha.sum(0) * columns).sum() / alpha.sum() for _, alpha in walk]
    assert np.diff(centre).min() > 0.3
    frame, alpha = still[0]
    assert frame.shape == (96, 128, 3)
    assert 0 <= alpha.min() < 0.01
    assert alpha.max() > 0.99


def test_dtssd_is_zero_where_the_change_is_the_true_one():
    a, b = (alpha for _, alpha in made("walk", 2))
    assert dtssd(a, b, a, b) == 0
    wrong = np.float32(0.1)
    assert dtssd(a + wrong, b + wrong, a, b) < 1e-4  # wrong, but it holds still
    assert dtssd(a, b + wrong, a, b) == pytest.approx(10, abs=1e-4)


def test_the_aligned_change_sees_flicker_and_no_motion():
    (before, a), (now, b) = made("talk", 2)
    motion = photo_flow(before, now)
    honest = aligned_change(a, b, b, *motion)
    flickering = aligned_change(a, b * np.float32(0.9), b, *motion)
    assert honest is not None and flickering is not None
    assert flickering > honest + 20
    assert aligned_change(a, b, np.zeros_like(b), *motion) is None


@pytest.mark.parametrize("motion", list(clips.MOTIONS))
def test_along_its_true_motion_the_truth_hardly_changes(motion, tmp_path):
    background = cv2.resize(data.coffee(), (160, 120), interpolation=cv2.INTER_AREA)
    alphas = [alpha for _, alpha in clips.clip(cutout(), background, motion, (96, 128), 6)]
    for index in range(1, 6):
        before, now = alphas[index - 1 : index + 1]
        flow = clips.flow(cutout().shape, motion, (96, 128), index)
        change = aligned_change(before, now, now, flow)
        assert change is not None and change < 4
        write_flow(tmp_path / "flow.png", flow)
        assert np.abs(read_flow(tmp_path / "flow.png") - flow).max() <= 1 / 128
        if motion != "still":
            still = aligned_change(before, now, now, np.zeros_like(flow))
            assert still is not None and still > 2 * change


def test_a_clip_that_knows_its_motion_is_measured_along_it(folder, tmp_path):
    (folder / "walk" / "flow").mkdir()
    _, estimated = video.find(folder)
    for index in range(1, 4):
        flow = clips.flow(cutout().shape, "walk", (96, 128), index)
        write_flow(folder / "walk" / "flow" / f"{index:04d}.png", flow)
    _, known = video.find(folder)
    truth = [video._alpha(path) for path in known.alphas]
    assert video.measure(known, truth)["change"] < video.measure(estimated, truth)["change"]


def test_clips_are_found_wherever_they_lie(folder, tmp_path):
    assert [clip.name for clip in video.find(folder)] == ["still", "walk"]
    assert [clip.name for clip in video.find(folder / "walk")] == ["walk"]
    assert len(video.find(folder, 2)[0].frames) == 2
    (folder / "walk" / "pha" / "0001.png").unlink()
    with pytest.raises(DatasetError, match=r"0001\.png has no alpha"):
        video.find(folder)
    with pytest.raises(DatasetError, match="no clip"):
        video.find(tmp_path / "set" / "still" / "com")


def test_the_truth_is_exact_and_a_steadier_answer_scores_better(folder):
    (clip, _) = video.find(folder)
    truth = [video._alpha(path) for path in clip.alphas]
    exact = video.measure(clip, truth)
    assert exact["mad"] == exact["dtssd"] == 0
    rough = [alpha * np.float32(1 - 0.1 * (n % 2)) for n, alpha in enumerate(truth)]
    assert video.measure(clip, rough)["change"] > exact["change"] + 5


def test_the_command(folder, tmp_path, monkeypatch):
    out = tmp_path / "report"
    answers = tmp_path / "answers"
    for motion in ("still", "walk"):
        (answers / motion).mkdir(parents=True)
        for path in (folder / motion / "pha").iterdir():
            (answers / motion / path.name).write_bytes(path.read_bytes())
    args = ["--video", str(folder), "--methods", "", "--method-folder", f"perfect={answers}"]
    done = CliRunner().invoke(bench, [*args, "-o", str(out), "--quiet"])
    assert done.exit_code == 0, done.output
    assert "| perfect | 0.00 | 0.00 |" in done.stdout
    figures = json.loads((out / "video.json").read_text())["figures"]
    assert set(figures) == {"the truth itself", "perfect"}
    assert set(figures["perfect"]) == {"still", "walk"}


HALF = """
import sys
from fractions import Fraction
from pathlib import Path
import numpy as np
from wisp.video import open_clip
from wisp.video.clip import Colour
from wisp.video.coding import Encoder, Picture, coding_for
source, target = map(Path, sys.argv[1:3])
clip = open_clip(source)
coding = coding_for(target, True)
encoder = Encoder(target, coding, (48, 64), clip.rate, clip.time_base, Colour())
for frame in list(clip.frames())[: int(sys.argv[3])]:
    small = np.ascontiguousarray(frame.image[::2, ::2])
    encoder.write(Picture(small, np.full((48, 64), 0.5, np.float32)), frame.pts)
encoder.close()
"""


def test_a_command_gets_a_clip_and_writes_one(folder, tmp_path, monkeypatch):
    """Its matte may be of another size, and is measured as if it were enlarged."""
    pytest.importorskip("av", reason="clips need pip install 'wispcut[video]'")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    script, out = tmp_path / "half.py", tmp_path / "report"
    script.write_text(HALF)
    line = f"half={sys.executable} {script} {{in}} {{out}}"
    args = ["--video", str(folder / "walk"), "--methods", "", "--quiet", "-o", str(out)]
    done = CliRunner().invoke(bench, [*args, "--method-command", f"{line} 4"])
    assert done.exit_code == 0, done.output
    figures = json.loads((out / "video.json").read_text())["figures"]["half"]["walk"]
    truth = [video._alpha(path) for path in video.find(folder / "walk")[0].alphas]
    assert figures["mad"] == pytest.approx(
        np.mean([abs(a - 0.5).mean() for a in truth]) * 1e3, 0.01
    )
    assert figures["seconds"] > 0 and figures["processor"] > 0 and figures["megabytes"] > 30
    done = CliRunner().invoke(bench, [*args, "--method-command", f"{line} 2"])
    assert done.exit_code == 1 and "fewer answers than frames" in done.output


def test_wisp_video_is_a_method(folder, monkeypatch):
    pytest.importorskip("av", reason="clips need pip install 'wispcut[video]'")
    from tests.conftest import fake_cutout

    monkeypatch.setattr("wisp.video.cutout.Cutout", lambda settings: fake_cutout)
    done = CliRunner().invoke(bench, ["--video", str(folder), "--methods", "video", "--quiet"])
    assert done.exit_code == 0, done.output
    assert "| video |" in done.stdout
