"""Put the redrawn patches back together, and change nothing anywhere else.

What is blended is the *change* that stage 2 makes, not the picture: where it changes nothing the
coarse mask comes through bit for bit, because zero is zero under any weights.
"""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.patches import MARGIN, TILE

FEATHER = 4.0  # px over which what may be taken away fades in: too short to blur hair.
#: Raised cosine (Hann) weights across a tile, all above zero.
COSINE = np.sin(np.pi * (np.arange(TILE, dtype=np.float32) + 0.5) / TILE) ** 2
#: Sum of weights from which on a change counts in full. A tile alone reaches it where its rim ends;
#: within the rim it fades in, over as few pixels as do not show: more would blur hair.
FULL = COSINE[MARGIN]
_FIXED = 1 << 14


def window(y: int, x: int, height: int, width: int) -> NDArray[np.float32]:
    """Return the weights of the tile at (y, x) of an image, (h, w) float32, as far as it is inside.

    A raised cosine of the distance to the nearest border of the tile; but the border of the image
    is none, for nobody else answers for what lies there.
    """
    down, across = _side(y, height), _side(x, width)
    return np.minimum.outer(down, across)


def _side(start: int, length: int) -> NDArray[np.float32]:
    weights = COSINE.copy()
    if start == 0:
        weights[: TILE // 2] = 1
    if start + TILE >= length:
        weights[TILE // 2 :] = 1
    return weights[: length - start]


def blend(
    image: NDArray[np.uint8],
    coarse: NDArray[np.float32],
    shallow: NDArray[np.bool_],
    origins: NDArray[np.intp],
    refined: Iterable[NDArray[np.float32]],
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Blend refined patches into the coarse mask and the photo.

    Parameters
    ----------
    image, coarse
        (H, W, 3) uint8; (H, W) float32 in 0..1.
    shallow
        Where alpha may become less, (H, W) bool: it may become more in all of a tile, for stage 1
        leaves out whole limbs; but a bright spot deep inside a subject is a reflection, not a hole.
    origins
        Top-left corners (y, x) of the patches, (N, 2).
    refined
        The generator's answers in the order of ``origins``, each (4, 128, 128) float32 in 0..1:
        alpha, then foreground RGB. They are taken one by one, so they need not all exist at once.

    Returns
    -------
    alpha : (H, W) float32 in 0..1, equal to ``coarse`` bit for bit outside the tiles.
    foreground : (H, W, 3) uint8 straight colour, equal to ``image`` outside the tiles.
    """
    alpha, foreground = coarse.copy(), image.copy()
    total = np.zeros(coarse.shape, np.float32)
    for y, x in origins:
        total[y : y + TILE, x : x + TILE] += window(y, x, *coarse.shape)
    np.maximum(total, FULL, out=total)

    # Change of colour in fixed point: a third of the memory of floats, far finer than 8 bits.
    change = np.zeros(image.shape, np.int16)
    for (y, x), patch in zip(origins, refined, strict=True):
        area = np.s_[y : y + TILE, x : x + TILE]
        share = window(y, x, *coarse.shape) / total[area]
        h, w = share.shape
        more = patch[0, :h, :w] - coarse[area]
        less = np.minimum(more, 0)
        alpha[area] += share * (more - less + _fade(shallow, y, x) * less)
        colour = patch[1:, :h, :w].transpose(1, 2, 0) - image[area] * np.float32(1 / 255)
        change[area] += np.rint(share[..., None] * colour * _FIXED).astype(np.int16)
    np.clip(alpha, 0, 1, out=alpha)
    for y, x in origins:
        area = np.s_[y : y + TILE, x : x + TILE]
        moved = image[area] + change[area] * np.float32(255 / _FIXED)
        foreground[area] = np.clip(moved + 0.5, 0, 255).astype(np.uint8)
    return alpha, foreground


def _fade(shallow: NDArray[np.bool_], y: int, x: int) -> NDArray[np.float32]:
    """How much of a loss of alpha is let through in the tile at (y, x), as far as it is inside.

    0 outside ``shallow``, 1 from 4 px inside it on; the border of the image is no border of it.
    """
    rim = int(FEATHER) + 1  # what lies farther off than the feather has no say
    top, left = max(y - rim, 0), max(x - rim, 0)
    near = shallow[top : y + TILE + rim, left : x + TILE + rim]
    inner = np.s_[y - top : y - top + TILE, x - left : x - left + TILE]
    if near.all():
        return np.ones(near[inner].shape, np.float32)
    distance = cv2.distanceTransform(near.astype(np.uint8), cv2.DIST_L2, 3)
    return np.minimum(distance[inner] * np.float32(1 / FEATHER), np.float32(1))
