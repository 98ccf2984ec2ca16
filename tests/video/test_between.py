"""The frame between two follows from them, or is said to be in doubt."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from skimage import data

from pipeline import Result
from tests.conftest import ellipse, fake_cutout
from wisp.video.between import DOUBT, between, doubt
from wisp.video.motion import Link, link, reduced

HEIGHT, WIDTH = 150, 200
RED = np.array([210, 40, 30], np.float32)


@pytest.fixture(scope="module")
def ground() -> np.ndarray:
    return cv2.resize(data.coffee(), (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)


@pytest.fixture(scope="module")
def skin() -> np.ndarray:
    """Something to see on the subject: flow needs it."""
    photo = cv2.resize(data.astronaut(), (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
    return (0.5 * photo + 0.5 * RED).astype(np.float32)


def frame(ground: np.ndarray, skin: np.ndarray, shift: float) -> tuple[np.ndarray, Result]:
    """A subject over a ground that stands still, and its exact cutout."""
    move = np.array([[1, 0, shift], [0, 1, 0]], np.float32)
    soft = cv2.GaussianBlur(ellipse(HEIGHT, WIDTH), (0, 0), 2)
    alpha = np.asarray(cv2.warpAffine(soft, move, (WIDTH, HEIGHT)), np.float32)
    colours = cv2.warpAffine(skin, move, (WIDTH, HEIGHT), borderMode=cv2.BORDER_REPLICATE)
    seen = ground + alpha[..., None] * (colours - ground)
    image = np.clip(seen + 0.5, 0, 255).astype(np.uint8)
    foreground = np.clip(colours + 0.5, 0, 255).astype(np.uint8)
    return image, replace(fake_cutout(image), alpha=alpha, coarse=alpha, foreground=foreground)


def links(*images: np.ndarray) -> tuple[Link, Link]:
    one, two, three = map(reduced, images)
    return link(one, two), link(two, three)


def test_alpha_and_colours_follow(ground, skin):
    (a, before), (b, true), (c, after) = (frame(ground, skin, 2.0 * n) for n in range(3))
    behind, ahead = links(a, b, c)
    assert doubt(before.alpha, after.alpha, behind, ahead) < DOUBT
    result = between(before, b, after, behind, ahead)
    apart = np.abs(before.alpha - true.alpha).mean()
    assert np.abs(result.alpha - true.alpha).mean() < 0.35 * apart
    assert result.alpha.min() >= 0 and result.alpha.max() <= 1
    assert result.photo.image is b
    soft = (true.alpha > 0.2) & (true.alpha < 0.8)
    wrong = np.abs(result.foreground[soft].astype(int) - true.foreground[soft]).mean()
    assert wrong < 0.5 * np.abs(b[soft].astype(int) - true.foreground[soft]).mean()
    opaque = result.alpha == 1
    assert (result.foreground[opaque] == b[opaque]).all()


def test_where_nothing_moves_it_is_the_mean(ground, skin):
    image, cut = frame(ground, skin, 0)
    behind, ahead = links(image, image, image)
    other = replace(cut, alpha=cut.alpha * np.float32(0.5))
    result = between(cut, image, other, behind, ahead)
    assert np.abs(result.alpha - 0.75 * cut.alpha).max() < 0.01
    assert doubt(cut.alpha, other.alpha, behind, ahead) < DOUBT  # both can be seen: no doubt


def test_of_two_sides_the_one_that_shows_the_same_is_believed(ground, skin):
    """As where something was hidden until now: then the frame before knows nothing of it."""
    image, cut = frame(ground, skin, 0)
    behind, ahead = links(image, image, image)
    nothing = replace(cut, alpha=np.zeros_like(cut.alpha))
    unlike = replace(behind, trust=np.zeros_like(behind.trust))
    result = between(nothing, image, cut, unlike, ahead)
    assert np.abs(result.alpha - cut.alpha).max() < 0.01


def test_what_neither_side_shows_is_in_doubt(ground, skin):
    (a, before), (b, _), (c, after) = (frame(ground, skin, 2.0 * n) for n in range(3))
    gone = b.copy()
    gone[40:110, 50:150] = np.random.default_rng(0).integers(0, 255, (70, 100, 3))
    behind, ahead = links(a, gone, c)
    away = replace(after, alpha=np.roll(after.alpha, 25, 1))
    assert doubt(before.alpha, away.alpha, behind, ahead) > DOUBT
    assert doubt(before.alpha, before.alpha, *links(a, a, a)) < DOUBT
