"""Put the redrawn patches back together, and change nothing anywhere else.

What is blended is the *change* that stage 2 makes, not the picture: where it changes nothing the
coarse mask comes through bit for bit, because zero is zero under any weights.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

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
    sides = (
        (start == 0, min(length - start, TILE + 1)) for start, length in ((y, height), (x, width))
    )
    return _window(*sides)


@lru_cache(maxsize=32)  # of 64 KB: a photo has nine at most, for its corners, sides and inside
def _window(down: tuple[bool, int], across: tuple[bool, int]) -> NDArray[np.float32]:
    weights = np.minimum.outer(_side(*down), _side(*across))
    weights.setflags(write=False)
    return weights


def _side(first: bool, left: int) -> NDArray[np.float32]:
    """Weights along a side of a tile: ``first`` begins at the image's border, and ``left`` px of
    the image lie ahead."""
    weights = COSINE.copy()
    if first:
        weights[: TILE // 2] = 1
    if left <= TILE:
        weights[TILE // 2 :] = 1
    return weights[:left]


def blend(
    image: NDArray[np.uint8],
    coarse: NDArray[np.float32],
    shallow: NDArray[np.bool_],
    origins: NDArray[np.intp],
    refined: Iterable[NDArray[np.float32]],
    out: NDArray[np.float32] | None = None,
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
    out
        Where alpha is written, (H, W) float32; None is a new array. It may be what the patches are
        made of: a row is written after the last patch that shows it was taken.

    Returns
    -------
    alpha : (H, W) float32 in 0..1, equal to ``coarse`` bit for bit outside the tiles.
    foreground : (H, W, 3) uint8 straight colour, equal to ``image`` outside the tiles.
    """
    alpha, foreground = np.empty_like(coarse) if out is None else out, image.copy()
    last = {band: n for n, (y, _) in enumerate(origins) for band in _bands(y, len(coarse))}
    for top in range(0, len(coarse), TILE):
        if top // TILE not in last:
            alpha[top : top + TILE] = coarse[top : top + TILE]
    open_: dict[int, _Band] = {}
    for number, ((y, x), patch) in enumerate(zip(origins, refined, strict=True)):
        area = np.s_[y : y + TILE, x : x + TILE]
        share = window(y, x, *coarse.shape) / _total(number, origins, coarse.shape)
        h, w = share.shape
        more = patch[0, :h, :w] - coarse[area]
        less = np.minimum(more, 0)
        alpha_change = share * (more - less + _fade(shallow, y, x) * less)
        # Rounded by OpenCV, in one go: NumPy is slow where the last dimension is of three.
        colour = cv2.merge([*patch[1:, :h, :w]])
        colour -= image[area] * np.float32(1 / 255)
        shares = cv2.merge([share] * 3)
        change = np.asarray(cv2.multiply(colour, shares, scale=_FIXED, dtype=cv2.CV_16S), np.int16)
        for band in _bands(y, len(coarse)):
            if band not in open_:
                open_[band] = _Band(band * TILE, coarse)
            open_[band].add(y, x, alpha_change, change)
            if last[band] == number:
                open_.pop(band).close(image, alpha, foreground)
    np.clip(alpha, 0, 1, out=alpha)
    return alpha, foreground


def _bands(y: int, height: int) -> range:
    """Return the numbers of the bands of 128 rows that a tile at row ``y`` has a part in."""
    return range(y // TILE, (min(y + TILE, height) - 1) // TILE + 1)


class _Band:
    """Rows that patches are still added to: of a large photo all at once would take too much."""

    def __init__(self, top: int, coarse: NDArray[np.float32]) -> None:
        self.top = top
        self.alpha = coarse[top : top + TILE].copy()
        # In fixed point: half the memory of floats, far finer than 8 bits.
        self.change = np.zeros((*self.alpha.shape, 3), np.int16)
        self.parts: list[tuple[slice, slice]] = []

    def add(self, y: int, x: int, alpha: NDArray[np.float32], change: NDArray[np.int16]) -> None:
        """Add what a tile at (y, x) changes, (h, w) and (h, w, 3), as far as it lies here."""
        height, width = alpha.shape
        here = slice(max(y - self.top, 0), min(y + height - self.top, TILE))
        part = here, slice(x, x + width)
        there = slice(here.start + self.top - y, here.stop + self.top - y)
        self.alpha[part] += alpha[there]
        self.change[part] += change[there]
        self.parts.append(part)

    def close(
        self,
        image: NDArray[np.uint8],
        alpha: NDArray[np.float32],
        foreground: NDArray[np.uint8],
    ) -> None:
        """Write what came of it into its rows of the results."""
        rows = slice(self.top, self.top + len(self.alpha))
        alpha[rows] = self.alpha
        seen, written = image[rows], foreground[rows]
        for part in self.parts:
            written[part] = cv2.addWeighted(
                seen[part], 1, self.change[part], 255 / _FIXED, 0, dtype=cv2.CV_8U
            )


def _total(number: int, origins: NDArray[np.intp], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Sum the weights of all tiles in the place of one, (h, w) float32, at least ``FULL``."""
    y, x = origins[number]
    height, width = (min(TILE, side - start) for side, start in zip(shape, (y, x), strict=True))
    total = np.zeros((height, width), np.float32)
    for other, left in origins[(np.abs(origins - origins[number]) < TILE).all(1)]:
        weights = window(other, left, *shape)
        top_, left_ = max(y, other), max(x, left)
        part = weights[top_ - other : y + height - other, left_ - left : x + width - left]
        h, w = part.shape
        total[top_ - y : top_ - y + h, left_ - x : left_ - x + w] += part
    return np.maximum(total, FULL, out=total)


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
