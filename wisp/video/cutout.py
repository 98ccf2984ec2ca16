"""Frames in, cutouts out: each frame cut out by itself, and then made to agree with its neighbours.

What a network says of a frame and of the next differs where nothing has changed but the noise; in
a clip that is seen as flicker.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import repeat

import numpy as np
from numpy.typing import NDArray

from pipeline import Cutout, Result, Settings
from pipeline.selection import EVERYTHING, Selection
from pipeline.views import SUBJECT
from wisp.video.clip import Frame
from wisp.video.steady import Steady
from wisp.video.tiles import TileMemory

#: Of frames: the second look of stage 1 at a photo is worth less than the frames beside it. And
#: patches by the four take 12 MB less than by the eight, in no more time.
SETTINGS = Settings(views=1, batch_size=4)
#: Room around what is followed: a share of its sides, and px. What moves by more from a frame to
#: the next is cut off; with more room, what stands beside it comes in.
_ROOM, _LEAST = 0.08, 8


class CutoutVideo:
    """Cuts subjects out of clips, frame by frame. May be used for many clips, one at a time.

    >>> for result in CutoutVideo(Cutout())(frames):  # doctest: +SKIP
    ...     show(result.image)
    """

    def __init__(
        self,
        cutout: Callable[..., Result] | None = None,
        *,
        steady: bool = True,
        wanted: Selection = EVERYTHING,
    ) -> None:
        """Cut out with ``cutout``, a :class:`pipeline.Cutout`; None is one with :data:`SETTINGS`.

        ``steady`` waits for the next frame before it gives one; False leaves each frame as it was
        cut out by itself, at once.

        ``wanted`` says with a box or points what to cut in a clip's first frame. From then on the
        box of what was found there says it, and follows it.
        """
        self.cutout = cutout or Cutout(SETTINGS)
        self.steady, self.wanted = steady, wanted
        self.following = wanted  #: what is looked for in the next frame

    def __call__(
        self, frames: Iterable[NDArray[np.uint8] | Frame], following: Selection | None = None
    ) -> Iterator[Result]:
        """Cut out the frames of one clip, in their order.

        Parameters
        ----------
        frames
            (H, W, 3) uint8 RGB, or :class:`wisp.video.Frame`; of one that is ``damaged`` the
            cutout before it is repeated.
        following
            What is looked for in the first of them, where they go on behind others.

        Yields
        ------
        A result for each frame. Its ``coarse`` is the alpha of the frame by itself, and not stage
        1's: results wait for each other, and at 1080p each takes 8 MB less so.

        Raises
        ------
        pipeline.errors.ImageError
            When a frame has more pixels than the settings allow.
        """
        self.following = following or self.wanted
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
                wanted = self.following
                result = self.cutout(
                    frame.image,
                    box=wanted.box,
                    points=wanted.points,
                    not_points=wanted.not_points,
                    tiles=tiles,
                )
                before = replace(result, coarse=result.alpha)
                del result
                if wanted.hinted:
                    self.following = _followed(before.alpha) or wanted
            yield before


def _followed(alpha: NDArray[np.float32]) -> Selection | None:
    """Say what was found by its box, with room to move in; None where nothing was found."""
    sides = []
    for axis, length in ((0, alpha.shape[1]), (1, alpha.shape[0])):
        at = np.flatnonzero((alpha > SUBJECT).any(axis))
        if not at.size:
            return None
        room = max(_LEAST, round(_ROOM * (at[-1] + 1 - at[0])))
        sides.append((max(0, at[0] - room), min(length, at[-1] + 1 + room)))
    (left, right), (top, bottom) = sides
    return Selection(box=(float(left), float(top), float(right), float(bottom)))


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
            yield from repeat(replace(waiting, alpha=alpha), times)
        waiting, times = result, 1
    alpha = steady.last()
    if waiting is not None and alpha is not None:
        yield from repeat(replace(waiting, alpha=alpha), times)
