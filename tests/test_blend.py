"""Promises 1 and 3 of the design: bit-exact where nothing changes, and no seam where it does."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import blend, patches, roi


def scene(height: int, width: int, seed: int = 0):
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (height, width, 3), np.uint8)
    y, x = np.mgrid[:height, :width]
    distance = np.hypot(y - height / 2, x - width / 2) - min(height, width) / 3
    coarse = np.clip(0.5 - distance / 12, 0, 1).astype(np.float32)
    coarse = np.clip(coarse + rng.normal(0, 0.01, coarse.shape), 0, 1).astype(np.float32)
    where = roi.find(coarse, threshold=0.06, reach=4)
    return image, coarse, where, patches.place(where)


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 500), st.integers(1, 500), st.integers(0, 99))
def test_a_generator_that_changes_nothing_changes_no_bit(height, width, seed):
    image, coarse, where, origins = scene(height, width, seed)
    unchanged = patches.cut(image, coarse, origins)[:, [3, 0, 1, 2]]
    alpha, foreground = blend.blend(image, coarse, where, origins, unchanged)
    assert np.array_equal(alpha, coarse)
    assert np.array_equal(foreground, image)


def test_outside_the_roi_nothing_changes_whatever_the_generator_says():
    image, coarse, where, origins = scene(400, 500)
    wild = np.random.default_rng(1).random((len(origins), 4, 128, 128), np.float32)
    alpha, foreground = blend.blend(image, coarse, where, origins, wild)
    assert np.array_equal(alpha[~where], coarse[~where])
    assert np.array_equal(foreground[~where], image[~where])
    assert not np.array_equal(alpha[where], coarse[where])
    assert alpha.min() >= 0
    assert alpha.max() <= 1


def test_deep_inside_the_roi_the_generator_has_its_way():
    image, coarse, _, _ = scene(300, 400)
    everywhere = np.ones(coarse.shape, bool)
    origins = patches.place(everywhere)
    refined = np.full((len(origins), 4, 128, 128), 0.25, np.float32)
    alpha, foreground = blend.blend(image, coarse, everywhere, origins, refined)
    assert np.abs(alpha - 0.25).max() < 1e-5
    assert (foreground == 64).all()


def test_no_seam():
    """Neighbours that disagree by a whole step blend without a step.

    Each tile answers a constant of its own, 0 or 1. The worst jump between two pixels must be
    that of the raised cosine itself, 1/8 where tiles overlap by 16 px, far from the 1.0 of a hard
    cut.
    """
    shape = (400, 600)
    everywhere = np.ones(shape, bool)
    origins = patches.place(everywhere)
    levels = (np.arange(len(origins)) % 2).astype(np.float32)
    refined = np.broadcast_to(levels[:, None, None, None], (len(origins), 4, 128, 128))
    coarse = np.full(shape, 0.5, np.float32)
    image = np.full((*shape, 3), 128, np.uint8)
    alpha, foreground = blend.blend(image, coarse, everywhere, origins, refined)
    inner = alpha[16:-16, 16:-16]
    assert inner.max() - inner.min() > 0.9
    for axis in (0, 1):
        assert np.abs(np.diff(inner, axis=axis)).max() < 0.126
        assert np.abs(np.diff(foreground[16:-16, 16:-16].astype(int), axis=axis)).max() < 33


def test_a_change_fades_in_from_the_border_of_the_roi():
    where = np.zeros((200, 200), bool)
    where[50:150, :] = True
    weight = blend.fade(where)
    assert (weight[~where] == 0).all()
    assert (weight[60:140] == 1).all()
    assert (np.diff(weight[48:60, 100]) >= 0).all()
    assert weight[100, 0] == 1  # the border of the image is no border of the ROI
    assert blend.fade(np.ones((5, 5), bool)) == pytest.approx(1)


def test_window_is_a_raised_cosine():
    window = blend.window()
    assert window.shape == (128, 128)
    assert window.min() > 0
    halves = window[:64] + window[64:]
    assert np.allclose(halves / halves[:1], 1, atol=1e-5)  # shifted by half, rows sum to a constant


def test_no_tiles():
    image, coarse, where, _ = scene(100, 100)
    none = np.empty((0, 4, 128, 128), np.float32)
    alpha, foreground = blend.blend(image, coarse, where & False, np.empty((0, 2), int), none)
    assert np.array_equal(alpha, coarse)
    assert np.array_equal(foreground, image)
    assert alpha is not coarse
    assert foreground is not image
