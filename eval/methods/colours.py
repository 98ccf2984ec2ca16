"""A foreground estimate of others, for a method that has an alpha alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray


def multilevel() -> Callable[[NDArray[np.uint8], NDArray[np.floating]], NDArray[np.uint8]]:
    """Return pymatting's multi-level foreground estimation (Germer et al., 2021), on 8 bits."""
    from pymatting import estimate_foreground_ml

    def estimate(image: NDArray[np.uint8], alpha: NDArray[np.floating]) -> NDArray[np.uint8]:
        colours = estimate_foreground_ml(image / 255.0, alpha.astype(np.float64))
        return np.round(np.clip(colours, 0, 1) * 255).astype(np.uint8)

    return estimate
