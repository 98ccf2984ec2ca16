"""A network that threads run side by side, each a few patches at a time.

The threads of one run wait for one another after every operator. Runs of one thread each, side by
side, do not: on two cores they redraw the same patches in two thirds of the time. And a run is of
two patches, whose features fit the cache of one core: of four, each takes longer.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from pipeline.models import watch
from pipeline.models.session import Session

Part = TypeVar("Part")
Answer = TypeVar("Answer")

MOST = 2  # patches a run: with one alone, what a run costs by itself is felt


@dataclass(frozen=True)
class Lanes:
    """A network of which ``count`` runs go on side by side, of :data:`MOST` patches at most."""

    session: Session
    count: int

    def run(self, outputs: Sequence[str], inputs: dict[str, Any]) -> Sequence[Any]:
        """Run it once, as the session does."""
        return self.session.run(outputs, inputs)


def side_by_side(
    work: Callable[[Part], Answer], parts: Iterable[Part], lanes: int
) -> Iterator[Answer]:
    """Do some work for each part, ``lanes`` of them at a time; yield the answers in their order.

    As many again wait for a lane, so that none is idle while the caller deals with an answer; no
    part beyond these is asked for. The threads live as long as the iterator: what a process forks
    has nothing to forget, and starting them takes a thousandth of a run. Raises what ``work`` does.
    """
    work = watch.carried(work)
    waiting: deque[Future[Answer]] = deque()
    with ThreadPoolExecutor(lanes) as pool:
        try:
            for part in parts:
                waiting.append(pool.submit(work, part))
                if len(waiting) == 2 * lanes:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:  # where the caller has had enough
            for future in waiting:
                future.cancel()
