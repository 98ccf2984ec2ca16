"""ID photos."""

import cv2
import numpy as np
import pytest

from pipeline import Output, SettingsError, id_photo, image_io, render
from pipeline.id_photo import IdPhoto
from tests.test_render import cut


def person(neck: bool = True) -> np.ndarray:
    """A head of 100 × 120 px on shoulders, (400, 300) float32; the crown at 60, x = 150."""
    y, x = np.mgrid[:400, :300]
    alpha = (((x - 150) / 50) ** 2 + ((y - 120) / 60) ** 2 < 1).astype(np.float32)
    if neck:
        alpha[170:215, 130:170] = 1
        alpha[215:, 40:260] = 1
    return alpha


def test_id_photo_sizes():
    assert id_photo.id_size(id_photo.ID_PHOTOS["eu"]) == (413, 531)
    assert id_photo.id_size(id_photo.ID_PHOTOS["us"]) == (602, 602)
    for preset in id_photo.ID_PHOTOS.values():
        assert 0.4 < preset.head + preset.above < 0.95
        assert preset.meaning


@pytest.mark.parametrize("name", id_photo.ID_PHOTOS)
def test_an_id_photo_has_the_head_where_it_belongs(name):
    preset: IdPhoto = id_photo.ID_PHOTOS[name]
    left, top, right, bottom = id_photo.id_box(person(), preset)
    width, height = right - left, bottom - top
    assert width / height == pytest.approx(preset.width / preset.height)
    assert (left + right) / 2 == pytest.approx(150, abs=1)
    assert (60 - top) / height == pytest.approx(preset.above, abs=0.02)
    assert 120 / height == pytest.approx(preset.head, rel=0.12)  # chin at 180


def test_what_is_no_portrait():
    with pytest.raises(SettingsError, match="no subject"):
        id_photo.id_box(np.zeros((9, 9), np.float32), id_photo.ID_PHOTOS["eu"])
    with pytest.raises(SettingsError, match="head and shoulders"):
        id_photo.id_box(person(neck=False), id_photo.ID_PHOTOS["eu"])


@pytest.mark.parametrize("name", id_photo.ID_PHOTOS)
def test_id_photos_have_their_size_and_colour(name):
    preset = id_photo.ID_PHOTOS[name]
    alpha = np.zeros((900, 700), np.float32)
    alpha[300:700, 200:500] = person()
    alpha[700:, 240:460] = 1
    result = cut(alpha)
    picture = render.render(result, Output(id_photo=name))
    assert picture.shape == (*id_photo.id_size(preset)[::-1], 3)
    assert picture[2, 2].tolist() == list(preset.colour)
    data = image_io.read(render.to_bytes(result, Output(id_photo=name)))
    assert data.dpi == pytest.approx((300, 300), abs=0.1)


def test_an_id_photo_needs_shoulders():
    with pytest.raises(SettingsError, match="px are missing at the bottom"):
        render.render(cut(person()[:225]), Output(id_photo="ca"))


@pytest.mark.parametrize("side", [1, 2, 3, 8, 16])
def test_what_is_too_small_for_a_portrait(side):
    y, x = np.mgrid[:side, :side] + 0.5
    ball = (np.hypot(y - side / 2, x - side / 2) < 0.4 * side + 0.5).astype(np.float32)
    for preset in id_photo.ID_PHOTOS.values():
        with pytest.raises(SettingsError, match="an ID photo needs"):
            id_photo.window(ball, id_photo.id_box(ball, preset))


def test_a_photo_far_narrower_than_the_id_photo_is_refused():
    narrow = np.asarray(cv2.resize(person(), (6, 1500)), np.float32)
    with pytest.raises(SettingsError, match="more to the left and right"):
        id_photo.id_box(narrow, id_photo.ID_PHOTOS["us"])


def test_the_subjects_box_is_in_the_pixels_of_the_file():
    alpha = np.zeros((900, 700), np.float32)
    alpha[300:700, 200:500] = person()
    alpha[700:, 240:460] = 1
    drawn = render.draw(cut(alpha), Output(id_photo="us"))
    left, top, width, height = drawn.box
    assert (drawn.width, drawn.height) == id_photo.id_size(id_photo.ID_PHOTOS["us"])
    assert left >= 0 and top > 0 and left + width <= drawn.width
    assert top + height == drawn.height  # shoulders reach down to the edge
