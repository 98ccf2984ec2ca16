"""Hints are where a person would mark: in the object, not in another one, on what is wrong."""

from __future__ import annotations

import numpy as np
import pytest

from u2net import hints
from u2net.hints import DROP, FAINT, KEEP


def square(top: int, left: int, size: int, side: int = 96) -> np.ndarray:
    truth = np.zeros((side, side), np.float32)
    truth[top : top + size, left : left + size] = 1
    return truth


def test_separate_objects_are_told_apart_and_crumbs_left_out():
    truth = square(5, 5, 30) + square(50, 50, 25) + square(90, 90, 2)
    truth[34, 5:35] = 0.4  # a soft edge belongs to its object
    parts = hints.objects(truth)
    assert len(parts) == 2
    assert np.array_equal(sum(parts), truth - square(90, 90, 2))
    assert hints.objects(np.zeros((8, 8), np.float32)) == []


@pytest.mark.parametrize("seed", range(40))
def test_simulated_hints_point_at_the_target(seed):
    target, other = square(5, 5, 40), square(60, 60, 30)
    planes = hints.simulate(np.random.default_rng(seed), target, other)
    assert planes.shape == (2, 96, 96) and planes.dtype == np.float32
    assert planes.min() == 0 and planes.max() in (np.float32(FAINT), 1)
    # Some of "keep" lies on the target, and none on the other object; no "drop" is on the target's
    # inside.
    assert planes[KEEP][target > 0].any() == planes[KEEP].any()
    assert not planes[KEEP][70:, 70:].any()
    assert not planes[DROP][10:40, 10:40].any()


def test_a_box_alone_is_full_and_one_with_clicks_is_faint():
    levels = set()
    for seed in range(60):
        planes = hints.simulate(np.random.default_rng(seed), square(20, 20, 50), square(0, 0, 0))
        levels.add(tuple(np.unique(planes[KEEP])))
    assert (0, 1) in levels and (0, np.float32(FAINT), 1) in levels


def test_corrections_click_on_the_largest_mistakes():
    target, predicted = square(10, 10, 30), square(60, 60, 20)
    planes = hints.correction(np.zeros((2, 96, 96), np.float32), predicted, target, clicks=2)
    assert planes[KEEP, 25, 25] == 1 and planes[DROP, 70, 70] == 1
    assert not planes[KEEP][predicted > 0].any() and not planes[DROP][target > 0].any()
    right = np.zeros((2, 96, 96), np.float32)
    assert not hints.correction(right, target, target, clicks=3).any()


def test_one_of_several_is_meant_most_often():
    parts = [square(0, 0, 10), square(30, 30, 10), square(60, 60, 10)]
    sizes = [hints.choose(np.random.default_rng(k), parts).sum() / 100 for k in range(60)]
    assert set(sizes) == {1.0, 2.0, 3.0} and sizes.count(1.0) > 30
