"""Show stage 2 a photo at a size that it knows, and carry what it makes back to the photo's own.

The local generator was trained on subjects of about a megapixel. Of one of twelve a patch shows a
few strands, out of focus, and stage 1's doubt is as wide as the patch: what it draws there is worse
than what it draws in the same photo reduced, and takes five times as many tiles. So a photo of a
large subject is reduced for it; a small subject in a large photo is seen as it is. What goes back
to the photo are F and B, which are smooth, and alpha as it is there; in the photo, alpha is what
explains each pixel best, I = αF + (1 − α)B, near to what it was and between what its neighbours
were: nothing appears that stage 2 did not draw. Colours are corrected to explain the photo, too:
by √α of the step at the photo's own size (:func:`pipeline.foreground.explained`), and in full where
they were enlarged and have lost what the photo holds.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline import foreground, views
from pipeline.models.providers import usable_cores
from pipeline.reduce import by_area
from pipeline.views import Box

Map = NDArray[np.float32]
Image = NDArray[np.uint8]

#: A photo is reduced by steps of so much: less is not worth the way back, and from one frame of a
#: clip to the next the size should seldom change.
STEP = 0.8
_GRID = 320  # px: where the subject lies is asked of a mask of this side
#: Grey levels that I may be off from what explains it: of noise, and of textures that F and B
#: do not hold.
_NOISE = 20.0
_SPARE = 4  # px around a change over which it fades in
_REACH = 2 * _SPARE + 1  # px: as far as a change has a say, of what stage 2 was shown
_BLOCK = 256  # px of the photo's own that are carried back at a time: they stay in the cache
_SUM, _THREE = np.ones((1, 3), np.float32), np.ones((3, 3), np.uint8)


@dataclass(frozen=True)
class Shown:
    """A photo, (h, w, 3) uint8, and its mask, (h, w) float32 in 0..1, as stage 2 sees them."""

    image: Image
    mask: Map


def size(mask: Map, longest: int) -> tuple[int, int]:
    """Return the size (h, w) at which stage 2 sees a photo of which this is the mask, (H, W).

    The least by steps of :data:`STEP` at which the longer side of the subject's box, with a margin
    of 15 % on each side, still has ``longest`` px, or its shorter one half of that: of a panorama
    little would be left.
    """
    shape = (mask.shape[0], mask.shape[1])
    small = by_area(mask, (min(_GRID, shape[0]), min(_GRID, shape[1])))
    box = views.around(small, shape, smallest=0)
    short, long = sorted(box.shape)
    scale = min(1.0, max(longest / long, longest / 2 / short))
    scale = STEP ** math.floor(math.log(scale) / math.log(STEP) + 1e-6)
    return max(1, round(shape[0] * scale)), max(1, round(shape[1] * scale))


def show(image: Image, mask: Map, size: tuple[int, int]) -> Shown:
    """Return a photo, (H, W, 3) uint8, and its mask, (H, W) float32, at a size (h, w)."""
    if size == mask.shape:
        return Shown(image, mask)
    # Sums of means round to more than 1.
    return Shown(by_area(image, size), np.clip(by_area(mask, size), 0, 1))


def enlarged(region: NDArray[np.bool_], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Enlarge a region of what stage 2 saw, (h, w) bool, to a photo of ``shape``, (H, W)."""
    if region.shape == shape:
        return region
    size = (shape[1], shape[0])
    full = cv2.resize(region.view(np.uint8), size, interpolation=cv2.INTER_NEAREST_EXACT)
    return np.asarray(full, np.uint8).view(bool)


def below(box: Box, shape: tuple[int, ...], size: tuple[int, ...]) -> Box:
    """Return the least box of a picture of ``size`` that shows all of one in another, of ``shape``.

    So of what stage 2 saw, for one of the photo.
    """
    down, across = (small / large for small, large in zip(size, shape, strict=True))
    return Box(
        math.floor(box.top * down),
        math.floor(box.left * across),
        min(size[0], math.ceil(box.bottom * down)),
        min(size[1], math.ceil(box.right * across)),
    )


def carried(
    image: Image, mask: Map, shown: Shown, alpha: Map, colours: Image, threads: int = 0
) -> tuple[Map, Image]:
    """Carry what stage 2 made of what it was shown to the photo.

    Parameters
    ----------
    image, mask
        The photo, (H, W, 3) uint8 RGB, and its mask, (H, W) float32 in 0..1. The mask is used up:
        alpha takes its place, as a copy for 24 megapixels is 100 MB.
    shown
        What stage 2 saw of them, as :func:`show` returns it.
    alpha, colours
        What it made of that: (h, w) float32 in 0..1, and (h, w, 3) uint8.
    threads
        That carry; 0 means one a core.

    Returns
    -------
    alpha : (H, W) float32 in 0..1. What ``mask`` was, bit for bit, where stage 2 changed nothing.
    colours : (H, W, 3) uint8, straight; equal to ``image`` there.
    """
    changed = _changed(shown, alpha, colours)
    shape = (mask.shape[0], mask.shape[1])
    full = image.copy()
    if changed.shape == shape:

        def correct(block: Box, _: Box) -> None:
            box = _extent(changed, block)
            place = box.grown(foreground.SAID, shape)
            near, where = place.area, changed[box.area].view(np.uint8)
            made = foreground.explained(image[near], alpha[near], colours[near])
            cv2.copyTo(made[box.within(place).area], where, full[box.area])

        _for_blocks(correct, changed, shape, threads)
        return alpha, full
    matte, weight = mask, _weight(changed)

    def carry(box: Box, place: Box) -> None:
        near, here = place.area, box.area
        front, behind, levels = (
            _sampled(field, place, box, changed.shape, shape)
            for field in _fields(shown.image[near], alpha[near], colours[near], weight[near])
        )
        photo = image[here].astype(np.float32)
        likely, low, high, share = (np.asarray(field, np.float32) for field in cv2.split(levels))
        made = np.clip(_explaining(photo, front, behind, likely), low, high)
        matte[here] = np.clip(matte[here] + share * (made - matte[here]), 0, 1)
        explained = foreground.corrected(photo, foreground.thrice(matte[here]), front, behind)
        explained -= photo
        explained *= foreground.thrice(share)
        explained += photo
        full[here] = cv2.convertScaleAbs(explained)

    _for_blocks(carry, changed, shape, threads)
    return matte, full


def _for_blocks(
    work: Callable[[Box, Box], None],
    changed: NDArray[np.bool_],
    shape: tuple[int, int],
    threads: int,
) -> None:
    """Do some work for every block of :func:`_blocks`, ``threads`` of them at a time."""
    pool = _threads(threads or usable_cores())
    for _ in pool.map(work, *zip(*_blocks(changed, shape), strict=True)):
        pass


@lru_cache
def _threads(count: int) -> ThreadPoolExecutor:
    """Return threads that stay, for all photos.

    One that ends holds a lock of OpenCV for a moment, while what it kept for the thread is freed. A
    process that is forked in that moment finds the lock taken for ever.
    """
    return ThreadPoolExecutor(count, "wisp-carry")


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork either
    os.register_at_fork(after_in_child=_threads.cache_clear)


def _explaining(photo: Map, front: Map, behind: Map, likely: Map) -> Map:
    """Return the alpha, (h, w), that explains I by F and B, (h, w, 3), and is near to a likely one.

    The α of the least |I − αF − (1 − α)B|² + 3·20²·(α − likely)², which has a closed form.
    """
    apart = front - behind
    toward = cv2.transform(apart * (photo - behind), _SUM)
    toward += likely * np.float32(3 * _NOISE**2)
    apart *= apart
    return np.asarray(toward / (cv2.transform(apart, _SUM) + np.float32(3 * _NOISE**2)), np.float32)


def _fields(image: Image, alpha: Map, colours: Image, weight: Map) -> tuple[Map, Map, Map]:
    """Return what is smooth enough to be enlarged, float32.

    F and B, (h, w, 3); alpha, the least and most of it in 3×3 px, and the weight of the change,
    (h, w, 4).
    """
    photo, said = image.astype(np.float32), colours.astype(np.float32)
    levels = [alpha, cv2.erode(alpha, _THREE), cv2.dilate(alpha, _THREE), weight]
    return *foreground.layers(photo, alpha, said), np.asarray(cv2.merge(levels), np.float32)


def _sampled(
    field: Map, place: Box, box: Box, size: tuple[int, ...], shape: tuple[int, int]
) -> Map:
    """Enlarge the part of a field that lies in a ``place`` to a box of the photo.

    ``size`` is that of what stage 2 was shown, ``shape`` the photo's.
    """
    down, across = (small / large for small, large in zip(size, shape, strict=True))
    to_field = np.array(
        [
            [across, 0, (box.left + 0.5) * across - 0.5 - place.left],
            [0, down, (box.top + 0.5) * down - 0.5 - place.top],
        ]
    )
    how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    enlarged = cv2.warpAffine(
        field, to_field, box.shape[::-1], flags=how, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(enlarged, np.float32)


def _blocks(changed: NDArray[np.bool_], shape: tuple[int, int]) -> Iterator[tuple[Box, Box]]:
    """Yield the boxes of a photo of ``shape`` in which something has changed, and their places.

    A box is a block, as far as a change reaches in it. A place is that in what stage 2 was shown,
    with what fades in from around it.
    """
    for top in range(0, shape[0], _BLOCK):
        for left in range(0, shape[1], _BLOCK):
            block = Box(top, left, min(top + _BLOCK, shape[0]), min(left + _BLOCK, shape[1]))
            place = below(block, shape, changed.shape).grown(_REACH, changed.shape)
            if changed[place.area].any():
                reached = _extent(changed, place).grown(_REACH, changed.shape)
                box = block.common(below(reached, changed.shape, shape))
                yield box, below(box, shape, changed.shape).grown(_REACH, changed.shape)


def _extent(changed: NDArray[np.bool_], box: Box) -> Box:
    """Return the least box of all that has changed in a box; at least one pixel."""
    inside = changed[box.area]
    down, across = (np.flatnonzero(inside.any(axis)) for axis in (1, 0))
    if not down.size:
        return Box(box.top, box.left, box.top + 1, box.left + 1)
    return Box(
        box.top + int(down[0]),
        box.left + int(across[0]),
        box.top + int(down[-1]) + 1,
        box.left + int(across[-1]) + 1,
    )


def _changed(shown: Shown, alpha: Map, colours: Image) -> NDArray[np.bool_]:
    """Return where stage 2 changed anything, (h, w) bool."""
    alike = cv2.inRange(cv2.absdiff(colours, shown.image), (0, 0, 0), (0, 0, 0))
    return np.asarray((alike.reshape(alpha.shape) == 0) | (alpha != shown.mask))


def _weight(changed: NDArray[np.bool_]) -> Map:
    """Return 1 where there is a change and beside it, falling to 0 over some pixels, (h, w)."""
    side = (2 * _SPARE + 1, 2 * _SPARE + 1)
    near = cv2.dilate(changed.view(np.uint8), np.ones(side, np.uint8)).astype(np.float32)
    return np.asarray(cv2.blur(near, side), np.float32)
