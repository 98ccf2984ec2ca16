"""All figures of one cutout against the truth of its scene."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

from eval import regions
from eval.metrics import (
    composite_error,
    f_beta_max,
    f_beta_mean,
    foreground_error,
    mae,
    mse,
    psnr,
    s_measure,
    sad,
)
from eval.metrics.connectivity import connectivity_map
from eval.metrics.error import Matte, inside
from eval.metrics.gradient import gradient_map
from eval.metrics.perceptual import lpips_map
from eval.metrics.structure import ssim, ssim_map
from eval.scenes import Scene

#: PSNR of a perfect matte, in place of infinity: a mean must remain a number. An 8-bit matte that
#: is right but for its rounding reaches 59 dB.
PERFECT = 100.0


def measure(
    cutout: NDArray[np.uint8],
    scene: Scene,
    coarse: Matte | None = None,
    lpips: bool = False,
    cells: tuple[int, int] = (320, 320),
) -> dict[str, float]:
    """Measure a cutout.

    Parameters
    ----------
    cutout
        (H, W, 4) uint8 straight RGBA.
    scene
        The photo and its truth. Without a trimap there is no unknown area, without a true
        foreground there are no colour figures.
    coarse
        Stage-1 mask, (H, W) float in 0..1, for the figures inside the ROI.
    lpips
        Whether to compute LPIPS; see :func:`eval.metrics.perceptual.why_unavailable`.
    cells
        Rows and columns of the grid on which stage 1 made ``coarse``.

    Returns
    -------
    Figures by name: ``metric`` over the whole image, ``metric@region`` in a region (``edge``,
    ``unknown``, ``roi``). What is not defined for the scene is not there.
    """
    alpha, truth = cutout[..., 3] / 255.0, scene.alpha.astype(np.float64)
    maps = {"gradient": gradient_map(alpha, truth), "connectivity": connectivity_map(alpha, truth)}
    similar = ssim_map(alpha, truth)
    perceived = lpips_map(alpha, truth) if lpips else None

    figures: dict[str, float] = {}
    for name, region in regions.all_of(scene.alpha, scene.trimap, coarse, cells).items():
        values = {
            "psnr": min(psnr(alpha, truth, region), PERFECT),
            "ssim": ssim(alpha, truth) if region is None else float(inside(similar, region).mean()),
            "sad": sad(alpha, truth, region),
            "mse": mse(alpha, truth, region),
            "mae": mae(alpha, truth, region),
            "fmax": f_beta_max(alpha, truth, region),
            "fmean": f_beta_mean(alpha, truth, region),
        }
        for metric, full in maps.items():
            values[metric] = float((full if region is None else full[region]).sum() / 1000)
        if perceived is not None:
            values["lpips"] = float((perceived if region is None else perceived[region]).mean())
        if region is None:
            values["smeasure"] = s_measure(alpha, truth)
        if scene.foreground is not None:
            values["composite"] = composite_error(cutout, scene.foreground, truth, region)
        suffix = "" if region is None else f"@{name}"
        figures.update({metric + suffix: value for metric, value in values.items()})
    if scene.foreground is not None:
        with suppress(ValueError):  # no soft pixel in the scene, or none that the cutout shows
            figures["foreground"] = foreground_error(cutout, scene.foreground, truth)
    return figures
