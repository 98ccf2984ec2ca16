"""Promises 1 and 3 of the design: bit-exact where nothing changes, and no seam where it does."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import blend, patches, roi
from tests.tiles import covered


def scene(height: int, width: int, seed: int = 0):
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (height, width, 3), np.uint8)
    y, x = np.mgrid[:height, :width]
    distance = np.hypot(y - height / 2, x - width / 2) - min(height, width) / 3
    coarse = np.clip(0.5 - distance / 12, 0, 1).astype(np.float32)
    coarse = np.clip(coarse + rng.normal(0, 0.01, coarse.shape), 0, 1).astype(np.float32)
    where = roi.find(coarse, threshold=0.06, reach=4)
    return image, coarse, where, patches.tile_origins(where)


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 500), st.integers(1, 500), st.integers(0, 99))
def test_a_generator_that_changes_nothing_changes_no_bit(height, width, seed):
    image, coarse, where, origins = scene(height, width, seed)
    unchanged = patches.extract(image, coarse, origins)[:, [3, 0, 1, 2]]
    alpha, foreground = blend.blend(image, coarse, np.ones_like(coarse, bool), origins, unchanged)
    assert np.array_equal(alpha, coarse)
    assert np.array_equal(foreground, image)


def test_outside_the_tiles_nothing_changes_whatever_the_generator_says():
    image, coarse, _, origins = scene(400, 500)
    where = covered(origins, 400, 500)
    assert where.any() and not where.all()
    wild = np.random.default_rng(1).random((len(origins), 4, 128, 128), np.float32)
    alpha, foreground = blend.blend(image, coarse, np.ones_like(coarse, bool), origins, wild)
    assert np.array_equal(alpha[~where], coarse[~where])
    assert np.array_equal(foreground[~where], image[~where])
    assert not np.array_equal(alpha[where], coarse[where])
    assert alpha.min() >= 0
    assert alpha.max() <= 1


def test_where_tiles_lie_all_around_the_generator_has_its_way():
    image, coarse, _, _ = scene(300, 400)
    everywhere = np.ones(coarse.shape, bool)
    origins = patches.tile_origins(everywhere)
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
    origins = patches.tile_origins(everywhere)
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


def test_a_change_fades_in_from_the_border_of_a_tile():
    coarse, image = np.zeros((300, 300), np.float32), np.zeros((300, 300, 3), np.uint8)
    ones = np.ones((1, 4, 128, 128), np.float32)
    alpha, foreground = blend.blend(image, coarse, coarse > 0, np.array([[100, 0]]), ones)
    assert (alpha[108:220, :120] == 1).all()  # all that a tile answers for
    assert (alpha[:100] == 0).all() and (alpha[:, 128:] == 0).all()
    assert (np.diff(alpha[96:110, 64]) >= 0).all() and np.diff(alpha[:, 64]).max() < 0.25
    assert (alpha[164, :120] == 1).all()  # the border of the image is no border of the tile
    assert np.abs(foreground / 255 - alpha[..., None]).max() < 0.003


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 400), st.integers(1, 400), st.integers(0, 99))
def test_all_of_the_roi_is_redrawn_in_full(height, width, seed):
    image, coarse, where, origins = scene(height, width, seed)
    refined = np.full((len(origins), 4, 128, 128), 0.5, np.float32)
    alpha, foreground = blend.blend(image, coarse, np.ones_like(coarse, bool), origins, refined)
    assert np.abs(alpha[where] - 0.5).max(initial=0) < 1e-5
    assert np.isin(foreground[where], (127, 128)).all()


def test_deep_inside_nothing_is_taken_away():
    coarse, image = np.full((200, 128), 0.5, np.float32), np.zeros((200, 128, 3), np.uint8)
    shallow = np.zeros((200, 128), bool)
    shallow[:80] = True
    origins = patches.tile_origins(np.ones_like(shallow))
    none, full = (np.full((len(origins), 4, 128, 128), value, np.float32) for value in (0, 1))
    less, _ = blend.blend(image, coarse, shallow, origins, none)
    assert less[:76].max() < 1e-6 and (less[80:] == 0.5).all()
    assert 0 < np.diff(less[74:82, 64]).max() <= 0.126  # over 4 px
    more, _ = blend.blend(image, coarse, shallow, origins, full)
    assert more.min() > 1 - 1e-6


def test_window_is_a_raised_cosine():
    window = blend.window(100, 100, 1000, 1000)
    assert window.shape == (128, 128)
    assert window.min() > 0
    middle = window[:, 64]
    assert np.allclose(middle[:64] + middle[64:], 1, atol=1e-5)  # shifted by half, they sum to 1
    assert (window == window.T).all() and np.allclose(window[::-1], window)
    assert (blend.window(0, 0, 128, 128) == 1).all()
    assert blend.window(0, 0, 50, 60).shape == (50, 60)


def test_no_tiles():
    image, coarse, _, _ = scene(100, 100)
    none = np.empty((0, 4, 128, 128), np.float32)
    alpha, foreground = blend.blend(image, coarse, coarse > 0, np.empty((0, 2), int), none)
    assert np.array_equal(alpha, coarse)
    assert np.array_equal(foreground, image)
    assert alpha is not coarse
    assert foreground is not image


def test_alpha_may_be_written_over_what_the_patches_are_made_of():
    rng = np.random.default_rng(0)
    coarse = rng.random((300, 400), dtype=np.float32)
    image = rng.integers(0, 256, (300, 400, 3), dtype=np.uint8)
    seen = rng.random((300, 400), dtype=np.float32)
    origins = np.array([[0, 0], [0, 100], [90, 40], [150, 272]])

    def redrawn(mask):  # each patch is made when it is taken
        for y, x in origins:
            yield np.stack([mask[y : y + patches.TILE, x : x + patches.TILE]] * 4) ** 2

    everywhere = np.ones_like(coarse, bool)
    alpha, colours = blend.blend(image, coarse, everywhere, origins, redrawn(seen))
    over, same = blend.blend(image, coarse, everywhere, origins, redrawn(seen), seen)
    assert over is seen
    assert np.array_equal(over, alpha) and np.array_equal(same, colours)
