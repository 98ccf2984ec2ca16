"""Composed scenes: the photo is what its alphas say."""

from __future__ import annotations

import numpy as np
import pytest

from u2net import drawings, scenes
from u2net.scenes import Pieces, Scene


@pytest.fixture(scope="module")
def pieces() -> Pieces:
    y, x = np.mgrid[:60, :40]
    disc = (((y - 30) / 30) ** 2 + ((x - 20) / 20) ** 2 < 1) * 255
    red = np.dstack((np.full((60, 40), 250), np.zeros((60, 40)), np.zeros((60, 40)), disc))
    grounds = np.random.default_rng(0).integers(60, 120, (3, 64, 64, 1), np.uint8).repeat(3, -1)
    rooms = np.array([True, False, False])
    return Pieces([red.astype(np.uint8)] * 2, np.array(["products", "hair"]), grounds, rooms)


@pytest.mark.parametrize("seed", range(12))
def test_products_stand_where_the_alpha_says(pieces, seed):
    scene = scenes.arranged(np.random.default_rng(seed), pieces, 96, "products")
    assert scene.photo.shape == (96, 96, 3) and scene.photo.dtype == np.uint8
    assert 1 <= len(scene.parts) <= 3
    truth = scene.truth
    assert truth.min() >= 0 and truth.max() <= 1 and (truth > 0.5).mean() > 0.01
    redder = scene.photo[..., 0].astype(int) - scene.photo[..., 1]
    assert (redder[truth > 0.98] > 60).all()
    assert len(scenes.arranged(np.random.default_rng(seed), pieces, 96, "hair").parts) == 1


def test_a_light_scene_is_light_and_its_subject_still_to_be_seen(pieces):
    scene = scenes.arranged(np.random.default_rng(1), pieces, 96, "products", light=True)
    inside, outside = scene.photo[scene.truth > 0.9], scene.photo[scene.truth < 0.1]
    assert inside.mean() > 130 and outside.mean() > 180
    assert abs(inside.mean() - outside.mean()) > 2


def test_a_shadow_lies_at_the_foot():
    alpha = np.zeros((96, 96), np.float32)
    alpha[20:60, 40:56] = 1
    dark = scenes.contact_shadow(np.random.default_rng(0), alpha)
    assert dark.min() >= 0 and dark.max() <= 0.85
    assert dark[58:64].mean() > 10 * dark[20:30].mean()
    assert not scenes.contact_shadow(np.random.default_rng(0), 0 * alpha).any()


def test_a_subject_moved_in_hides_what_is_behind_it(pieces):
    rng = np.random.default_rng(3)
    behind = Scene(np.zeros((96, 96, 3), np.uint8), [np.ones((96, 96), np.float32)])
    alpha = np.zeros((96, 96), np.float32)
    alpha[10:60, 10:60] = 1
    both = scenes.moved_in(rng, behind, np.full((96, 96, 3), 200, np.uint8), alpha)
    assert len(both.parts) == 2
    assert np.allclose(both.parts[0] + both.parts[1], 1)
    assert (both.photo[both.parts[1] > 0.99] > 190).all()
    nothing = scenes.moved_in(rng, behind, behind.photo, 0 * alpha)
    assert nothing is behind


def test_an_empty_scene_has_no_subject(pieces):
    scene = scenes.empty(np.random.default_rng(0), pieces, 64)
    assert scene.photo.shape == (64, 64, 3) and not scene.truth.any()


@pytest.mark.parametrize("seed", range(12))
def test_a_drawing_is_printed_where_its_alpha_is(seed):
    scene = drawings.drawing(np.random.default_rng(seed), 96)
    again = drawings.drawing(np.random.default_rng(seed), 96)
    assert np.array_equal(scene.photo, again.photo)
    truth = scene.truth
    assert (truth > 0.5).mean() > 0.002
    # The ground is smooth; where no alpha is, nothing is printed.
    ground = scene.photo.astype(float)
    ground[truth > 0] = np.nan
    assert np.nanmax(np.abs(np.diff(ground, axis=1))) < 30
