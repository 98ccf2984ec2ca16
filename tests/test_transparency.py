"""Photos that have transparency already: light subjects stay, and a cutout stays what it is."""

from typing import Any

import numpy as np
import pytest
from skimage import data

from pipeline import Cutout, compose, transparency
from pipeline.image_io import Photo


@pytest.fixture(scope="module")
def cutout():
    return Cutout()


def disc(side: int, radius: float, at: tuple[float, float] = (0.5, 0.5)) -> np.ndarray:
    y, x = np.mgrid[:side, :side] + 0.5
    far = np.hypot(y - at[0] * side, x - at[1] * side)
    return np.clip(radius * side - far + 0.5, 0, 1)


def white_logo() -> np.ndarray:
    alpha = disc(256, 0.29)
    return np.dstack([np.full((256, 256, 3), 255), alpha * 255]).astype(np.uint8)


def white_card() -> np.ndarray:
    card = np.zeros((256, 256))
    card[64:192, 64:192] = 255
    dot = disc(256, 0.08)[..., None]
    colour = 255 * (1 - dot) + np.array([220, 0, 0]) * dot
    return np.dstack([colour, card]).astype(np.uint8)


@pytest.mark.parametrize("make", [white_logo, white_card])
@pytest.mark.parametrize("turned", [False, True], ids=["light", "dark"])
def test_subjects_of_one_colour_stay(cutout, make, turned):
    rgba = make()
    if turned:
        rgba[..., :3] = 255 - rgba[..., :3]
    result = cutout(rgba)
    own = rgba[..., 3] / 255
    assert result.alpha[own > 0].mean() >= 0.95 * own[own > 0].mean()
    assert (result.alpha <= own + 1e-6).all()


@pytest.mark.parametrize("name", ["astronaut", "chelsea", "coffee"])
def test_cutting_a_cutout_again_changes_nothing(cutout, name):
    once = np.asarray(cutout(getattr(data, name)()).image)
    again = cutout(once)
    assert np.array_equal(np.asarray(again.image), once)
    assert "cut out already: left as it is" in again.photo.notes


def test_a_round_portrait_is_still_cut_out(cutout):
    image = data.astronaut()
    result = cutout(np.dstack([image, (disc(512, 0.5) * 255).astype(np.uint8)]))
    assert result.alpha.mean() < 0.8 * disc(512, 0.5).mean()  # some of its ground is kept
    assert not result.photo.notes


def test_the_ground_stands_out():
    def ground(*colours: int) -> int:
        image = np.zeros((8, 8, 3), np.uint8)
        image[:, :] = 77  # what is hidden has no say
        alpha = np.zeros((8, 8), np.float32)
        for column, colour in enumerate(colours):
            image[:, column], alpha[:, column] = colour, 1
        return int(transparency.opaque(Photo(image, alpha))[0, -1, 0])

    assert ground(120) == ground(20, 120) == 255
    assert ground(250) == ground(250, 120) == 0
    assert ground(250, 10) == 128


def test_an_empty_photo_is_no_cutout():
    empty = np.zeros((4, 4), np.float32)
    assert not transparency.separates(empty, empty)


@pytest.mark.parametrize("name", ["chelsea", "coffee"])
@pytest.mark.parametrize("refine", [True, False])
def test_where_alpha_is_written_as_255_the_colour_is_the_photos(cutout, name, refine):
    image = getattr(data, name)()
    result = cutout(image, refine=refine)
    written = np.asarray(result.image)
    solid = written[..., 3] == 255
    assert solid.any() and np.array_equal(written[solid][:, :3], image[solid])


def test_keep_opaque():
    image, foreground = np.full((1, 4, 3), 9, np.uint8), np.full((1, 4, 3), 5, np.uint8)
    alpha = np.array([[1, 254.6 / 255, 254.4 / 255, 0]], np.float32)
    compose.keep_opaque(foreground, alpha, image)
    assert foreground[0, :, 0].tolist() == [9, 9, 5, 5]


@pytest.mark.parametrize("chosen", ["keep", "not_points", "mask"])
def test_of_a_cutout_only_what_a_person_chooses_stays(chosen):
    large, small = disc(200, 0.3, (0.5, 0.45)), disc(200, 0.06, (0.1, 0.9))
    own = np.maximum(large, small)
    photo = np.dstack([np.full((200, 200, 3), (200, 40, 40)), np.rint(own * 255)]).astype(np.uint8)
    only_large: dict[str, Any] = {
        "keep": "largest",
        "not_points": [(0.9, 0.1)],
        "mask": large.astype(np.float32),
    }
    result = Cutout(refine=False)(photo, **{chosen: only_large[chosen]})
    assert result.alpha[20, 180] < 0.05 and result.alpha[100, 90] > 0.95
