"""What stage 1 has answered is remembered: the same answers, within bounds."""

from pathlib import Path

import numpy as np
from skimage import data

from pipeline import selection
from pipeline.looks import Looks
from pipeline.models.catalogue import CoarseModel
from pipeline.selection import Selection
from tests.networks import Function

CARD = CoarseModel(Path("none.onnx"), "", "", "")
LOOK = 320 * 320 * 4  # bytes


def bright(batch: np.ndarray) -> np.ndarray:
    return (batch.mean(1, keepdims=True) > 0).astype(np.float32)


def test_a_click_after_a_first_look_runs_its_nearer_looks_alone():
    session, looks, image = Function(bright), Looks(20 * LOOK), data.astronaut()
    point = Selection(points=((0.5, 0.2),))
    fresh, _ = selection.see(Function(bright), CARD, image, point)
    remembering = looks.through(session, "a")
    selection.see(remembering, CARD, image)
    assert len(session.batches) == 2
    sight, _ = selection.see(remembering, CARD, image, point)
    assert len(session.batches) == 4  # the two around the point
    assert np.array_equal(sight.mask, fresh.mask) and sight.cells == fresh.cells
    selection.see(remembering, CARD, image, point)
    assert len(session.batches) == 4


def test_another_photo_and_another_network_are_asked():
    session, looks, image = Function(bright), Looks(20 * LOOK), data.astronaut()
    selection.see(looks.through(session, "a"), CARD, image, looks=1)
    selection.see(looks.through(session, "b"), CARD, image, looks=1)
    selection.see(looks.through(session, "a"), CARD, image[::-1].copy(), looks=1)
    assert len(session.batches) == 3


def test_the_longest_unused_is_forgotten():
    session, looks = Function(bright), Looks(2 * LOOK)
    network = looks.through(session, "a")
    shown = [np.full((1, 3, 320, 320), value, np.float32) for value in (0.1, 0.2, 0.3)]
    for number in (0, 1, 0, 2, 0, 1):  # 2 takes the place of 1
        network.run(["d0"], {"input": shown[number]})
    assert len(session.batches) == 4


def test_without_room_nothing_is_kept():
    session = Function(bright)
    network = Looks(0).through(session, "a")
    for _ in range(2):
        network.run(["d0"], {"input": np.zeros((1, 3, 320, 320), np.float32)})
    assert len(session.batches) == 2
