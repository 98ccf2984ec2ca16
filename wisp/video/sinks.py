"""Where frames go: a clip, a short loop, pictures in a row, or a pipe."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np

from pipeline import compose, image_io
from pipeline.errors import SettingsError, UnsupportedFormat, WispError
from pipeline.output import format_of
from wisp.video.check import Kept, check
from wisp.video.coding import Encoder, Picture, as_output_error, coding_for
from wisp.video.parts import Parts, Shape
from wisp.video.sources import Source, is_sequence, numbered

#: Frames that a loop may have: a minute. Longer than that, a clip is smaller and plays better.
LONGEST_LOOP = 1500


class Sink(Protocol):
    """Takes frames in the order of their times."""

    @property
    def written(self) -> int:
        """How many frames there are, those of a run before this one included."""
        ...

    def write(self, picture: Picture, pts: int) -> None:
        """Add a frame."""
        ...

    def finish(self, whole: bool) -> tuple[str, ...]:
        """Make what was written a file that plays, and check it; return notes."""
        ...

    def abandon(self, again: bool) -> None:
        """Let go after an error: keep what can be gone on with, and nothing else.

        ``again`` says that it would come again, at the same frame: the source is at fault.
        """
        ...


def sink_for(
    target: Path, source: Source, alpha: bool, resume: bool, fingerprint: dict[str, Any]
) -> Sink:
    """Open what a name stands for.

    Raises :class:`SettingsError` where it cannot hold what is asked for, or cannot be resumed.
    """
    if is_sequence(target):
        kind = format_of(target)
        if kind not in image_io.FORMATS:
            raise UnsupportedFormat(f"{target}: {kind} is no picture: use png, webp or tiff")
        if kind == "jpg" and alpha:
            raise SettingsError("JPEG holds no transparency: give a --background, or use png")
        return Sequence(target, resume)
    coding = coding_for(target, alpha)
    shape = Shape(coding, source.size, source.rate, source.time_base, source.colour, source.aspect)
    if not coding.loop:
        return ClipFile(target, source, shape, resume, fingerprint)
    if resume:
        raise SettingsError(f"{target.suffix} is for short loops, which are made in one go")
    if (source.count or 0) > LONGEST_LOOP:
        raise SettingsError(
            f"{target.suffix} is for loops of up to {LONGEST_LOOP} frames, and this has "
            f"{source.count}: write .webm, .mov or .mkv"
        )
    return Loop(target, shape)


class ClipFile:
    """A clip, written in parts: it outlives a stop."""

    def __init__(
        self, target: Path, source: Source, shape: Shape, resume: bool, fingerprint: dict[str, Any]
    ) -> None:
        """Begin, or go on where a run before this one was stopped."""
        self._parts = Parts(target, shape, fingerprint)
        self._parts.begin(resume)
        self._sound = source.path if source.path.is_file() else None
        self._kept = Kept()

    @property
    def written(self) -> int:
        """Frames so far."""
        return self._parts.written

    @property
    def last(self) -> int | None:
        """Time of the last frame."""
        return self._parts.last

    def recent(self, count: int) -> int | None:
        """Return the ``pts`` of the frame before the last ``count``; None where there is none."""
        times = [pts for part in self._parts.times[-2:] for pts in part]
        return times[-count - 1] if len(times) > count else None

    @property
    def counts(self) -> dict[str, Any]:
        """What is counted or found out on the way, and outlives a stop."""
        return self._parts.counts

    def write(self, picture: Picture, pts: int) -> None:
        """Add a frame."""
        self._kept.offer(self._parts.written, picture)
        self._parts.write(picture, pts)

    def finish(self, whole: bool) -> tuple[str, ...]:
        """Join the parts; keep them unless this was the ``whole`` clip."""
        parts = self._parts
        parts.finish()
        if not parts.times:
            parts.remove()
            return ()
        notes = parts.join(self._sound, whole)
        times = [pts for part in parts.times for pts in part]
        check(parts.joined, parts.shape.coding, self._kept, times, parts.shape.time_base)
        parts.place()
        if whole:
            parts.remove()
        return notes

    def abandon(self, again: bool) -> None:
        """Keep the frames up to the error; less than a part not where it would come again."""
        parts = self._parts
        with suppress(WispError):  # the error that is under way says more
            parts.finish()
        parts.joined.unlink(missing_ok=True)  # half of it: the disk may be full
        if not parts.listed.is_file() or (again and len(parts.times) < 2):
            parts.remove()


class Loop:
    """A short loop, which pages show as a picture."""

    def __init__(self, target: Path, shape: Shape) -> None:
        """Begin a file beside the target."""
        self._target, self._shape = target, shape
        self._partial = target.with_name(f".wisp-{os.urandom(8).hex()}{target.suffix}")
        self._encoder = Encoder(
            self._partial, shape.coding, shape.size, shape.rate, shape.time_base, shape.colour
        )
        with as_output_error(target):  # before the work, and not with the first frame
            self._partial.touch()
        self._kept, self._times = Kept(), list[int]()

    @property
    def written(self) -> int:
        """Frames so far."""
        return len(self._times)

    def write(self, picture: Picture, pts: int) -> None:
        """Add a frame."""
        if len(self._times) == LONGEST_LOOP:
            raise SettingsError(f"a loop ends after {LONGEST_LOOP} frames: write .webm or .mov")
        if picture.alpha is None:  # these codecs have one all the same
            picture = replace(picture, alpha=np.ones(picture.colours.shape[:2], np.float32))
        self._kept.offer(len(self._times), picture)
        self._times.append(pts)
        self._encoder.write(picture, pts - self._times[0])

    def finish(self, whole: bool) -> tuple[str, ...]:
        """Close and check the file, and put it in its place."""
        try:
            self._encoder.close()
            if self._times:
                base = self._shape.time_base
                check(self._partial, self._shape.coding, self._kept, self._times, base)
                self._partial.replace(self._target)
        finally:
            self._partial.unlink(missing_ok=True)
        return ()

    def abandon(self, again: bool) -> None:
        """Remove what there is: half a loop is none."""
        with suppress(WispError):
            self._encoder.close()
        self._partial.unlink(missing_ok=True)


@dataclass
class Sequence:
    """Pictures in a row, ``frames/00001.png`` first. Each is complete or not there.

    Those of an earlier run are deleted with the first one, unless it is gone on with.
    """

    target: Path
    resume: bool = False
    written: int = 0
    _format: str = field(init=False)

    def __post_init__(self) -> None:
        """Make the folder, and count what is there already."""
        self._format = format_of(self.target)
        with as_output_error(self.target):
            self.target.parent.mkdir(parents=True, exist_ok=True)
        if self.resume:
            while numbered(self.target, self.written + 1).is_file():
                self.written += 1

    def write(self, picture: Picture, pts: int) -> None:
        """Write the next picture."""
        pixels = picture.colours
        if picture.alpha is not None:
            pixels = compose.rgba(picture.colours, picture.alpha)
        if not self.written and not self.resume:  # or a shorter clip would end in an older one
            self._clear()
        self.written += 1
        image_io.write(numbered(self.target, self.written), image_io.encode(pixels, self._format))

    def _clear(self) -> None:
        number = 1
        with as_output_error(self.target):
            while (old := numbered(self.target, number)).is_file():
                old.unlink()
                number += 1

    def finish(self, whole: bool) -> tuple[str, ...]:
        """Nothing is left to do: every picture is finished."""
        return ()

    def abandon(self, again: bool) -> None:
        """Nothing is left to do."""


@dataclass
class Pipe:
    """Raw frames: rgba, or rgb24 where a background lies behind."""

    stream: BinaryIO
    written: int = 0

    def write(self, picture: Picture, pts: int) -> None:
        """Write a frame at once: whoever reads may show it live."""
        pixels = picture.colours
        if picture.alpha is not None:
            pixels = compose.rgba(picture.colours, picture.alpha)
        self.stream.write(np.ascontiguousarray(pixels).data)
        self.stream.flush()
        self.written += 1

    def finish(self, whole: bool) -> tuple[str, ...]:
        """Nothing is left to do."""
        return ()

    def abandon(self, again: bool) -> None:
        """Nothing is left to do."""
