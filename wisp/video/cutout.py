"""Frames in, cutouts out: cut out by themselves, and then made to agree with their neighbours.

What a network says of a frame and of the next differs where nothing has changed but the noise; in
a clip that is seen as flicker. And what moves as optical flow says need not be looked at in every
frame: every second one is, and the one between follows from both (:mod:`wisp.video.between`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import repeat

import numpy as np
from numpy.typing import NDArray

from pipeline import Cutout, Result, Settings
from pipeline.memory import trim
from pipeline.selection import EVERYTHING, Selection
from pipeline.views import SUBJECT
from wisp.video.between import DOUBT, between, doubt
from wisp.video.clip import Frame
from wisp.video.motion import Link, Motion
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

        ``steady`` waits for the next frame before it gives one, or for two, and need not cut out
        every one; False gives each frame as it was cut out by itself, at once.

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
        1's, unless stage 2 saw the frame reduced: results wait for each other, and at 1080p each
        takes 8 MB less so. Of a frame that
        follows from its neighbours it has no ``tiles`` and no ``timings``.

        Raises
        ------
        pipeline.errors.ImageError
            When a frame has more pixels than the settings allow.
        """
        self.following = following or self.wanted
        runs = _runs(frames)
        return _steadied(self._steps(runs)) if self.steady else self._alone(runs)

    def _alone(self, runs: Iterable[NDArray[np.uint8] | None]) -> Iterator[Result]:
        """Cut out frame by frame; the same result again where there is nothing new to see."""
        result: Result | None = None
        tiles = TileMemory()
        for image in runs:
            if image is not None:
                result = self._cut(image, tiles)
            if result is not None:
                yield result

    def _steps(self, runs: Iterable[NDArray[np.uint8] | None]) -> Iterator[_Step]:
        """Cut out every second frame, and the one between where it does not follow from both.

        The same step again where there is nothing new to see.
        """
        step: _Step | None = None  # that was given last
        held: _Held | None = None  # the frame behind it, which waits for the next
        motion, tiles = Motion(), TileMemory()
        for image in runs:
            if image is None:
                if held is not None:
                    held.times += 1
                elif step is not None:
                    yield step
                continue
            link = motion.next(image)
            if held is not None and step is not None:
                if link is not None and not self.following.hinted:
                    after = self._cut(image, tiles)
                    middle = self._between(step.result, held, after, link, tiles)
                    step = None  # each holds 20 MB at 1080p
                    yield from repeat(_Step(middle, held.link), held.times)
                    step, held = _Step(after, link), None
                    del middle, after
                    yield step
                    continue
                # What is followed may have moved out of its box by the frame after.
                step = _Step(self._cut(held.image, tiles), held.link)
                yield from repeat(step, held.times)
                held = None
            if link is None:
                step = _Step(self._cut(image, tiles), None)
                yield step
            else:
                held = _Held(image, link)
        if held is not None:
            yield from repeat(_Step(self._cut(held.image, tiles), held.link), held.times)

    def _between(
        self, before: Result, held: _Held, after: Result, link: Link, tiles: TileMemory
    ) -> Result:
        """Make the cutout of a frame that was held back, now that the one after it is there."""
        if doubt(before.alpha, after.alpha, held.link, link) > DOUBT:
            return self._cut(held.image, tiles)
        return between(before, held.image, after, held.link, link)

    def _cut(self, image: NDArray[np.uint8], tiles: TileMemory) -> Result:
        wanted = self.following
        trim()  # here most memory is needed
        result = self.cutout(
            image,
            box=wanted.box,
            points=wanted.points,
            not_points=wanted.not_points,
            tiles=tiles,
        )
        if wanted.hinted:
            self.following = _followed(result.alpha) or wanted
        # The same pictures, and not copies of them.
        result = replace(result, photo=replace(result.photo, image=image))
        if result.coarse.shape == result.alpha.shape:
            result = replace(result, coarse=result.alpha)
        return result


@dataclass(frozen=True)
class _Step:
    """A frame's result, and how the frame hangs together with the one before."""

    result: Result
    link: Link | None


@dataclass
class _Held:
    """A frame that is not cut out yet, how it hangs together with the one before, how often."""

    image: NDArray[np.uint8]
    link: Link
    times: int = 1


def _runs(
    frames: Iterable[NDArray[np.uint8] | Frame],
) -> Iterator[NDArray[np.uint8] | None]:
    """Yield each frame's picture; None for one that is as the one before, or damaged."""
    before: NDArray[np.uint8] | None = None
    for picture in frames:
        frame = picture if isinstance(picture, Frame) else Frame(np.asarray(picture, np.uint8), 0)
        if before is not None and (frame.damaged or np.array_equal(frame.image, before)):
            yield None
        else:
            before = frame.image
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


def _steadied(steps: Iterable[_Step]) -> Iterator[Result]:
    steady = Steady()
    waiting: _Step | None = None
    times = 0  # that the one waiting is to be given
    for step in steps:
        if step is waiting:
            times += 1
            continue
        alpha = steady.push(step.result.alpha, step.link)
        if waiting is not None and alpha is not None:
            yield from repeat(replace(waiting.result, alpha=alpha), times)
        waiting, times = step, 1
    alpha = steady.last()
    if waiting is not None and alpha is not None:
        yield from repeat(replace(waiting.result, alpha=alpha), times)
