"""A budget of bytes, in all and by visitor: for the memory that requests hold, and for the disk.

Whoever takes all that he may leaves at least the other half to everyone else.
"""

from __future__ import annotations

import threading
from collections import Counter
from types import TracebackType

from service.errors import Busy, ServiceError, TooMany

_WAIT = 5.0  # seconds after which a client may come again: most of what is held is held shorter


class Budget:
    """Counts the bytes that are held. Safe to use from several threads.

    Parameters
    ----------
    total
        Bytes that may be held at a time.
    share
        The part of it that one visitor may hold, 0..1.
    """

    def __init__(self, total: int, share: float = 0.5) -> None:
        self.total, self.each = total, int(total * share)
        self._lock = threading.Lock()
        self._held: Counter[str] = Counter()
        self._sum = 0

    @property
    def used(self) -> int:
        return self._sum

    def largest(self) -> str:
        """Return the visitor who holds the most, or nothing where nobody holds anything."""
        with self._lock:
            return max(self._held, key=self._held.__getitem__, default="")

    def hold(self, visitor: str, size: int = 0) -> Hold:
        """Take bytes for a visitor; given back at the end of a ``with``, or by ``release()``.

        Raises
        ------
        TooMany
            The visitor holds too much already.
        Busy
            All visitors together do.
        """
        held = Hold(self, visitor)
        held.grow(size)
        return held

    def _take(self, held: Hold, size: int) -> None:
        visitor = held.visitor
        with self._lock:
            if held.over:
                raise ServiceError(
                    "this was called off: nothing more is held for it", code="gone", status=499
                )
            if size > 0 and self._held[visitor] + size > self.each:
                raise TooMany(
                    "too much of yours is in work: wait for it, or send less at a time",
                    code="too_much_at_once",
                    retry_after=_WAIT,
                )
            if size > 0 and self._sum + size > self.total:
                raise Busy("too much is in work: try again in a moment", retry_after=_WAIT)
            self._count(held, size)

    def _give_back(self, held: Hold) -> None:
        with self._lock:
            held.over = True
            self._count(held, -held.size)

    def _count(self, held: Hold, size: int) -> None:
        held.size += size
        self._sum += size
        self._held[held.visitor] += size
        if self._held[held.visitor] <= 0:
            del self._held[held.visitor]


class Hold:
    """Bytes that a visitor holds, for as long as a ``with`` lasts."""

    def __init__(self, budget: Budget, visitor: str) -> None:
        self._budget, self.visitor = budget, visitor
        self.size = 0
        self.over = False

    def grow(self, size: int) -> None:
        """Hold so many bytes more. Raises as :meth:`Budget.hold` does, and then changes nothing.

        Raises :class:`ServiceError` after :meth:`release`: a thread may still be at work for who
        has gone, and nobody would give back what it takes.
        """
        self._budget._take(self, size)

    def release(self) -> None:
        """Give everything back, for good; more than once is no harm."""
        self._budget._give_back(self)

    def __enter__(self) -> Hold:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()
