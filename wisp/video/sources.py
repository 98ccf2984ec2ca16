"""Other sources of frames than a clip: pictures in a row, and raw frames in a pipe.

They have what a :class:`wisp.video.clip.Clip` has: size, time base, rate, count, and frames.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline import image_io
from pipeline.errors import ImageError, SettingsError, quoted
from wisp.video.clip import BT709, Colour, Frame, open_clip
from wisp.video.errors import ClipError

_NUMBER = re.compile(r"%0?(\d*)d")
_SRGB = 13  # the transfer of pictures, in H.273
#: Formats of raw frames, and how many bytes a pixel takes.
RAW = {"rgb24": 3, "bgr24": 3, "rgba": 4, "bgra": 4, "gray": 1}


class Source(Protocol):
    """What is cut out, frame by frame."""

    @property
    def path(self) -> Path: ...
    @property
    def size(self) -> tuple[int, int]: ...
    @property
    def time_base(self) -> Fraction: ...
    @property
    def rate(self) -> Fraction: ...
    @property
    def count(self) -> int | None: ...
    @property
    def colour(self) -> Colour: ...
    @property
    def aspect(self) -> Fraction: ...
    @property
    def notes(self) -> tuple[str, ...]: ...

    def frames(self, after: int | None = None) -> Iterator[Frame]: ...


@dataclass(frozen=True)
class Pictures:
    """A sequence of pictures, one a frame; ``pts`` counts them from 0."""

    path: Path
    pictures: tuple[Path, ...]
    size: tuple[int, int]
    rate: Fraction
    colour: Colour = Colour(BT709, BT709, _SRGB)
    aspect: Fraction = Fraction(1)
    notes: tuple[str, ...] = ()

    @property
    def time_base(self) -> Fraction:
        """A step for a picture."""
        return 1 / self.rate

    @property
    def count(self) -> int:
        """How many pictures."""
        return len(self.pictures)

    def frames(self, after: int | None = None) -> Iterator[Frame]:
        """Read the pictures; one that cannot be read is the one before it, and ``damaged``.

        Raises :class:`ClipError` where a picture has another size than the first.
        """
        before: NDArray[np.uint8] | None = None
        for number in range(0 if after is None else after + 1, self.count):
            try:
                image = image_io.read(self.pictures[number]).image
            except ImageError:
                if before is not None:
                    yield Frame(before, number, 1, True)
                continue
            if image.shape[:2] != self.size:
                raise ClipError(
                    f"{self.pictures[number]} is {image.shape[1]}×{image.shape[0]} px, and the "
                    f"sequence began with {self.size[1]}×{self.size[0]}: make them of one size"
                )
            before = image
            yield Frame(image, number, 1)


@dataclass(frozen=True)
class Raw:
    """Frames without a container, as ``ffmpeg -f rawvideo`` writes them, from a pipe."""

    stream: BinaryIO
    format: str
    size: tuple[int, int]
    rate: Fraction
    path: Path = Path("-")
    count: int | None = None
    colour: Colour = Colour(BT709, BT709, _SRGB)
    aspect: Fraction = Fraction(1)
    notes: tuple[str, ...] = ()

    @property
    def time_base(self) -> Fraction:
        """A step for a frame."""
        return 1 / self.rate

    def frames(self, after: int | None = None) -> Iterator[Frame]:
        """Read frames until the pipe ends.

        Raises :class:`ClipError` where one is not whole, or not one came.
        """
        height, width = self.size
        channels = RAW[self.format]
        whole, number = height * width * channels, 0
        while data := self.stream.read(whole):
            if len(data) < whole:
                raise ClipError(
                    f"raw frames: the last has {len(data)} of {whole} bytes: is it {self.format} "
                    f"of {width}x{height}?"
                )
            pixels = np.frombuffer(data, np.uint8).reshape(height, width, channels)
            if channels == 1:
                pixels = np.repeat(pixels, 3, 2)
            order = [2, 1, 0] if self.format.startswith("bgr") else [0, 1, 2]
            yield Frame(np.ascontiguousarray(pixels[..., order]), number, 1)
            number += 1
        if not number:
            raise ClipError("raw frames: not one came: what is before the pipe wrote nothing")


def raw_size(text: str) -> tuple[int, int]:
    """Understand "1920x1080" as (height, width). Raises :class:`SettingsError` otherwise."""
    match = re.fullmatch(r"([1-9]\d{0,4})[x×]([1-9]\d{0,4})", text)
    if not match:
        raise SettingsError(f"the size of raw frames looks like 1920x1080, not {quoted(text)}")
    return int(match[2]), int(match[1])


def open_source(name: str, rate: Fraction | None = None) -> Source:
    """Open a clip, a folder of pictures, or a sequence such as ``frames/%05d.png``.

    ``rate`` is that of a sequence; 25 where none is given, as ffmpeg has it. Raises
    :class:`ClipError`.
    """
    path = Path(name)
    if path.is_dir():
        pictures = sorted(p for p in path.iterdir() if image_io.PICTURE.fullmatch(p.name))
    elif _NUMBER.search(path.name) and not path.exists():
        pictures = sequence(path)
    else:
        if rate is not None:
            raise SettingsError("a clip has its own times: --fps is for pictures and raw frames")
        return open_clip(path)
    for picture in pictures:
        try:
            size = image_io.read(picture).image.shape[:2]
        except ImageError:
            continue
        return Pictures(path, tuple(pictures), (size[0], size[1]), rate or Fraction(25))
    raise ClipError(f"{name} has no pictures that can be read")


def is_sequence(path: Path) -> bool:
    """Tell whether a name stands for a sequence of pictures: it has a %05d in it."""
    return bool(_NUMBER.search(path.name))


def sequence(path: Path) -> list[Path]:
    """Return the files that a name such as frames/%05d.png stands for, by their numbers."""
    before, after = (re.escape(part) for part in _split(path.name))
    match = re.compile(before + r"(\d+)" + after).fullmatch
    matches = [(m, p) for p in path.parent.glob("*") if (m := match(p.name))]
    return [p for m, p in sorted(matches, key=lambda pair: int(pair[0][1]))]


def numbered(path: Path, number: int) -> Path:
    """Name one picture of a sequence: frames/%05d.png and 7 make frames/00007.png."""
    match = _NUMBER.search(path.name)
    assert match
    before, after = _split(path.name)
    return path.with_name(f"{before}{number:0{match[1] or 1}d}{after}")


def _split(name: str) -> tuple[str, str]:
    match = _NUMBER.search(name)
    assert match
    return name[: match.start()], name[match.end() :]
