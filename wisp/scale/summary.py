"""What is asked of a run, and what it has done so far."""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from wisp.scale.plan import Slice
from wisp.scale.rows import Row

_SLOWEST = 5


@dataclass(frozen=True)
class Wish:
    """What is to be made of a source.

    Attributes
    ----------
    to
        One of :data:`wisp.scale.sinks.KINDS`.
    digest
        Of the settings, see :func:`pipeline.batch.settings_digest`.
    facts
        The settings as a person reads them; two runs with different ones do not mix.
    ending
        Of a cutout's file, with its dot.
    part
        Which shards are this machine's.
    shards
        Their number; None lets the number of photos say.
    retry
        Whether photos that failed are tried again. Those that the store failed always are.
    """

    to: str
    digest: str
    facts: dict[str, Any]
    ending: str = ".png"
    part: Slice = Slice()
    shards: int | None = None
    retry: bool = False


@dataclass
class Summary:
    """What a run did, as it goes on."""

    done: int = 0
    failed: int = 0
    #: Finished by an earlier run, and of those the failed ones.
    skipped: int = 0
    failed_before: int = 0
    #: All photos of the source; 0 where that is not known.
    listed: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    begun: float = field(default_factory=time.monotonic)
    slowest: list[tuple[float, str]] = field(default_factory=list)

    def count(self, row: Row) -> None:
        if row.status == "done":
            self.done += 1
        else:
            self.failed += 1
        self.bytes_in += row.bytes_in or 0
        self.bytes_out += row.bytes_out or 0
        heapq.heappush(self.slowest, (row.seconds, row.path))
        if len(self.slowest) > _SLOWEST:
            heapq.heappop(self.slowest)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.begun


#: Called with each row of a run; with None as the planning goes on.
Tell = Callable[[Summary, Row | None], None]
