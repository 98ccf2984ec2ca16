"""Coarse masks: what stage 1 makes of a scene, or could have made of it.

Real masks come from stage 1 itself. Simulated ones start from the true alpha and get the faults
that stage 1 has: strands dropped, borders displaced, holes, wide ramps (the perturbed guidance of
MGMatting, Yu et al., 2021, and CascadePSP, Cheng et al., 2020). Both are made on stage 1's own grid
and enlarged by the code that the pipeline uses.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline import coarse, models, views
from pipeline.settings import Settings as Pipeline
from refiner.composite import GRID, Scene

Random = np.random.Generator
Floats = NDArray[Any]

#: Mean squared error (14 dB) above which stage 1 is held to have missed the subject: no edge to
#: refine is there, and learning to conjure one would harm the rest.
MISSED_MSE = 0.04
#: Masks of one look at the whole, for those who ask for no more. The others are as in use: a second
#: look from nearer by errs less, on smaller cells.
ONE_LOOK = 0.25


class Mask(NamedTuple):
    """A coarse mask, (H, W) float32 in 0..1, and the rows and columns of stage 1's cells in it."""

    alpha: NDArray[np.float32]
    cells: tuple[int, int]


class Stage1:
    """Real coarse masks: an opened stage-1 network, by name or file, as in use."""

    def __init__(self, name: str) -> None:
        card = models.coarse_model(name)
        self._session, self._card = models.open_coarse(card, ("CPUExecutionProvider",), 1)

    def __call__(self, image: NDArray[np.uint8], looks: int = Pipeline.views) -> Mask:
        """Return the mask of a photo, (H, W, 3) uint8, after so many looks."""
        sight = views.see(self._session, self._card, image, looks)
        return Mask(sight.mask, sight.cells)


def simulate(alpha: NDArray[np.float32], rng: Random) -> NDArray[np.float32]:
    """Simulate a stage-1 map, (H, W) to (320, 320), both float32 0..1."""
    small = _on_grid(alpha)
    # A blur and a threshold drop what is thin; where the threshold lies moves the border.
    smooth = cv2.GaussianBlur(small, (0, 0), float(np.exp(rng.uniform(np.log(0.4), np.log(5)))))
    level = rng.uniform(0.3, 0.65) + rng.uniform(0, 0.3) * _waves(rng.uniform(8, 60), rng)
    mask = (smooth > level.clip(0.05, 0.95)).astype(np.float32)
    if rng.random() < 0.3:  # parts taken out or in, in blobs
        mask[_waves(rng.uniform(6, 40), rng) > rng.uniform(1.6, 2.6)] = float(rng.random() < 0.3)
    ramp = cv2.GaussianBlur(mask, (0, 0), rng.uniform(0.5, 2.2))
    if rng.random() < 0.5:  # stage 1 is often unsure in soft areas, but not everywhere
        doubt = np.clip(_waves(rng.uniform(10, 50), rng), 0, 1)
        ramp = ramp + doubt * (smooth - ramp)
    return np.clip(ramp, 0, 1).astype(np.float32)


def coarse_mask(scene: Scene, stage1: Stage1 | None, real: float, rng: Random) -> Mask:
    """Return a coarse mask for a scene.

    ``real`` is the share of masks that stage 1 makes; where it misses the subject, or there is no
    stage 1, the mask is simulated.
    """
    shape = scene.alpha.shape
    if stage1 is not None and rng.random() < real:
        mask, cells = stage1(scene.image, 1 if rng.random() < ONE_LOOK else Pipeline.views)
        if ((_on_grid(mask) - _on_grid(scene.alpha)) ** 2).mean() < MISSED_MSE:
            if rng.random() < 0.2:  # a weaker stage 1 draws wider ramps
                grid: Floats = cv2.resize(mask, cells[::-1], interpolation=cv2.INTER_AREA)
                grid = cv2.GaussianBlur(grid, (0, 0), rng.uniform(0.5, 2.0))
                mask = coarse.upsample(grid.astype(np.float32), shape)
            return Mask(mask, cells)
    return Mask(coarse.upsample(simulate(scene.alpha, rng), shape), (GRID, GRID))


def _on_grid(alpha: NDArray[np.float32]) -> Floats:
    return cv2.resize(alpha, (GRID, GRID), interpolation=cv2.INTER_AREA)


def _waves(grain: float, rng: Random) -> Floats:
    """Smooth noise of about unit deviation on the grid; ``grain`` is its wavelength in cells."""
    side = max(2, int(GRID / grain) + 2)
    field = rng.standard_normal((side, side)).astype(np.float32)
    return cv2.resize(field, (GRID, GRID), interpolation=cv2.INTER_CUBIC)
