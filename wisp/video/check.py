"""Look at what was written, before it is said to be done.

Alpha is lost silently in many ways: by a container that has no place for it, by a decoder that
does not look for it. So the file is opened again, and some frames are held against what was meant.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline import compose, image_io
from pipeline.errors import OutputError
from wisp.video.coding import LOSS, Coding, Picture

_MOST = 5  # frames kept


@dataclass
class Kept:
    """A few frames of a clip, spread over what has been written so far.

    ``frames`` holds what shows of each as a PNG: the levels themselves take 2 MB each at 1080p.
    """

    frames: dict[int, bytes] = field(default_factory=dict)
    _every: int = 1

    def offer(self, number: int, picture: Picture) -> None:
        """Keep what shows of frame ``number``: its alpha, or its grey where it has none."""
        if number % self._every:
            return
        if len(self.frames) == _MOST:
            self._every *= 2
            self.frames = {n: kept for n, kept in self.frames.items() if n % self._every == 0}
            if number % self._every:
                return
        self.frames[number] = image_io.encode(shown(picture), "png")


def shown(picture: Picture) -> NDArray[np.uint8]:
    """What is compared: alpha in levels, (H, W) uint8; the mean of the colours without one."""
    if picture.alpha is not None:
        return compose.levels(picture.alpha)
    return picture.colours.mean(2).astype(np.uint8)


def check(path: Path, coding: Coding, kept: Kept, times: Sequence[int], base: Fraction) -> None:
    """Read frames of a clip back, and hold them against those that were kept.

    ``times`` are the ``pts`` of all its frames, in steps of ``base`` seconds. Raises
    :class:`OutputError` where a frame is not there, or its alpha is not what was written.
    """
    moments = [float((times[number] - times[0]) * base) for number in kept.frames]
    webp = path.suffix.lower() == ".webp"
    frames = _of_webp(path, moments) if webp else _of(path, coding, moments)
    try:
        for (number, meant), frame in zip(kept.frames.items(), frames, strict=True):
            levels = np.asarray(Image.open(BytesIO(meant)))
            _compare(path, coding, frame, levels, float(times[number] * base))
    except (OSError, ValueError, av.error.InvalidDataError) as error:
        raise OutputError(f"{path.name} was written, but cannot be read again: {error}") from error


def _of(path: Path, coding: Coding, moments: list[float]) -> Iterator[NDArray[np.uint8] | None]:
    """Read the frames that are shown at some moments; None where there is none."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        decoder: Any = stream.codec_context
        if coding.decoder:
            decoder = av.CodecContext.create(coding.decoder, "r")
        begun = 0.0 if stream.start_time is None else float(stream.start_time * stream.time_base)
        for moment in moments:
            yield _frame_at(container, stream, decoder, begun + moment, coding.pixels)


def _of_webp(path: Path, moments: list[float]) -> Iterator[NDArray[np.uint8] | None]:
    """Read the alpha of a WebP loop, which FFmpeg writes and does not read; Pillow does."""
    with Image.open(path) as loop:
        count, number, end = getattr(loop, "n_frames", 1), -1, 0.0
        for moment in moments:
            while end <= moment + 0.002:
                number += 1
                if number == count:
                    yield None
                    return
                loop.seek(number)
                alpha = np.asarray(loop.convert("RGBA"))[..., 3]
                # What stands still is one frame, of any duration or none.
                end += loop.info["duration"] / 1000 if count > 1 else math.inf
            yield alpha


def _frame_at(
    container: Any, stream: Any, decoder: Any, moment: float, pixels: str
) -> NDArray[np.uint8] | None:
    container.seek(int((moment + 0.002) / stream.time_base), stream=stream)
    if decoder is not stream.codec_context:
        decoder.flush_buffers()
    before = None
    for packet in container.demux(stream):
        for frame in decoder.decode(packet if packet.size else None):
            # Containers round times, to a hundredth of a second at worst.
            if float((frame.pts or 0) * stream.time_base) > moment + 0.006:
                return before
            if "a" not in pixels.replace("gray", "") and pixels != "pal8":
                before = frame.to_ndarray(format="rgb24").mean(2).astype(np.uint8)
            else:
                before = frame.to_ndarray(format="rgba")[..., 3]
    return before


def _compare(
    path: Path, coding: Coding, frame: NDArray[np.uint8] | None, meant: NDArray[np.uint8], at: float
) -> None:
    if frame is None:
        raise OutputError(f"{path.name} was written, but has no frame at {at:.2f} s")
    meant = meant[: frame.shape[0], : frame.shape[1]]
    if coding.pixels == "pal8":
        meant = np.where(meant < 128, 0, 255).astype(np.uint8)
    error = np.abs(frame.astype(np.int16) - meant)
    bad = int(error.max(initial=0)) > 1 if coding.exact else float(error.mean()) > LOSS
    if bad:
        raise OutputError(
            f"{path.name} was written, but at {at:.2f} s it does not show what was meant "
            f"(off by {float(error.mean()):.1f} levels of 255 on average): please report it"
        )
