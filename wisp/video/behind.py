"""What lies behind the subject of a clip: nothing, what may lie behind a photo, or another clip."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np

from pipeline import Output, Result, image_io
from pipeline.background import backdrop
from pipeline.errors import SettingsError
from pipeline.render import render
from wisp.video.clip import Clip, Frame, open_clip
from wisp.video.coding import Picture


def clip_behind(background: str | None) -> Clip | None:
    """Open a background that is a clip; None where it is anything else."""
    if (
        background is None
        or not os.path.isfile(background)
        or image_io.PICTURE.fullmatch(Path(background).name)
    ):
        return None
    return open_clip(Path(background))


_START = Fraction(0)


class Behind:
    """Makes the picture to write of each result."""

    def __init__(
        self,
        output: Output,
        size: tuple[int, int],
        clip: Clip | None = None,
        linear: bool = False,
    ) -> None:
        """Prepare for frames of ``size`` (height, width).

        With a ``clip``, its frames are laid behind, from its beginning again where it ends, and
        blended in ``linear`` light if so.
        Raises :class:`SettingsError` where the output is of a kind that only a photo has.
        """
        if output.crop or output.canvas or output.scale or output.position:
            raise SettingsError("a clip keeps its size, and the subject its place")
        layer = output.background
        if isinstance(layer, tuple) and len(layer) == 4:
            raise SettingsError("a clip's background is opaque: give a colour, or none at all")
        if isinstance(layer, bytes):
            layer = image_io.read(layer).image
        if layer is not None and not isinstance(layer, (tuple, str)):
            # Drawn once, and not for each frame.
            nothing = np.zeros((*size, 3), np.uint8), np.zeros(size, np.float32)
            output = replace(output, background=backdrop(layer, *nothing, output.fit))
        self._output, self._linear = output, linear
        self._clip = None if clip is None else _Playing(clip)

    @property
    def alpha(self) -> bool:
        """Whether the pictures have one."""
        return self._clip is None and self._output.background is None and not self._output.only_mask

    def picture(self, result: Result, moment: Fraction = _START) -> Picture:
        """Make the picture for the frame at ``moment``, in seconds: only a clip behind moves."""
        output = self._output
        if self.alpha and not (output.binary or output.opaque or output.shadow):
            return Picture(result.foreground, result.alpha)  # finer than 8 bits
        if self._clip is not None:
            background = self._clip.at(moment)
            output = replace(output, background=background, linear=self._linear)
        pixels = render(result, output)
        if self.alpha:
            return Picture(pixels[..., :3], pixels[..., 3] * np.float32(1 / 255))
        return Picture(np.repeat(pixels[..., None], 3, 2) if pixels.ndim == 2 else pixels)


class _Playing:
    """A clip that plays on in a loop."""

    def __init__(self, clip: Clip) -> None:
        self._clip = clip
        self._begun: Fraction | None = None
        self._rewind()
        self._first = self._now.pts

    def _rewind(self) -> None:
        self._frames: Iterator[Frame] = self._clip.frames()
        self._now = next(self._frames)
        self._next: Frame | None = next(self._frames, None)

    def at(self, moment: Fraction) -> np.ndarray:
        if self._begun is None:
            self._begun = moment
        while True:
            while self._next is not None and self._passed(self._next) <= moment - self._begun:
                self._now, self._next = self._next, next(self._frames, None)
            length = self._passed(self._now) + 1 / self._clip.rate
            if self._next is not None or moment - self._begun < length:
                return self._now.image
            # A short clip behind a long gap may have played many times meanwhile.
            self._begun += (moment - self._begun) // length * length
            self._rewind()

    def _passed(self, frame: Frame) -> Fraction:
        return (frame.pts - self._first) * self._clip.time_base
