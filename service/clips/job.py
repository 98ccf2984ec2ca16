"""A clip on its way: what is asked for, how far it is, and what came of it."""

from __future__ import annotations

import asyncio
import secrets
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from service.budget import Hold
from service.clips.wish import Wish
from service.errors import Problem

State = Literal["waiting", "working", "done", "failed"]


@dataclass(eq=False)
class ClipJob:
    """A clip, and how far it is.

    Attributes
    ----------
    name
        192 random bits: knowing them is the permission to see it.
    visitor, owner
        Whose room it takes, and whose file comes of it: see :mod:`service.files`.
    state
        ``waiting``, ``working``, ``done`` or ``failed``.
    frames, of
        How many are done, and of how many where that is known.
    left
        Seconds that it will take, where that is known.
    file
        Where the result lies, or will.
    problem
        Why it failed.
    """

    wish: Wish
    visitor: str
    owner: str
    file: Path
    room: Hold
    name: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    state: State = "waiting"
    frames: int = 0
    of: int | None = None
    left: float | None = None
    problem: Problem | None = None
    notes: tuple[str, ...] = ()
    made: float = field(default_factory=time.time)
    task: asyncio.Task[None] | None = None
    _begun: float | None = None

    @property
    def active(self) -> bool:
        """Whether it waits or is in work."""
        return self.state in ("waiting", "working")

    @property
    def there(self) -> bool:
        """Whether there is a result to fetch: it is kept a day, or until newer files need room."""
        return self.state == "done" and self.file.is_file()

    def step(self, frames: int, of: int | None) -> None:
        """Note that so many frames are done."""
        now = time.monotonic()
        self.frames, self.of = frames, of
        if self._begun is None:  # the first frame takes the loading of the networks too
            self._begun = now
        elif of and frames > 1:
            self.left = max(0, of - frames) * (now - self._begun) / (frames - 1)
