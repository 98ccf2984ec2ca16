"""Cropping, scaling and moving the subject."""

import numpy as np
import pytest

from pipeline import layout
from tests.conftest import ellipse


@pytest.mark.parametrize(
    ("margin", "box"),
    [
        ("0px", (30, 20, 50, 60)),
        ("5px", (25, 15, 55, 65)),
        ("10%", (28, 16, 52, 64)),
        ("1000px", (0, 0, 90, 70)),
    ],
)
def test_crop_box(margin, box):
    alpha = np.zeros((70, 90), np.float32)
    alpha[20:60, 30:50] = 0.3
    alpha[0, 0] = 0.01  # noise that no one sees
    assert layout.subject_box(alpha, margin) == box


def test_with_no_subject_there_is_nothing_to_crop():
    assert layout.subject_box(np.zeros((7, 9), np.float32), "3px") == (0, 0, 9, 7)


def test_a_subject_is_scaled_and_moved():
    alpha = ellipse(60, 100)
    foreground = np.full((60, 100, 3), (200, 10, 10), np.uint8)
    moved, colours = layout.arrange(alpha, foreground, 0.5, (1.0, 0.0))
    left, top, right, bottom = layout.subject_box(moved)
    assert (right, top) == (100, 0) and bottom - top == 30
    assert (colours[moved > 0.05] == (200, 10, 10)).all()
    assert moved[:, :40].max() == 0
