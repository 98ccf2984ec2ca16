"""What is found out about a clip only as its frames are read, and is told at the end."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av

_DURATION = re.compile(r"(\d{1,4}):(\d\d):(\d\d(?:\.\d{1,9})?)")  # as Matroska says it


@dataclass
class Found:
    """Counts of what is unusual; each reading of the clip adds to them.

    Attributes
    ----------
    late
        Pictures left out, whose time is not later than that of the one before.
    resized
        Pictures of another size than the first.
    missing
        Seconds between the end of the pictures and the length that the clip says it has.
    """

    late: int = 0
    resized: int = 0
    missing: float = 0.0

    def end(self, length: float, seconds: Fraction, frame: Fraction) -> None:
        """Note that the pictures end after so many seconds; each takes ``frame`` of them."""
        missing = length - float(seconds)
        self.missing = missing if missing > 3 * frame else 0.0  # lengths are rounded

    @property
    def notes(self) -> tuple[str, ...]:
        """The same as short sentences."""
        notes = []
        if self.late:
            notes.append(
                f"{_frames(self.late)} left out, as times start over or overlap: "
                "ffmpeg -i IN OUT.mp4 makes them go on"
            )
        if self.resized:
            notes.append(f"{_frames(self.resized)} of another size, brought to that of the first")
        if self.missing:
            notes.append(
                f"the pictures end {self.missing:.1f} s before the length that the clip says: "
                "is the file whole?"
            )
        return tuple(notes)


def _frames(count: int) -> str:
    return f"{count} frame{'' if count == 1 else 's'}"


def said_length(container: Any, stream: Any) -> float:
    """Return how many seconds its pictures take, as a clip says; 0 where it does not."""
    if stream.duration:
        return float(stream.duration * stream.time_base)
    if said := _DURATION.fullmatch(stream.metadata.get("DURATION", "")):
        return 3600 * int(said[1]) + 60 * int(said[2]) + float(said[3])
    # Of several streams it is the longest one's, and that may be the sound.
    return (container.duration or 0) / av.time_base if len(container.streams) == 1 else 0.0
