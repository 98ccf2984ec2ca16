"""Cut training patches out of a scene, as the pipeline cuts a photo in use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline import patches, roi
from pipeline.patches import TILE
from pipeline.settings import Settings as Pipeline
from refiner.composite import GRID, Scene

#: Channels of a shard, in order.
RGB, COARSE, ALPHA, FOREGROUND, WEIGHT = slice(0, 3), 3, 4, slice(5, 8), 8
CHANNELS = 9


#: A patch whose coarse mask is no better than 12.6 dB, some 11 dB near the edge, is about another
#: subject, which no edge refiner can know. Such are one in seven, with half of all squared error.
HOPELESS = 0.055
#: Share of a patch that is next to no edge.
LITTLE = 0.02
#: From afar one sees what is missing: 8 dB. Near the edge of walkers and of things in motion, on
#: their own photos, stage 1's masks have 11 dB on average.
HOPELESS_AFAR = 0.16


@dataclass(frozen=True)
class Cutting:
    """What is cut out of a scene, each default with its reason."""

    #: Patches taken from a scene: more are alike, fewer waste the scene.
    per_scene: int = 20
    #: Of these, patches that show most or all of the scene: what the generator sees first of a
    #: photo. Only these teach it what stands before what.
    glances: int = 3
    #: How far from the coarse edge changes count in a patch that shows most of the scene, in cells:
    #: it is to find what is missing. In the others they count all over, as in use.
    glance_reach: float = 16.0


def cut(
    scene: Scene,
    coarse: NDArray[np.float32],
    guide: NDArray[np.float32],
    zoom: float,
    how: Cutting,
    rng: np.random.Generator,
) -> NDArray[np.uint8]:
    """Cut training patches out of a scene, (n, 9, 128, 128) uint8, n ≤ ``how.per_scene``.

    Placed as the pipeline places them, shifted a little, since in use the edge may lie anywhere,
    and with ``guide`` for a coarse mask; a few others show most of the scene, with either mask.
    Of a scene that is true as a whole only, there are none but those.
    """
    area = region(coarse)
    if not area.any():
        return np.empty((0, CHANNELS, TILE, TILE), np.uint8)
    near = layered(scene, guide, np.ones_like(area))
    side = round(TILE / zoom)
    glances = min(how.glances, how.per_scene)
    count = how.per_scene - glances if scene.exact else 0
    origins = patches.tile_origins(area) if zoom == 1 else np.empty((0, 2), np.intp)
    if len(origins) < count:  # the same edge once more, at other places in the tile
        inside = np.argwhere(area)
        more = inside[rng.integers(0, len(inside), count - len(origins))] - side // 2
        origins = np.concatenate([origins, more])
    shift = side * patches.MARGIN // TILE
    origins = origins + rng.integers(-shift, shift + 1, origins.shape)
    limit = np.array(area.shape) - side
    origins = origins.clip(0, np.maximum(limit, 0))
    parts = [np.s_[y : y + side, x : x + side] for y, x in rng.permutation(origins)[:count]]
    found = [piece(near[part]) for part in parts if area[part].mean() >= LITTLE]
    found = [patch for patch in found if teaches(patch, HOPELESS)]
    if glances:
        wide = region(coarse, how.glance_reach)
        # A look begins with stage 1's mask, the next one with what the first made of it.
        first, later = (layered(scene, mask, wide) for mask in (coarse, guide))
        views = [piece(first)]
        for _ in range(glances - 1):
            h, w = (max(TILE, int(n * rng.uniform(0.3, 1))) for n in area.shape)
            y, x = (
                int(rng.integers(0, max(1, n - k + 1)))
                for n, k in zip(area.shape, (h, w), strict=True)
            )
            far = later if rng.random() < 0.5 else first
            views.append(piece(far[y : y + h, x : x + w]))
        found += [view for view in views if teaches(view, HOPELESS_AFAR)]
    return np.array(found, np.uint8).reshape(-1, CHANNELS, TILE, TILE)


def region(coarse: NDArray[np.float32], reach: float = Pipeline.reach) -> NDArray[np.bool_]:
    """The ROI of a coarse mask, (H, W) float32 to bool, with the pipeline's settings."""
    return roi.find(coarse, (GRID, GRID), Pipeline.roi_threshold, reach)


def layered(
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


def piece(layers: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Resize a part of a scene to a patch, (h, w, 9) to (9, 128, 128), its longer side to 128.

    What is short of a square is continued as the pipeline continues it.
    """
    height, width = layers.shape[:2]
    size = patches.fitted(height, width)
    if size != (width, height):
        method = cv2.INTER_CUBIC if max(height, width) < TILE else cv2.INTER_AREA
        thirds = [cv2.resize(layers[..., i : i + 3], size, interpolation=method) for i in (0, 3, 6)]
        layers = np.dstack(thirds).astype(np.uint8)
    return patches.pad(layers).transpose(2, 0, 1)


def teaches(patch: NDArray[np.uint8], hopeless: float) -> bool:
    """Tell whether a patch, (9, 128, 128) uint8, is worth training on.

    Not one with next to no edge, nor one where the coarse mask's mean squared error reaches
    ``hopeless``: there it means another subject.
    """
    weight = patch[WEIGHT] / 255.0
    if weight.mean() < LITTLE:
        return False
    difference = (patch[COARSE].astype(np.float64) - patch[ALPHA]) / 255
    return bool((weight * difference**2).sum() < hopeless * weight.sum())
