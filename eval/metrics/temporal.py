"""How a matte behaves from frame to frame: whether it flickers, and whether it moves as it should.

Two figures. dtSSD asks for the true change of each pixel: it also grows where a matte is simply
wrong, for what is wrong moves too. The aligned change needs no truth: it is how much of the matte
changes along the motion of the photo, so flicker and nothing else; a matte that is wrong but holds
still has none.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Matte = NDArray[np.float32]
Photo = NDArray[np.uint8]

_REACH = 5  # px around the true soft edge: where mattes flicker
_AGREES = 24  # levels of 255: where the photo itself does not move along, nothing is asked


def dtssd(before: Matte, now: Matte, true_before: Matte, true_now: Matte) -> float:
    """Root mean square of the error of the change, ×100. Lower is better.

    "dtSSD" of Erofeev et al., 2015, "Perceptually Motivated Benchmark for Video Matting", as
    PeterL1n/RobustVideoMatting computes it (``evaluation/evaluate_hr.py``): over all pixels.

    >>> still = np.zeros((2, 2), np.float32)
    >>> dtssd(still, still + np.float32(0.5), still, still)
    50.0
    """
    error = (now.astype(np.float64) - before) - (true_now.astype(np.float64) - true_before)
    return float(np.sqrt(np.mean(np.square(error))) * 100)


def aligned_change(
    before: Matte, now: Matte, photo_before: Photo, photo_now: Photo, truth: Matte
) -> float | None:
    """Mean change of the matte along the photo's motion, at the true edge, ×1000. Lower is better.

    Parameters
    ----------
    before, now, truth
        (H, W) float32 in 0..1; ``truth`` belongs to ``now``, and tells where the edge is.
    photo_before, photo_now
        (H, W, 3) uint8 RGB; the motion between them is dense optical flow (DIS, medium preset).

    Returns
    -------
    None where there is no edge, or the photo moves along nowhere at it.
    """
    soft = ((truth > 0.02) & (truth < 0.98)).astype(np.uint8)
    edge = cv2.dilate(soft, np.ones((2 * _REACH + 1, 2 * _REACH + 1), np.uint8)) > 0
    grey = [cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY) for photo in (photo_now, photo_before)]
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    flow = np.asarray(dis.calc(*grey, None), np.float32)  # type: ignore[call-overload]
    height, width = truth.shape
    x = flow[..., 0] + np.arange(width, dtype=np.float32)
    y = flow[..., 1] + np.arange(height, dtype=np.float32)[:, None]
    border = cv2.BORDER_REPLICATE
    along = cv2.remap(photo_before, x, y, cv2.INTER_LINEAR, borderMode=border)
    asked = edge & (cv2.absdiff(along, photo_now).max(2) < _AGREES)
    if not asked.any():
        return None
    carried = cv2.remap(before, x, y, cv2.INTER_LINEAR, borderMode=border)
    return float(np.abs(now - carried)[asked].mean() * 1000)
