"""Frames in, cutouts out: each frame cut out by itself, and then made to agree with its neighbours.

What a network says of a frame and of the next differs where nothing has changed but the noise; in
a clip that is seen as flicker.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pipeline import Cutout, Result, Settings
from wisp.video.clip import Frame
from wisp.video.steady import Steady
from wisp.video.tiles import TileMemory


class CutoutVideo:
    """Cuts subjects out of clips, frame by frame. May be used for many clips, one at a time.

    >>> for result in CutoutVideo(Cutout())(frames):  # doctest: +SKIP
    ...     show(result.image)
    """

    def __init__(self, cutout: Callable[..., Result] | None = None, *, steady: bool = True) -> None:
        """Cut out with ``cutout``, a :class:`pipeline.Cutout`; None is one that looks at each frame
        once: the second look of stage 1 at a photo is worth less than the frames beside it.

        ``steady`` waits for the next frame before it gives one; False leaves each frame as it was
        cut out by itself, at once.
        """
        self.cutout = cutout or Cutout(Settings(views=1))
        self.steady = steady

    def __call__(self, frames: Iterable[NDArray[np.uint8] | Frame]) -> Iterator[Result]:
        """Cut out the frames of one clip, in their order.

        Parameters
        ----------
        frames
            (H, W, 3) uint8 RGB, or :class:`wisp.video.Frame`; of one that is ``damaged`` the
            cutout before it is repeated.

        Yields
        ------
        A result for each frame.

        Raises
        ------
        pipeline.errors.ImageError
            When a frame has more pixels than the settings allow.
        """
        results = self._each(frames)
        return _steadied(results) if self.steady else results

    def _each(self, frames: Iterable[NDArray[np.uint8] | Frame]) -> Iterator[Result]:
        """Cut out frame by frame; the same result again where there is nothing new to see."""
        before: Result | None = None
        tiles = TileMemory()
        for picture in frames:
            frame = (
                picture if isinstance(picture, Frame) else Frame(np.asarray(picture, np.uint8), 0)
            )
            if before is None or not (
                frame.damaged or np.array_equal(frame.image, before.photo.image)
            ):
                before = self.cutout(frame.image, tiles=tiles)
            yield before


def _steadied(results: Iterable[Result]) -> Iterator[Result]:
    steady = Steady()
    waiting: Result | None = None
    times = 0  # that the one waiting is to be given
    for result in results:
        if result is waiting:
            times += 1
            continue
        alpha = steady.push(result.photo.image, result.alpha)
        if waiting is not None and alpha is not None:
            done = replace(waiting, alpha=alpha)
            yield from (done for _ in range(times))
        waiting, times = result, 1
    alpha = steady.last()
    if waiting is not None and alpha is not None:
        done = replace(waiting, alpha=alpha)
        yield from (done for _ in range(times))
