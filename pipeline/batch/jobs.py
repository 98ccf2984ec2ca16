"""What a run consists of: a photo and where its cutout goes, and what became of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

#: The name that stands for standard input and output.
STREAM = Path("-")


@dataclass(frozen=True)
class Job:
    """One photo to cut out.

    Attributes
    ----------
    source, target
        Files; :data:`STREAM` is standard input or output.
    name
        What the photo is called below the output folder, without an ending of the output's own.
    problem
        Why it cannot be done, where that is known beforehand.
    mask
        A file that replaces stage 1, if any.
    """

    source: Path
    target: Path = STREAM
    name: Path = Path("cutout")
    problem: str = ""
    mask: Path | None = None


def numbered(target: Path, number: int) -> Path:
    """Return the name of a subject's file, of the first one's, which ends in -1."""
    return target if number == 1 else target.with_stem(f"{target.stem.removesuffix('-1')}-{number}")


@dataclass(frozen=True)
class Outcome:
    """What became of a job.

    Attributes
    ----------
    status
        "done", "skipped" (was finished before) or "failed".
    seconds
        From opening the photo to the finished file.
    timings
        Seconds by stage.
    size
        (width, height) of the photo in pixels; None if it was not read.
    notes
        What the user may want to know, a short sentence each.
    error
        Why it failed, in one line.
    confidence
        How likely the subject is whole (:attr:`pipeline.Result.confidence`); None if it was not
        looked for.
    final
        Whether no other photo can succeed either: the disk is full.
    others
        Files beside the target: where each subject has one, those from the second subject on.
    """

    job: Job
    status: str
    seconds: float = 0.0
    timings: dict[str, float] = field(default_factory=dict)
    size: tuple[int, int] | None = None
    notes: tuple[str, ...] = ()
    error: str = ""
    confidence: float | None = None
    final: bool = False
    others: tuple[Path, ...] = ()

    @property
    def outputs(self) -> tuple[Path, ...]:
        """All files of the cutout; none of a photo that failed."""
        return () if self.status == "failed" else (self.job.target, *self.others)
