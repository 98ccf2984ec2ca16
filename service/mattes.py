"""The mattes of photos that visitors are at work on.

Another background, format or crop is drawn from the matte, and a stroke is added to it: the
networks do not run again for what they have seen.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from pipeline import Result
from pipeline.retouch import Patch, Stroke, copied, put

_PATIENCE = 1800.0  # seconds for which a matte waits for its visitor


class Brush(Protocol):
    """:meth:`pipeline.Cutout.stroked`."""

    def __call__(self, result: Result, stroke: Stroke, refine: bool, /) -> Patch | None: ...


@dataclass(frozen=True)
class Matte:
    """A result with strokes in it, and what was there before the latest of them."""

    result: Result
    strokes: tuple[Stroke, ...] = ()
    before: tuple[Patch | None, ...] = ()

    @property
    def size(self) -> int:
        """Bytes that it takes in memory."""
        r = self.result
        size = r.photo.image.nbytes + r.alpha.nbytes + r.foreground.nbytes + r.coarse.nbytes
        size += r.roi.nbytes + (0 if r.photo.alpha is None else r.photo.alpha.nbytes)
        return size + _bytes(self.before)

    def leads_to(self, strokes: tuple[Stroke, ...]) -> bool:
        """Whether all that it has beside these strokes can still be taken back."""
        return len(self.strokes) - self._shared(strokes) <= len(self.before)

    def with_strokes(
        self,
        strokes: tuple[Stroke, ...],
        brush: Brush,
        refine: bool,
        most: int,
        step: Callable[[float], None],
    ) -> Matte:
        """Return it with these strokes in it and no others: what both have is kept as it is.

        Parameters
        ----------
        strokes
            Some that it :meth:`leads_to`.
        most
            Bytes that what is returned may take. What was there before the oldest strokes goes
            first: these cannot be taken back then.
        step
            Called before each stroke with the share that is done; what it raises ends the work.
        """
        same = self._shared(strokes)
        stay = len(self.before) - (len(self.strokes) - same)
        result, before = self.result, deque(self.before[:stay])
        for patch in reversed(self.before[stay:]):
            step(0.0)
            result = put(result, patch) if patch else result
        room = most - Matte(result).size
        for done, stroke in enumerate(strokes[same:]):
            step(done / (len(strokes) - same))
            patch = brush(result, stroke, refine)
            before.append(copied(result, patch.box) if patch else None)
            while before and _bytes(before) > room:
                before.popleft()
            result = put(result, patch) if patch else result
        return Matte(result, strokes, tuple(before))

    def _shared(self, strokes: tuple[Stroke, ...]) -> int:
        """Return with how many strokes both begin."""
        shared = 0
        for one, other in zip(self.strokes, strokes, strict=False):
            if one != other:
                break
            shared += 1
        return shared


def _bytes(areas: Iterable[Patch | None]) -> int:
    return sum(area.size for area in areas if area)


class Mattes:
    """Keeps mattes in memory, by visitor: the longest unused goes first. For several threads.

    Parameters
    ----------
    total
        Bytes that they may take, all together.
    each
        Those of one visitor.
    """

    def __init__(self, total: int, each: int) -> None:
        self.total, self.each = total, each
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, str], tuple[Matte, int, float]] = OrderedDict()

    @property
    def most(self) -> int:
        """Bytes that one matte may take."""
        return min(self.each, self.total)

    @property
    def used(self) -> int:
        with self._lock:
            return sum(size for _, size, _ in self._kept.values())

    def get(self, visitor: str, name: str) -> Matte | None:
        """Return what was kept for a visitor under a name; None where it is not, or no more."""
        with self._lock:
            self._sweep()
            entry = self._kept.get((visitor, name)) if visitor else None
            if entry is None:
                return None
            self._kept[visitor, name] = (*entry[:2], time.monotonic())
            self._kept.move_to_end((visitor, name))
            return entry[0]

    def keep(self, visitor: str, name: str, matte: Matte) -> None:
        """Keep a matte for a visitor, where there is one and it is not too large."""
        size = matte.size
        with self._lock:
            self._kept.pop((visitor, name), None)
            self._sweep()
            if not visitor or size > self.most:
                return
            self._make_room(self.each - size, visitor)
            self._make_room(self.total - size)
            self._kept[visitor, name] = (matte, size, time.monotonic())

    def _make_room(self, room: int, visitor: str = "") -> None:
        """Drop the longest unused (of one visitor) until they take no more than ``room``."""
        names = [name for name in self._kept if not visitor or name[0] == visitor]
        taken = sum(self._kept[name][1] for name in names)
        for name in names:
            if taken <= room:
                return
            taken -= self._kept.pop(name)[1]

    def _sweep(self) -> None:
        now = time.monotonic()
        for name, (_, _, used) in list(self._kept.items()):
            if now - used > _PATIENCE:
                del self._kept[name]
