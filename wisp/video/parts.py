"""A clip is written in parts, and joined at the end without coding anything again.

So whatever stops the work costs at most one part: what is finished can be joined and played, and
the work goes on behind it. Beside the parts lies a list of what each holds, with the exact time of
every frame: containers round times, and joining must not add up what they lose.
"""

from __future__ import annotations

import heapq
import json
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from fractions import Fraction
from operator import itemgetter
from pathlib import Path
from typing import Any

import av

from pipeline import image_io
from pipeline.errors import SettingsError
from wisp.video.clip import Colour, opened
from wisp.video.coding import Coding, Encoder, Picture, as_output_error
from wisp.video.sound import Accompaniment, Timed

#: Frames a part: four to ten seconds, and each begins with a frame that stands by itself.
LENGTH = 250


def parts_folder(target: Path) -> Path:
    """Name the folder that a clip's parts lie in while it is not finished."""
    return target.with_name(f".{target.name}.parts")


@dataclass(frozen=True)
class Shape:
    """What all parts of a clip have in common."""

    coding: Coding
    size: tuple[int, int]
    rate: Fraction
    time_base: Fraction
    colour: Colour
    aspect: Fraction


@dataclass
class Parts:
    """The parts of one clip, in a hidden folder beside it.

    Attributes
    ----------
    target
        The clip that they become.
    times
        For each finished part, the ``pts`` of its frames.
    counts
        What else is counted or found out on the way, and has to outlive a stop.
    """

    target: Path
    shape: Shape
    fingerprint: dict[str, Any]
    times: list[list[int]] = field(default_factory=list)
    counts: dict[str, Any] = field(default_factory=dict)
    _encoder: Encoder | None = None
    _now: list[int] = field(default_factory=list)

    @property
    def folder(self) -> Path:
        """Where the parts lie."""
        return parts_folder(self.target)

    @property
    def written(self) -> int:
        """Frames in finished parts and the open one."""
        return sum(map(len, self.times)) + len(self._now)

    @property
    def last(self) -> int | None:
        """The ``pts`` of the last frame; None before the first."""
        latest = self._now or (self.times[-1] if self.times else [])
        return latest[-1] if latest else None

    @property
    def listed(self) -> Path:
        """What says which parts are finished: without it nothing can be gone on with."""
        return self.folder / "parts.json"

    def begin(self, resume: bool) -> None:
        """Make the folder, or take up the one that is there.

        Raises :class:`SettingsError` where it was begun from another clip or with other settings,
        :class:`OutputError` where it cannot be made.
        """
        if resume and self.listed.is_file():
            listing = json.loads(self.listed.read_text())
            if listing["fingerprint"] != json.loads(json.dumps(self.fingerprint)):
                raise SettingsError(
                    f"{self.target} was begun from another clip, or with other settings: give "
                    "those again, or leave --resume out to begin anew"
                )
            self.times, self.counts = listing["times"], listing["counts"]
            return
        with as_output_error(self.target):
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder.mkdir(parents=True)

    def write(self, picture: Picture, pts: int) -> None:
        """Add a frame."""
        if self._encoder is None:
            s = self.shape
            self._encoder = Encoder(
                self._path(len(self.times)),
                s.coding, s.size, s.rate, s.time_base, s.colour, s.aspect,
            )  # fmt: skip
        # Each part begins at 0: some containers fill what lies before with nothing.
        self._encoder.write(picture, pts - (self._now[0] if self._now else pts))
        self._now.append(pts)
        if len(self._now) == LENGTH:
            self.finish()

    def finish(self) -> None:
        """Close the open part, and note it."""
        if self._encoder is None:
            return
        self._encoder.close()
        self._encoder = None
        self.times.append(self._now)
        self._now = []
        data = {"fingerprint": self.fingerprint, "times": self.times, "counts": self.counts}
        image_io.write(self.listed, json.dumps(data).encode())

    def join(self, source: Path | None, whole: bool) -> tuple[str, ...]:
        """Join the finished parts into the target, with the sound and subtitles of ``source``.

        Where it is not the ``whole`` clip, they end where its pictures do. Returns notes on what
        the container cannot hold. The target is complete or as it was.
        """
        end = None if whole or self.last is None else (self.last + 1) * self.shape.time_base
        with as_output_error(self.target), av.open(str(self.joined), "w") as joined:
            stream: Any = None
            with av.open(str(self._path(0))) as first:
                template = first.streams.video[0]
                stream = joined.add_stream_from_template(template, opaque=True)
                stream.time_base = self.shape.time_base
                stream.metadata.update(template.metadata)
            notes: tuple[str, ...] = ()
            with ExitStack() as stack:
                others: Iterator[Timed] = iter(())
                if source is not None:
                    original = stack.enter_context(opened(source))
                    rest = Accompaniment(original, joined)
                    others, notes = rest.packets(end), rest.notes
                for _, packet in heapq.merge(self._packets(stream), others, key=itemgetter(0)):
                    joined.mux(packet)
        return notes

    def place(self) -> None:
        """Put what was joined in the place of the target."""
        with as_output_error(self.target):
            self.joined.replace(self.target)

    @property
    def joined(self) -> Path:
        """Where :meth:`join` leaves the clip for :meth:`place`."""
        return self.folder / f"joined{self.target.suffix}"

    def remove(self) -> None:
        """Remove the folder: nothing of it is needed any more."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:05d}{self.target.suffix}"

    def _packets(self, stream: Any) -> Iterator[Timed]:
        base = self.shape.time_base
        step = max(1, round(1 / (self.shape.rate * base)))
        for number, times in enumerate(self.times):
            following = self.times[number + 1][0] if number + 1 < len(self.times) else None
            ends = [*times[1:], times[-1] + step if following is None else following]
            with av.open(str(self._path(number))) as part:
                packets = (p for p in part.demux(video=0) if p.size)
                # A frame that an interrupt came upon may be in the part, and not in the list.
                for packet, pts, end in zip(packets, times, ends, strict=False):
                    packet.stream = stream
                    packet.time_base = base
                    packet.pts = packet.dts = pts
                    packet.duration = end - pts
                    yield float(pts * base), packet
