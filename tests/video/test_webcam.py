"""The example that follows a camera, with a clip in its place."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np

from tests import networks
from tests.video.conftest import write_clip

ROOT = Path(__file__).parents[2]


def test_a_clip_in_a_cameras_place(tmp_path):
    write_clip(tmp_path / "a.mp4", 5)
    one = networks.constant_stage1(tmp_path / "one.onnx", 0.0)
    two = networks.stage2(tmp_path / "two.onnx")
    command = [sys.executable, str(ROOT / "examples" / "webcam.py"), str(tmp_path / "a.mp4")]
    command += ["--size", "32x24", "--background", "red", "--model", str(one)]
    command += ["--refiner", str(two)]
    done = subprocess.run(command, capture_output=True, env={"PYTHONPATH": str(ROOT)}, check=True)
    pictures = np.frombuffer(done.stdout, np.uint8).reshape(-1, 24, 32, 3)
    assert len(pictures) == 5
    assert (pictures == (255, 0, 0)).all()


def test_no_camera(tmp_path):
    command = [sys.executable, str(ROOT / "examples" / "webcam.py"), str(tmp_path / "none.mp4")]
    done = subprocess.run(
        [*command, "--model", str(networks.stage1(tmp_path / "one.onnx")), "--no-refine"],
        capture_output=True, text=True, env={"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 1
    assert "there is no camera" in done.stderr
