"""LPIPS (Zhang et al., CVPR 2018) of the matte, where its networks can be had."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eval.metrics.error import Matte, Region, difference, inside

#: (H, W) matte and truth to the (H, W) map of their distances.
Distance = Callable[[Matte, Matte], NDArray[np.float32]]


class Unavailable(Exception):
    """LPIPS cannot be computed here; the message says why."""


def lpips(alpha: Matte, truth: Matte, region: Region | None = None) -> float:
    """LPIPS 0.1 with its AlexNet, of the mattes as grey pictures in -1..1. Lower is better.

    Over a region, the mean of the spatial map there. Raises :class:`Unavailable`, with the reason,
    where torch, lpips or the backbone's weights (downloaded on first use) are not to be had.
    """
    full = lpips_map(alpha, truth)
    return float(np.mean(full if region is None else inside(full, region)))


def lpips_map(alpha: Matte, truth: Matte) -> NDArray[np.float32]:
    """Return LPIPS around each pixel, (H, W) float32. Raises :class:`Unavailable`."""
    metric = _attempt()
    if isinstance(metric, Unavailable):
        raise metric
    return metric(alpha, truth)


def why_unavailable() -> str | None:
    """Return why LPIPS cannot be computed here, None where it can. Loads it if need be."""
    metric = _attempt()
    return str(metric) if isinstance(metric, Unavailable) else None


def build(pretrained: bool = True) -> Distance:
    """Load the network and return the distance.

    ``pretrained=False`` leaves the backbone random and needs no download: a distance of no
    meaning, for tests of everything around it. Raises :class:`Unavailable`.
    """
    try:
        import torch

        declare_missing_operators(torch)
        import lpips as package
    except ImportError as error:
        raise Unavailable(f"{error}; install the extra wispcut[lpips]") from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # lpips calls torchvision the old way
            network = package.LPIPS(
                net="alex", spatial=True, verbose=False, pnet_rand=not pretrained, lpips=pretrained
            ).eval()
    except Exception as error:  # no network, no space, a broken download: all are one to us
        raise Unavailable(f"the AlexNet backbone cannot be downloaded: {error}") from error

    def distance(alpha: Matte, truth: Matte) -> NDArray[np.float32]:
        difference(alpha, truth)  # refuses mattes of unequal size
        pair = [
            torch.from_numpy(np.asarray(m, np.float32) * 2 - 1).expand(1, 3, *m.shape)
            for m in (alpha, truth)
        ]
        with torch.inference_mode():
            return network(*pair)[0, 0].numpy()

    return distance


@lru_cache(maxsize=1)
def _attempt() -> Distance | Unavailable:
    try:
        return build()
    except Unavailable as reason:  # asked once, not for each of a thousand images
        return reason


def declare_missing_operators(torch: Any) -> None:
    """Let stock torchvision be imported beside a CPU-only torch.

    Built against another torch, its compiled operators are not registered, and its import fails
    where Python code attaches to their names. LPIPS uses none of them: names are enough.
    """
    try:
        import_module("torchvision")
    except RuntimeError:
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]  # what the failed import left behind
        for name in ("nms", "qnms"):
            with suppress(RuntimeError):  # one of the two may be there
                torch.library.define(
                    f"torchvision::{name}",
                    "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
                )
