"""A batch that is shared out among threads gives what one run gives, and ends as one run ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from pipeline import generator, models
from pipeline.errors import ModelTooSlow
from pipeline.models import watch
from pipeline.models.catalogue import REFINERS
from pipeline.models.lanes import Lanes
from pipeline.models.opening import open_refiner

CPU = ("CPUExecutionProvider",)


class Turning:
    """Answers with what it is fed, alpha first, and notes how much at a time it was asked for."""

    def __init__(self, check: Callable[[], None] = lambda: None) -> None:
        self.lengths: list[int] = []
        self.now = self.most = 0
        self.check = check
        self.lock = threading.Lock()

    def run(self, outputs: Sequence[str], inputs: dict[str, Any]) -> Sequence[Any]:
        with self.lock:
            self.lengths.append(len(inputs["patches"]))
            self.now += 1
            self.most = max(self.most, self.now)
        self.check()
        time.sleep(0.02)
        with self.lock:
            self.now -= 1
        return [inputs["patches"][:, [3, 0, 1, 2]]]


def strip(count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A photo of so many tiles beside one another, its mask, and the tiles."""
    photo, mask = np.zeros((128, 128 * count, 3), np.uint8), np.zeros((128, 128 * count))
    for number in range(count):
        mask[:, 128 * number :] = number / count
    return photo, mask.astype(np.float32), np.array([(0, 128 * n) for n in range(count)])


@pytest.mark.parametrize(
    "count, lengths",
    [(1, [1]), (2, [1, 1]), (5, [1, 2, 2]), (7, [1, 1, 1, 1, 1, 2]), (8, [1, 1, 1, 1, 2, 2])],
)
def test_patches_come_back_in_their_order(count: int, lengths: list[int]) -> None:
    session = Turning()
    redrawn = list(generator.redraw(Lanes(session, 3), *strip(count), 8))
    assert [patch[0].mean() for patch in redrawn] == pytest.approx(np.arange(count) / count)
    assert sorted(session.lengths) == lengths
    assert session.most == min(len(lengths), 3)


def test_what_a_run_raises_is_raised() -> None:
    def refuse() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        list(generator.redraw(Lanes(Turning(refuse), 2), *strip(4), 8))


def test_the_bundled_generator_answers_alike_in_lanes() -> None:
    photo, mask, tiles = strip(5)
    photo[:] = np.random.default_rng(0).integers(0, 256, photo.shape)
    alone, shared = (
        list(generator.redraw(opened.local_generator, photo, mask, tiles, 8))
        for opened in (open_refiner(REFINERS["wisp"], CPU, threads) for threads in (1, 2))
    )
    assert np.array_equal(alone, shared)


def test_all_lanes_end_when_the_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """The threads that work for a watched one are watched by the same."""
    monkeypatch.setattr(watch, "_TICK", 0.001)
    shared = open_refiner(REFINERS["wisp"], CPU, 2).local_generator
    with pytest.raises(ModelTooSlow), models.watched(models.within(0.0)):
        list(generator.redraw(shared, *strip(64), 8))


@pytest.mark.parametrize(("count", "ahead"), [(1, 2), (2, 4)])
def test_further_runs_wait_for_a_lane_while_one_is_blended(count: int, ahead: int) -> None:
    session, shares = Turning(), list[float]()
    lanes = Lanes(session, count) if count > 1 else session
    redrawn = generator.redraw(lanes, *strip(20), 2, shares.append)
    next(redrawn)
    deadline = time.monotonic() + 30
    while len(session.lengths) < ahead and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.1)
    assert session.lengths == [2] * ahead  # and no more, before another is taken
    assert len(list(redrawn)) == 19 and shares == pytest.approx([n / 10 for n in range(1, 11)])


def test_a_watch_is_carried_to_other_threads_and_taken_back() -> None:
    seen: list[object] = []

    def look(number: int) -> int:
        seen.append(getattr(watch._here, "watch", None))
        return number

    with models.watched(lambda: None):
        own, call = watch._here.watch, watch.carried(look)
    thread = threading.Thread(target=lambda: (call(0), look(0)))
    thread.start()
    thread.join()
    assert seen == [own, None]
