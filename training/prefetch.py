"""Batches made in a thread while the step before is computed."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

Item = TypeVar("Item")


def prefetch(items: Iterator[Item], ahead: int = 1) -> Iterator[Item]:
    """Yield ``items`` in their order, up to ``ahead`` of them made before they are asked for.

    One thread makes them, so ``items`` need not be thread-safe; NumPy, OpenCV and torch let it run
    beside the training. What making one raises is raised where it would have been yielded.

    >>> list(prefetch(iter(range(4)), ahead=2))
    [0, 1, 2, 3]
    """
    end: Any = object()
    with ThreadPoolExecutor(1, "prefetch") as pool:
        pending = deque(pool.submit(next, items, end) for _ in range(ahead))
        while (item := pending.popleft().result()) is not end:
            pending.append(pool.submit(next, items, end))
            yield item
