"""What is found out about a clip only as its frames are read, and is told at the end."""

from __future__ import annotations

from dataclasses import dataclass


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

    @property
    def notes(self) -> tuple[str, ...]:
        """The same as short sentences."""
        notes = []
        if self.late:
            notes.append(
                f"{self.late} frames left out, whose times start over or overlap with others: "
                "ffmpeg -i IN OUT.mp4 makes them go on"
            )
        if self.resized:
            notes.append(f"{self.resized} frames of another size were brought to the first one's")
        if self.missing:
            notes.append(
                f"the pictures end {self.missing:.1f} s before the length that the clip says: "
                "is the file whole?"
            )
        return tuple(notes)
