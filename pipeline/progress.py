"""How far a cutout is, and what each of its stages took."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol


class Progress(Protocol):
    """Told how far a cutout is. What it raises ends the cutout, and reaches the caller.

    ``stage`` is one of those in :attr:`pipeline.Result.timings`, ``share`` how much of it is done,
    0..1. Each stage is told of as it begins, refine also after each batch of patches.
    """

    def __call__(self, stage: str, share: float, /) -> None: ...


def ignore(stage: str, share: float, /) -> None:
    """Stand in where nobody watches."""


@dataclass
class Clock:
    """Tells that a stage begins, and measures it: ``with clock("read"): …``."""

    progress: Progress
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        self.progress(stage, 0.0)
        start = time.perf_counter()
        yield
        self.seconds[stage] = time.perf_counter() - start
