"""What a box and clicks are worth: whom they are asked of, and where the clicks go."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest

pytest.importorskip("pytorch_optimizer", reason="training needs the extra 'train'")

from eval import hints
from eval.confidence import Case
from pipeline import Cutout
from pipeline.selection import Selection


def case(truth: np.ndarray) -> Case:
    photo = np.zeros((*truth.shape, 3), np.uint8)
    return Case("made", photo, truth, np.ones(truth.shape, bool))


class Obedient:
    """Finds the left half; cleared of each point to drop, filled at each point to keep."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self.shape = shape
        self.asked: list[Selection] = []

    def cut(self, photo: object, wanted: Selection, looks: object) -> SimpleNamespace:
        self.asked.append(wanted)
        height, width = self.shape
        alpha = np.zeros(self.shape, np.float32)
        alpha[:, : width // 2] = 1
        for points, value in ((wanted.points, 1), (wanted.not_points, 0)):
            for x, y in points:
                row, column = int(y * height), int(x * width)
                alpha[row - 8 : row + 9, column - 8 : column + 9] = value
        return SimpleNamespace(alpha=alpha)


def test_clicks_go_to_the_largest_mistake_and_say_what_it_is():
    truth = np.zeros((64, 96), bool)
    truth[:, :48] = True
    truth[20:37, 60:77] = True  # missed
    cutout = Obedient(truth.shape)
    ways = dict(hints.answers(cast(Cutout, cutout), case(truth)))
    assert list(ways) == list(hints.WAYS)
    nothing, box, first = cutout.asked
    assert not nothing.hinted and box.box == (0, 0, 77 / 96, 1) and not box.points
    assert first.points == ((68.5 / 96, 28.5 / 64),) and not first.not_points
    assert hints.figures(ways[hints.WAYS[1]], case(truth))[1] < 1
    assert hints.figures(ways[hints.WAYS[2]], case(truth))[1] == 1  # and no click more


def test_a_table_has_the_means_of_each_way():
    rows = {"nothing": [(10.0, 0.5, 4.0), (20.0, 0.9, 2.0)], "a box": [(30.0, 1.0, 0.0)]}
    assert hints.table(rows).splitlines()[2:] == [
        "| nothing | 2 | 50% | 15.0 dB | 50% | 3.00 |",
        "| a box | 1 | 100% | 30.0 dB | 100% | 0.00 |",
    ]
