"""The example that reads the memory of a long clip: here of a short one."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from click.testing import CliRunner

from tests.conftest import example
from wisp.video import open_clip

ARGS = ["--minutes", "0.05", "--fps", "10", "--size", "64x48", "--to", "mkv"]


def test_the_disc_that_is_cut_out_is_the_one_that_is_drawn(tmp_path):
    long_clip = example("long_clip")
    long_clip.draw(tmp_path / "clip.mp4", 3, 10, 48, 64)
    for number, frame in enumerate(open_clip(tmp_path / "clip.mp4").frames()):
        inside = long_clip.disc(number, 48, 64)
        redder = frame.image[..., 0].astype(int) - frame.image[..., 1]
        assert redder[inside == 1].mean() > 100 > 50 > redder[inside == 0].mean()


@pytest.mark.parametrize("growth, code", [(0.0, 0), (1.0, 1)])
def test_memory_that_grows_is_a_failure(monkeypatch, growth, code):
    long_clip = example("long_clip")
    frames = itertools.count()
    monkeypatch.setattr(long_clip, "resident", lambda: 100 + growth * next(frames))
    done = CliRunner().invoke(long_clip.main, ARGS)
    assert done.exit_code == code, done.output
    slope = float(done.output.split("grows by ")[1].split()[0])
    assert slope == pytest.approx(growth * 600, abs=1e-6)  # frames a minute
    assert np.isclose(float(done.output.split("at most ")[1].split()[0]), 100 + growth * 29)
