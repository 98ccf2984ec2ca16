"""Follow the strands that leave the tiles, and hold back what hangs on nothing.

Tiles lie along the edge of the coarse mask, but a whisker may be longer than a tile is wide: where
one is still there at a tile's border, further tiles are laid ahead of it, and it is kept if it ends
there. And what stage 2 draws beside a subject is part of it only if it hangs together with what
stage 1 found: a thing in the background that crosses the same tile does not, sharp as it may be
there.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline import blend, patches
from pipeline.generator import Redraw

Map = NDArray[np.float32]
Image = NDArray[np.uint8]
Region = NDArray[np.bool_]

#: Alpha from which on pixels hang together, and px around each that bridge gaps.
_JOINED, _GAP = 0.15, 2
#: Of the coarse mask: what hangs together with so much is the subject. At 0.5 letters are lost that
#: stage 1 saw dimly.
_SUBJECT = 0.25
#: A strand is narrower than this, in px, stands out by so much alpha, and is nothing in the mask.
_WIDE, _STANDS_OUT, _NOTHING = 7, 0.4, 0.05
_BAND = 8  # px inside the border of the tiles where a strand counts as leaving them
_AHEAD = 40  # px ahead of it that further tiles are to show: their inner part is 112 px wide
_ROUNDS = 3  # as many tiles one after the other are the length of any whisker
_MOST = 0.5  # of the tiles there were: more are not strands, but the background's own


def follow(
    image: Image,
    mask: Map,
    shallow: Region,
    tiles: NDArray[np.intp],
    alpha: Map,
    colours: Image,
    redraw: Redraw,
) -> tuple[Map, Image, NDArray[np.intp]]:
    """Follow the strands that leave the tiles, and take back what hangs on nothing.

    Parameters
    ----------
    image, mask
        The photo, (H, W, 3) uint8 RGB, and the coarse mask, (H, W) float32 in 0..1.
    shallow, tiles
        As for :func:`pipeline.blend.blend`.
    alpha, colours
        What that made of the tiles, (H, W) float32 in 0..1 and (H, W, 3) uint8.
    redraw
        Redraws further tiles; the mask that it gets is the alpha so far.

    Returns
    -------
    Alpha, colours, and all tiles.
    """
    most = len(tiles) + 1 + int(_MOST * len(tiles))
    first = covered = _covered(tiles, mask.shape)
    for number in range(_ROUNDS + 1):
        off = loose(alpha, mask)
        leaving = _leaving(alpha, mask, covered, off)
        ahead = patches.tile_origins(_ahead(leaving, covered))
        if not len(ahead) or len(tiles) + len(ahead) > most or number == _ROUNDS:
            break
        alpha, colours = blend.blend(colours, alpha, shallow, ahead, redraw(image, alpha, ahead))
        tiles = patches.distinct(np.concatenate([tiles, ahead]))
        covered = covered | _covered(ahead, mask.shape)
    if number:  # something was followed
        off |= _endless(alpha, leaving, first)
    if off.any():
        alpha, colours = alpha.copy(), colours.copy()
        cv2.copyTo(mask, off.view(np.uint8), alpha)
        cv2.copyTo(image, off.view(np.uint8), colours)
    return alpha, colours, tiles


def loose(alpha: Map, mask: Map) -> Region:
    """Return where alpha was added to a mask and does not hang together with its subject."""
    height, width = alpha.shape
    half = (max(1, width // 2), max(1, height // 2))  # in a quarter of the time
    drawn = cv2.resize((alpha > _JOINED).view(np.uint8) * 255, half, interpolation=cv2.INTER_AREA)
    subject = cv2.resize(mask, half, interpolation=cv2.INTER_AREA) > _SUBJECT
    joined = cv2.dilate((drawn > 0).view(np.uint8), _square(_GAP // 2))
    count, numbers = cv2.connectedComponents(joined)
    held = np.bincount(numbers[subject], minlength=count) > 0
    apart = ~held
    apart[0] = False
    if not apart.any():
        return np.zeros(alpha.shape, bool)
    # Their faint surroundings too, but for what is another piece's.
    held[0] = False
    around = cv2.dilate(apart[numbers].view(np.uint8), _square(_GAP // 2)) > held[numbers]
    full = cv2.resize(around.view(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
    return np.asarray((full > 0) & (alpha > mask))


def _covered(tiles: NDArray[np.intp], shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Return 1 where one of the tiles answers, (H, W)."""
    covered = np.zeros(shape, np.uint8)
    for y, x in tiles:
        covered[patches.inner(int(y), int(x), *covered.shape)] = 1
    return covered


def _leaving(alpha: Map, mask: Map, covered: NDArray[np.uint8], off: Region) -> Region:
    """Return where strands are at the border of what the tiles cover."""
    levels = cv2.convertScaleAbs(alpha, alpha=255).reshape(alpha.shape)
    open_ = cv2.morphologyEx(levels, cv2.MORPH_OPEN, np.ones((_WIDE, _WIDE), np.uint8))
    border = cv2.erode(covered, _square(_BAND), borderValue=1) < covered
    return np.asarray(border & (levels - open_ > 255 * _STANDS_OUT) & (mask < _NOTHING) & ~off)


def _ahead(leaving: Region, covered: NDArray[np.uint8]) -> Region:
    """Return what lies ahead of strands, and in none of the tiles that they leave."""
    if not leaving.any():
        return leaving
    near = cv2.dilate(leaving.view(np.uint8), _square(_AHEAD))
    return np.asarray(near > covered)


def _endless(alpha: Map, leaving: Region, first: NDArray[np.uint8]) -> Region:
    """Return what was followed and has no end, beyond what the first tiles cover.

    A whisker ends. What goes on after all tiles, or to the photo's border, is a wire or a joint
    between floor tiles, which begins or passes behind the subject.
    """
    beyond = ((alpha > _JOINED) & (first == 0)).view(np.uint8)
    if not beyond.any():
        return np.zeros(alpha.shape, bool)
    count, numbers = cv2.connectedComponents(cv2.dilate(beyond, _square(_GAP)))
    rim = np.concatenate([numbers[0], numbers[-1], numbers[:, 0], numbers[:, -1]])
    without_end = np.zeros(count, bool)
    without_end[np.concatenate([numbers[leaving], rim])] = True
    without_end[0] = False
    return np.asarray(without_end[numbers] & (first == 0))


def _square(reach: int) -> NDArray[np.uint8]:
    return np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
