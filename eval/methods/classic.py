"""Classic ways to a better edge, each started from Wisp's own mask."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from eval.methods.colours import multilevel
from eval.methods.protocol import Input, Kind, Method, MethodError, Options
from eval.methods.wisp import settings, stage1
from pipeline import Cutout
from pipeline.snap import grabcut

SURE = 0.95  # alpha above which, and below whose complement, a pixel is taken for decided …
RIM = 10  # … where it also is this far from any other: as rembg has it
GUIDED_EPSILON = 1e-4  # He et al.'s regularisation: an edge of 1/100 of the range is kept
GRABCUT_ROUNDS = 5


def trimap_of(alpha: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return a trimap, (H, W) float64 of 0, 0.5 and 1: unknown 10 px around what is not sure."""
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * RIM + 1, 2 * RIM + 1))
    trimap = np.full(alpha.shape, 0.5)
    trimap[cv2.erode((alpha > SURE).astype(np.uint8), disc) > 0] = 1
    trimap[cv2.erode((alpha < 1 - SURE).astype(np.uint8), disc) > 0] = 0
    return trimap


def guided_filter(
    guide: NDArray[np.float32], mask: NDArray[np.float32], radius: int, epsilon: float
) -> NDArray[np.float32]:
    """Filter a mask so that its edges follow a grey guide (He et al., ECCV 2010).

    Both (H, W) float32 in 0..1; windows of 2·radius + 1 px.
    """

    def mean(array: NDArray) -> NDArray:
        side = 2 * radius + 1
        return np.asarray(cv2.blur(array, (side, side), borderType=cv2.BORDER_REFLECT))

    mean_guide, mean_mask = mean(guide), mean(mask)
    together = mean(guide * mask) - mean_guide * mean_mask
    spread = mean(guide * guide) - mean_guide * mean_guide
    slope = together / (spread + epsilon)
    return np.clip(mean(slope) * guide + mean(mean_mask - slope * mean_guide), 0, 1)


def _pymatting(options: Options) -> Method:
    from pymatting import estimate_alpha_cf

    cut, colours = Cutout(settings(options)), multilevel()

    def run(photo: Input) -> NDArray:
        trimap = trimap_of(cut(photo.image).alpha)
        if not (trimap == 1).any() or not (trimap == 0).any():
            raise MethodError("no pixel is surely foreground, or none surely background")
        alpha = estimate_alpha_cf(photo.image / 255.0, trimap)
        rgb = colours(photo.image, alpha)
        return np.dstack([rgb, np.round(np.clip(alpha, 0, 1) * 255).astype(np.uint8)])

    return run


def _guided(options: Options) -> Method:
    coarse = stage1(options)

    def run(photo: Input) -> NDArray:
        grey = cv2.cvtColor(photo.image, cv2.COLOR_RGB2GRAY)
        guide = (grey / 255).astype(np.float32)
        # One window reaches over the ramp that enlarging a 320-px mask draws.
        radius = max(2, round(max(guide.shape) / 320 * 4))
        return guided_filter(guide, np.asarray(coarse(photo), np.float32), radius, GUIDED_EPSILON)

    return run


def _grabcut(options: Options) -> Method:
    coarse = stage1(options)

    def run(photo: Input) -> NDArray:
        mask = np.asarray(coarse(photo))
        labels = np.where(mask > 0.5, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
        labels[mask > SURE] = cv2.GC_FGD
        labels[mask < 1 - SURE] = cv2.GC_BGD
        if not np.isin(labels, (cv2.GC_FGD, cv2.GC_PR_FGD)).any():
            return np.zeros(mask.shape, np.float32)  # GrabCut wants both; there is no subject
        cv2.setRNGSeed(0)
        return grabcut(photo.image[..., ::-1], labels, GRABCUT_ROUNDS)

    return run


KINDS = {
    "pymatting": Kind(
        "closed-form matting and multi-level foreground on a trimap from Wisp's alpha",
        ("model", "refiner", "refine"),
        _pymatting,
        ("pymatting",),
        "peers",
    ),
    "grabcut": Kind("OpenCV GrabCut, started from stage 1", ("model",), _grabcut),
    "guided": Kind("guided filter on stage 1", ("model",), _guided),
}
