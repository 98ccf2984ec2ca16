"""The harness gives the figures that others measured, where data and weights are at hand.

Set WISP_BENCHMARK to a folder with images/ and alphas/ of the alphamatting.com training set, and
WISP_TEACHER to the published U²-Net-P as ONNX; by default they are looked for beside the
repository.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from eval import methods, metrics, regions
from eval.datasets import find
from eval.methods import Input

SHARED = Path(__file__).parents[2] / ".." / "shared"
DATA = Path(os.environ.get("WISP_BENCHMARK", SHARED / "benchmark" / "alphamatting"))
MODEL = Path(os.environ.get("WISP_TEACHER", SHARED / "reference" / "u2netp.onnx"))

#: Mean of nine images (all but GT25, where stage 1 finds another subject); rembg 2.0.
PUBLISHED = {
    "rembg": {"psnr": 21.92, "ssim": 0.911, "sad": 11.52, "psnr@edge": 15.16},
}


@pytest.mark.skipif(not (DATA.is_dir() and MODEL.is_file()), reason="data or weights not at hand")
@pytest.mark.parametrize("name", PUBLISHED)
def test_published_figures(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("rembg", reason="the real rembg, where installed (extra: peers)")
    monkeypatch.setenv("U2NET_HOME", "")  # put back what the method changes
    (spec,) = methods.parse(name, {"model": str(MODEL)})
    run = methods.build(spec)
    figures = []
    for sample in find(str(DATA)).samples:
        if sample.name != "GT25":
            scene = sample.load()
            cutout = np.asarray(run(Input(scene.name, scene.data, scene.image)))
            alpha, truth = cutout[..., 3] / 255.0, scene.alpha.astype(np.float64)
            figures.append(
                {
                    "psnr": metrics.psnr(alpha, truth),
                    "ssim": metrics.ssim(alpha, truth),
                    "sad": metrics.sad(alpha, truth),
                    "psnr@edge": metrics.psnr(alpha, truth, regions.band(scene.alpha)),
                }
            )
    assert len(figures) == 9
    for figure, published in PUBLISHED[name].items():
        digits = 3 if figure == "ssim" else 2
        mean = float(np.mean([one[figure] for one in figures]))
        assert round(mean, digits) == pytest.approx(published, abs=0.51 * 10**-digits), figure
