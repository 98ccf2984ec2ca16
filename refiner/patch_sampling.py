"""Training patches from a scene, placed as the pipeline places its tiles in use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline import patches as tiles
from pipeline import roi
from pipeline.patches import TILE
from pipeline.settings import Settings as Pipeline
from refiner.composite import Scene
from refiner.guidance import Mask

#: Channels of a shard, in order.
RGB, COARSE, ALPHA, FOREGROUND, WEIGHT = slice(0, 3), 3, 4, slice(5, 8), 8
CHANNELS = 9


#: Largest mean squared error of a patch's coarse mask, 12.6 dB, some 11 dB near the edge: beyond it
#: the mask is about another subject, which no edge refiner can know. One patch in seven is such,
#: with half of all squared error.
MAX_COARSE_MSE = 0.055
#: The same where the patch shows most of the scene, 8 dB: there one sees what is missing. Near the
#: edge of walkers and of things in motion stage 1's masks have 11 dB on average.
MAX_COARSE_MSE_GLOBAL = 0.16
#: Share of a patch that must be edge for it to teach anything.
MIN_EDGE_SHARE = 0.02


@dataclass(frozen=True)
class PatchSampling:
    """How patches are taken from a scene, each default with its reason."""

    #: Patches taken from a scene: more are alike, fewer waste the scene.
    per_scene: int = 20
    #: Of these, patches that show most or all of the scene, for the global generator. Only these
    #: teach what stands before what.
    global_views: int = 3
    #: How far from the coarse edge changes count in a global view, in cells: it is to find what is
    #: missing. In the others they count all over, as in use.
    global_reach: float = 16.0


def sample_patches(
    scene: Scene,
    coarse: Mask,
    corrected: NDArray[np.float32],
    zoom: float,
    how: PatchSampling,
    rng: np.random.Generator,
) -> NDArray[np.uint8]:
    """Take training patches from a scene, (n, 9, 128, 128) uint8, n ≤ ``how.per_scene``.

    Local ones are placed as the pipeline places its tiles, shifted a little, since in use the edge
    may lie anywhere, and have the ``corrected`` coarse mask; the pixels are enlarged by ``zoom``.
    Global ones have either mask. A scene whose alpha is not pixel-accurate gives only global ones.
    """
    area = region(coarse)
    if not area.any():
        return np.empty((0, CHANNELS, TILE, TILE), np.uint8)
    global_count = min(how.global_views, how.per_scene)
    local_count = how.per_scene - global_count if scene.pixel_accurate else 0
    patches = _local_patches(scene, corrected, area, zoom, local_count, rng)
    if global_count:
        patches += _global_patches(scene, coarse, corrected, global_count, how.global_reach, rng)
    return np.array(patches, np.uint8).reshape(-1, CHANNELS, TILE, TILE)


def _local_patches(
    scene: Scene,
    corrected: NDArray[np.float32],
    area: NDArray[np.bool_],
    zoom: float,
    count: int,
    rng: np.random.Generator,
) -> list[NDArray[np.uint8]]:
    """Take at most ``count`` patches along the edge, at the photo's own resolution."""
    layers = stacked(scene, corrected, np.ones_like(area))
    side = round(TILE / zoom)
    origins = tiles.tile_origins(area) if zoom == 1 else np.empty((0, 2), np.intp)
    if len(origins) < count:  # the same edge once more, at other places in the tile
        inside = np.argwhere(area)
        more = inside[rng.integers(0, len(inside), count - len(origins))] - side // 2
        origins = np.concatenate([origins, more])
    shift = side * tiles.MARGIN // TILE
    origins = origins + rng.integers(-shift, shift + 1, origins.shape)
    limit = np.array(area.shape) - side
    origins = origins.clip(0, np.maximum(limit, 0))
    parts = [np.s_[y : y + side, x : x + side] for y, x in rng.permutation(origins)[:count]]
    patches = [as_patch(layers[part]) for part in parts if area[part].mean() >= MIN_EDGE_SHARE]
    return [patch for patch in patches if is_informative(patch, MAX_COARSE_MSE)]


def _global_patches(
    scene: Scene,
    coarse: Mask,
    corrected: NDArray[np.float32],
    count: int,
    reach: float,
    rng: np.random.Generator,
) -> list[NDArray[np.uint8]]:
    """Show the scene, and ``count`` − 1 large parts of it, each reduced to one patch."""
    area = region(coarse, reach)
    # The first scale begins with stage 1's mask, the next one with what the first made of it.
    first, later = (stacked(scene, mask, area) for mask in (coarse.alpha, corrected))
    views = [as_patch(first)]
    for _ in range(count - 1):
        h, w = (max(TILE, int(n * rng.uniform(0.3, 1))) for n in area.shape)
        y, x = (
            int(rng.integers(0, max(1, n - k + 1))) for n, k in zip(area.shape, (h, w), strict=True)
        )
        layers = later if rng.random() < 0.5 else first
        views.append(as_patch(layers[y : y + h, x : x + w]))
    return [view for view in views if is_informative(view, MAX_COARSE_MSE_GLOBAL)]


def region(coarse: Mask, reach: float = Pipeline.reach) -> NDArray[np.bool_]:
    """The ROI of a coarse mask, (H, W) bool, with the pipeline's settings."""
    return roi.find(*coarse, Pipeline.roi_threshold, reach)


def stacked(
    scene: Scene, coarse: NDArray[np.float32], area: NDArray[np.bool_]
) -> NDArray[np.uint8]:
    """Stack what a shard holds of a scene, (H, W, 9) uint8."""
    layers: NDArray[Any] = np.dstack(
        [
            scene.image,
            np.rint(coarse * 255).astype(np.uint8),
            np.rint(scene.alpha * 255).astype(np.uint8),
            scene.foreground,
            area.view(np.uint8) * np.uint8(255),
        ]
    )
    return layers


def as_patch(layers: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Resize a part of a scene to a patch, (h, w, 9) to (9, 128, 128), its longer side to 128.

    What is short of a square is continued as the pipeline continues it.
    """
    height, width = layers.shape[:2]
    size = tiles.fitted(height, width)
    if size != (width, height):
        method = cv2.INTER_CUBIC if max(height, width) < TILE else cv2.INTER_AREA
        thirds = [cv2.resize(layers[..., i : i + 3], size, interpolation=method) for i in (0, 3, 6)]
        layers = np.dstack(thirds).astype(np.uint8)
    return tiles.pad(layers).transpose(2, 0, 1)


def is_informative(patch: NDArray[np.uint8], max_coarse_mse: float) -> bool:
    """Tell whether a patch, (9, 128, 128) uint8, is worth training on.

    Not one with next to no edge, nor one where the coarse mask's mean squared error reaches
    ``max_coarse_mse``: there it means another subject.
    """
    weight = patch[WEIGHT] / 255.0
    if weight.mean() < MIN_EDGE_SHARE:
        return False
    difference = (patch[COARSE].astype(np.float64) - patch[ALPHA]) / 255
    return bool((weight * difference**2).sum() < max_coarse_mse * weight.sum())
