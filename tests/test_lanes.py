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


class Doubling:
    """Doubles what it is fed, and notes how many at a time it was asked for, and how much."""

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
        factor = 2 if inputs["afar"] else 1
        return [inputs["patches"] * factor, inputs["patches"] + 1]


@pytest.mark.parametrize(
    "length, lengths", [(1, [1]), (2, [1, 1]), (5, [1, 2, 2]), (7, [1, 2, 2, 2]), (8, [2, 2, 2, 2])]
)
def test_the_parts_of_a_batch_come_back_in_their_order(length: int, lengths: list[int]) -> None:
    session = Doubling()
    patches = np.arange(length * 4, dtype=np.float32).reshape(length, 4)
    one, two = Lanes(session, 3).run(["a", "b"], {"patches": patches, "afar": np.array(True)})
    assert np.array_equal(one, patches * 2) and np.array_equal(two, patches + 1)
    assert sorted(session.lengths) == lengths
    assert session.most == min(len(lengths), 3)


def test_what_a_part_raises_is_raised() -> None:
    def refuse() -> None:
        raise ValueError("no")

    feed = {"patches": np.zeros((4, 1), np.float32), "afar": np.array(False)}
    with pytest.raises(ValueError, match="no"):
        Lanes(Doubling(refuse), 2).run(["a"], feed)


def test_the_bundled_generator_answers_alike_in_lanes() -> None:
    patches = np.random.default_rng(0).random((5, 4, 128, 128), np.float32)
    alone, shared = (
        open_refiner(REFINERS["wisp"], CPU, threads).local_generator for threads in (1, 2)
    )
    assert np.array_equal(generator.run(alone, patches), generator.run(shared, patches))


def test_all_lanes_end_when_the_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """The threads that work for a watched one are watched by the same."""
    monkeypatch.setattr(watch, "_TICK", 0.001)
    shared = open_refiner(REFINERS["wisp"], CPU, 2).local_generator
    patches = np.zeros((64, 4, 128, 128), np.float32)
    with pytest.raises(ModelTooSlow), models.watched(models.within(0.0)):
        generator.run(shared, patches)


def test_the_next_batch_is_computed_while_one_is_blended() -> None:
    photo, mask = np.zeros((128, 640, 3), np.uint8), np.zeros((128, 640), np.float32)
    origins = np.array([(0, 128 * n) for n in range(5)])
    started: list[int] = []

    class Same:
        def run(self, outputs: Sequence[str], inputs: dict[str, Any]) -> Sequence[Any]:
            started.append(len(inputs["patches"]))
            return [inputs["patches"]]

    shares: list[float] = []
    redrawn = generator.redraw(Same(), photo, mask, origins, 2, shares.append)
    next(redrawn)
    deadline = time.monotonic() + 30
    while len(started) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert started == [2, 2]  # the second batch, and not yet the third
    assert len(list(redrawn)) == 4 and shares == [0.4, 0.8, 1.0]


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
