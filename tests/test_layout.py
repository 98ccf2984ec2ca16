"""Cropping, scaling and moving the subject."""

import numpy as np
import pytest

from pipeline import layout
from tests.conftest import ellipse


@pytest.mark.parametrize(
    ("text", "pixels"),
    [
        ("5%", (50, 20, 50, 20)),
        ("5", (5, 5, 5, 5)),
        ("10px 5%", (10, 20, 10, 20)),
        ("1px 2px 3px", (1, 2, 3, 2)),
        ("1px 2px 3px 4px", (1, 2, 3, 4)),
    ],
)
def test_margins(text, pixels):
    assert layout.margins(text, width=400, height=1000) == pixels


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


@pytest.mark.parametrize("size", [(300, 200), (40, 90), (1000, 20)])
@pytest.mark.parametrize(("scale", "position"), [(1.0, None), (0.5, (0.0, 1.0))])
def test_a_subject_is_laid_out_on_another_canvas(size, scale, position):
    alpha = ellipse(60, 100)
    foreground = np.full((60, 100, 3), (200, 10, 10), np.uint8)
    margin = "10% 4px 2px 5%"
    laid, colours = layout.arrange(alpha, foreground, scale, position, size, margin)
    width, height = size
    assert laid.shape == (height, width) and colours.shape == (height, width, 3)
    before, above = round(0.05 * width), round(0.1 * height)
    wide, tall = width - before - 4, height - above - 2
    left, top, right, bottom = layout.subject_box(laid)
    shares = (right - left) / wide, (bottom - top) / tall
    assert max(shares) == pytest.approx(scale, abs=0.06)
    x, y = position or (0.5, 0.5)
    assert left - before == pytest.approx(x * (wide - (right - left)), abs=1.5)
    assert top - above == pytest.approx(y * (tall - (bottom - top)), abs=1.5)
    assert (np.abs(colours[laid > 0.05].astype(int) - (200, 10, 10)) <= 1).all()
