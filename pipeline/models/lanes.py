"""A network whose batch is shared out among threads.

The threads of one run wait for one another after every operator. Runs of one thread each, side by
side, do not: on two cores they redraw the same patches in two thirds of the time. And a run is of
two patches, whose features fit the cache of one core: of four, each takes longer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from pipeline.models import watch
from pipeline.models.session import Session

MOST = 2  # patches a run: with one alone, what a run costs by itself is felt


@dataclass(frozen=True)
class Lanes:
    """Runs parts of a batch side by side, at most ``count`` at a time.

    The threads live as long as a run: what a process forks has nothing to forget, and starting them
    takes a thousandth of a run.
    """

    session: Session
    count: int

    def run(self, outputs: Sequence[str], inputs: dict[str, Any]) -> Sequence[Any]:
        """Compute as the session does; what has no dimension goes to each part of the batch.

        Raises what the session does, of the first part that fails.
        """
        length = max(len(value) for value in inputs.values() if np.ndim(value))
        runs = max(min(self.count, length), math.ceil(length / MOST))
        if runs < 2:
            return self.session.run(outputs, inputs)
        ends = np.linspace(0, length, runs + 1).astype(int)
        parts = [
            {name: value[a:b] if np.ndim(value) else value for name, value in inputs.items()}
            for a, b in zip(ends[:-1], ends[1:], strict=True)
        ]
        one = watch.carried(partial(self.session.run, outputs))
        with ThreadPoolExecutor(min(self.count, runs)) as pool:
            answers = list(pool.map(one, parts))
        return [np.concatenate(output) for output in zip(*answers, strict=True)]
