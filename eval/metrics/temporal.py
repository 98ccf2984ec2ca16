"""How a matte behaves from frame to frame: whether it flickers, and whether it moves as it should.

Two figures. dtSSD asks for the true change of each pixel: it also grows where a matte is simply
wrong, for what is wrong moves too. The aligned change needs no truth: it is how much of the matte
changes along the motion of the subject, so flicker and nothing else; a matte that is wrong but
holds still has none. It is as good as the motion: that of a made clip is known exactly, and the
truth then hardly changes along it. Elsewhere the motion is estimated, and what the truth itself
changes along it is what no honest matte can be below.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

Matte = NDArray[np.float32]
Photo = NDArray[np.uint8]
Flow = NDArray[np.float32]

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


def photo_flow(before: Photo, now: Photo) -> tuple[Flow, NDArray[np.bool_]]:
    """Estimate where each pixel was in the photo before: dense optical flow (DIS, medium preset).

    (H, W, 3) uint8 RGB each; returns (dx, dy) in pixels, (H, W, 2) float32, and where the photo
    itself moves along, (H, W) bool.
    """
    grey = [cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY) for photo in (now, before)]
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    flow = np.asarray(dis.calc(*grey, None), np.float32)  # type: ignore[call-overload]
    along = cv2.remap(before, *_places(flow), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return flow, cv2.absdiff(along, now).max(2) < _AGREES


def aligned_change(
    before: Matte, now: Matte, truth: Matte, flow: Flow, asked: NDArray[np.bool_] | None = None
) -> float | None:
    """Mean change of the matte along the motion, at the true edge, ×1000. Lower is better.

    Parameters
    ----------
    before, now, truth
        (H, W) float32 in 0..1; ``truth`` belongs to ``now``, and tells where the edge is.
    flow
        Where each pixel of ``now`` was in ``before``: (dx, dy) in pixels, (H, W, 2) float32.
    asked
        Where the flow is to be believed, (H, W) bool; None is wherever it stays within the frame.

    Returns
    -------
    None where there is no edge, or the flow is to be believed nowhere at it.
    """
    soft = ((truth > 0.02) & (truth < 0.98)).astype(np.uint8)
    edge = cv2.dilate(soft, np.ones((2 * _REACH + 1, 2 * _REACH + 1), np.uint8)) > 0
    x, y = _places(flow)
    height, width = truth.shape
    edge &= (x >= 0) & (y >= 0) & (x <= width - 1) & (y <= height - 1)
    if asked is not None:
        edge &= asked
    if not edge.any():
        return None
    # Bilinear, an edge that moves by half a pixel is blurred, and that would count as a change.
    carried = cv2.remap(before, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return float(np.abs(now - np.clip(carried, 0, 1))[edge].mean() * 1000)


def _places(flow: Flow) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Columns and rows that a flow leads to."""
    height, width = flow.shape[:2]
    rows, columns = np.indices((height, width), np.float32)
    return np.asarray(flow[..., 0] + columns, np.float32), np.asarray(
        flow[..., 1] + rows, np.float32
    )


def write_flow(path: Path, flow: Flow) -> None:
    """Write a flow, (H, W, 2) float32 in pixels, as KITTI's 16-bit PNG: steps of 1/64 px."""
    stored = np.ones((*flow.shape[:2], 3), np.uint16)  # blue: valid; OpenCV writes BGR
    stored[..., :0:-1] = np.clip(np.rint(flow * 64) + (1 << 15), 0, (1 << 16) - 1)
    if not cv2.imwrite(str(path), stored):
        raise OSError(f"cannot write {path}")


def read_flow(path: Path) -> Flow:
    """Read what :func:`write_flow` writes. Raises :class:`ValueError` where it is no flow."""
    stored = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if stored is None or stored.dtype != np.uint16 or stored.ndim != 3:
        raise ValueError(f"{path} is no flow in a 16-bit PNG, as KITTI has it")
    return np.asarray((stored[..., :0:-1].astype(np.float32) - (1 << 15)) / 64, np.float32)
