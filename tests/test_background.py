"""What is put behind a cutout: pictures, gradients, shadows, linear light, ID photos."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from skimage import data

from pipeline import Output, Result, SettingsError, background, compose, foreground, image_io
from pipeline.background import Gradient, IdPhoto
from tests.conftest import ellipse

RED, BLUE = (255, 0, 0), (0, 0, 255)


@pytest.mark.parametrize(
    "spec, expected",
    [
        ("gradient:red,blue", Gradient(RED, BLUE, 180)),
        ("gradient: red , #00f , 45deg", Gradient(RED, BLUE, 45)),
        ("gradient:#ff0000,blue,-90deg", Gradient(RED, BLUE, -90)),
        ("gradient:red,blue,radial", Gradient(RED, BLUE, None)),
    ],
)
def test_gradients_are_understood(spec, expected):
    assert background.gradient(spec) == expected


@pytest.mark.parametrize(
    "spec",
    ["gradient:", "gradient:red", "gradient:red,blu", "gradient:red,blue,up", "gradient:a,b,c,d"],
)
def test_what_is_no_gradient_is_told_so(spec):
    with pytest.raises(SettingsError, match="a gradient looks like gradient:white"):
        background.gradient(spec)


def test_a_gradient_goes_where_it_should():
    down = background.paint_gradient(Gradient(RED, BLUE, 180), 50, 80)
    assert down.shape == (50, 80, 3)
    assert down[0, :, 0].min() > 245 and down[-1, :, 2].min() > 245
    assert np.abs(down[25].astype(int) - (127, 0, 127)).max() <= 5
    right = background.paint_gradient(Gradient(RED, BLUE, 90), 50, 80)
    assert right[:, 0, 0].min() > 245 and right[:, -1, 2].min() > 245
    slanted = background.paint_gradient(Gradient(RED, BLUE, 135), 50, 80)
    assert slanted[0, 0, 0] > 250 and slanted[-1, -1, 2] > 250
    ring = background.paint_gradient(Gradient(RED, BLUE, None), 51, 81)
    assert ring[25, 40, 0] > 250 and ring[0, 0, 2] > 245


def test_close_colours_show_no_bands():
    picture = background.paint_gradient(Gradient((100,) * 3, (104,) * 3), 400, 400)
    assert set(np.unique(picture)) <= set(range(100, 105))
    rows = picture[..., 0].astype(float).mean(1)
    assert np.abs(rows - np.linspace(100, 104, 400)).max() < 0.15  # a band would be off by 0.5


def test_fill_fit_and_tile():
    picture = np.zeros((10, 20, 3), np.uint8)
    picture[:, :10] = 200
    fill = background.lay(picture, 40, 40, "fill")
    assert fill.shape == (40, 40, 3)
    assert fill[20, 2, 0] == 200 and fill[20, -3, 0] == 0  # its middle, cut evenly
    fit = background.lay(picture, 40, 40, "fit")
    assert np.abs(fit[12:28, 2:15].astype(int) - 200).max() <= 2  # whole, in the middle
    assert fit[12:28, 24:38].max() <= 2
    assert 0 < fit[2, 20, 0] < 200  # blurred above and below
    tile = background.lay(picture, 25, 50, "tile")
    assert np.array_equal(tile[:10, :20], picture)
    assert np.array_equal(tile[20:25, 40:50], picture[:5, :10])
    for how in background.FITS:
        assert background.lay(picture, 7, 3, how).shape == (7, 3, 3)


def test_a_shadow_lies_where_the_subject_stands():
    alpha = np.zeros((200, 300), np.float32)
    alpha[50:150, 100:200] = 1
    dark = background.shadow(alpha)
    assert dark.shape == alpha.shape
    assert dark.min() >= 0 and dark.max() <= 1
    ground = dark[150, 150]
    assert ground > 0.7
    assert dark[152, 150] < ground  # fades downwards
    assert dark[170, 150] < 0.01
    assert dark[20].max() < 0.001  # none above
    assert dark[151, 60] < dark[151, 95] < dark[151, 150]  # soft to the side
    assert np.allclose(dark, dark[:, ::-1], atol=1e-5)
    assert background.shadow(np.zeros((9, 9), np.float32)).max() == 0


def test_a_shadow_darkens_light():
    white = np.full((4, 4, 3), 255, np.uint8)
    shade = np.zeros((4, 4), np.float32)
    shade[0, 0] = 1
    assert background.darken(white, shade, 1)[0, 0].tolist() == [0, 0, 0]
    assert (background.darken(white, shade, 1)[1:] == 255).all()
    assert background.darken(white, shade, 0.5)[0, 0].tolist() == [188] * 3  # half the light


def test_linear_light():
    levels = np.arange(256, dtype=np.uint8).reshape(1, 256, 1).repeat(3, 2)
    for alpha in (0, 1):  # what is not mixed comes through exactly
        flat = np.full((1, 256), alpha, np.float32)
        black = np.zeros_like(levels)
        front, back = (levels, black) if alpha else (black, levels)
        assert np.array_equal(background.over_linear(front, flat, back), levels)
    white, black = np.full((1, 1, 3), 255, np.uint8), np.zeros((1, 1, 3), np.uint8)
    half = np.full((1, 1), 0.5, np.float32)
    assert background.over_linear(white, half, black)[0, 0].tolist() == [188] * 3
    assert background.over_linear(white, half, np.array((0, 0, 0)))[0, 0].tolist() == [188] * 3


def test_linear_light_works_in_strips():
    photo = data.astronaut()
    alpha = ellipse(*photo.shape[:2])
    whole = background.over_linear(photo, alpha, photo)
    assert np.abs(whole.astype(int) - photo).max() <= 0


def person(neck: bool = True) -> np.ndarray:
    """A head of 100 × 120 px on shoulders, (400, 300) float32; the crown at 60, x = 150."""
    y, x = np.mgrid[:400, :300]
    alpha = (((x - 150) / 50) ** 2 + ((y - 120) / 60) ** 2 < 1).astype(np.float32)
    if neck:
        alpha[170:215, 130:170] = 1
        alpha[215:, 40:260] = 1
    return alpha


def test_id_photo_sizes():
    assert background.id_size(background.ID_PHOTOS["eu"]) == (531, 413)
    assert background.id_size(background.ID_PHOTOS["us"]) == (602, 602)
    for preset in background.ID_PHOTOS.values():
        assert 0.4 < preset.head + preset.above < 0.95
        assert preset.meaning


@pytest.mark.parametrize("name", background.ID_PHOTOS)
def test_an_id_photo_has_the_head_where_it_belongs(name):
    preset: IdPhoto = background.ID_PHOTOS[name]
    left, top, right, bottom = background.id_box(person(), preset)
    width, height = right - left, bottom - top
    assert width / height == pytest.approx(preset.width / preset.height)
    assert (left + right) / 2 == pytest.approx(150, abs=1)
    assert (60 - top) / height == pytest.approx(preset.above, abs=0.02)
    assert 120 / height == pytest.approx(preset.head, rel=0.12)  # chin at 180


def test_what_is_no_portrait():
    with pytest.raises(SettingsError, match="no subject"):
        background.id_box(np.zeros((9, 9), np.float32), background.ID_PHOTOS["eu"])
    with pytest.raises(SettingsError, match="head and shoulders"):
        background.id_box(person(neck=False), background.ID_PHOTOS["eu"])


# As outputs.


def cut(alpha: np.ndarray, image: np.ndarray | None = None) -> Result:
    if image is None:
        image = np.full((*alpha.shape, 3), 90, np.uint8)
    photo = image_io.read(image)
    roi = np.zeros(alpha.shape, bool)
    return Result(photo, alpha, photo.image, alpha, roi, np.zeros((0, 2), np.intp), {})


def test_outputs_join_it_all():
    result = cut(ellipse(64, 96))
    white = compose.render(result, Output(background="white"))
    shaded = compose.render(result, Output(background="white", shadow=1.0))
    assert shaded.shape == white.shape
    assert shaded.sum() < white.sum()
    assert np.array_equal(shaded[:20], white[:20])
    linear = compose.render(result, Output(background="white", linear=True))
    soft = (result.alpha > 0.2) & (result.alpha < 0.8)
    assert (linear[soft] > white[soft]).mean() > 0.9  # lighter edges on white
    hard = (result.alpha == 0) | (result.alpha == 1)
    assert np.array_equal(linear[hard], white[hard])
    gradient = compose.render(result, Output(background="gradient:white,black"))
    assert gradient[0, 0, 0] > 240 and gradient[-1, -1, 0] < 15
    tile = np.zeros((2, 2, 3), np.uint8)
    tile[0, 0] = 255
    tiled = compose.render(result, Output(background=tile, fit="tile"))
    assert (tiled[:8:2, :8:2] == 255).all() and (tiled[1:8:2] == 0)[:, :8].all()


def test_no_old_background_shines_through():
    """A soft edge before green, put on white: with the cleaned colours nothing is green there."""
    alpha = ellipse(120, 160)
    red = np.zeros((120, 160, 3)) + (200, 40, 40)
    green = np.zeros((120, 160, 3)) + (0, 255, 0)
    image = (alpha[..., None] * red + (1 - alpha[..., None]) * green).round().astype(np.uint8)
    colours = foreground.estimate(image, alpha)
    result = replace(cut(alpha, image), foreground=colours)
    soft = (alpha > 0.1) & (alpha < 0.9)
    for linear in (False, True):
        output = Output(background="white", linear=linear)
        cleaned = compose.render(result, output)[soft].astype(int)
        raw = compose.render(cut(alpha, image), output)[soft].astype(int)
        spill = [(p[:, 1] - p[:, 2]).mean() for p in (cleaned, raw)]  # more green than blue
        assert spill[1] > 15
        assert spill[0] < 0.1 * spill[1]


@pytest.mark.parametrize("name", background.ID_PHOTOS)
def test_id_photos_have_their_size_and_colour(name):
    preset = background.ID_PHOTOS[name]
    alpha = np.zeros((900, 700), np.float32)
    alpha[300:700, 200:500] = person()
    alpha[700:, 240:460] = 1
    result = cut(alpha)
    picture = compose.render(result, Output(id_photo=name))
    assert picture.shape == (*background.id_size(preset), 3)
    assert picture[2, 2].tolist() == list(preset.colour)
    data = image_io.read(compose.to_bytes(result, Output(id_photo=name)))
    assert data.dpi == pytest.approx((300, 300), abs=0.1)


def test_an_id_photo_needs_shoulders():
    with pytest.raises(SettingsError, match="px are missing at the bottom"):
        compose.render(cut(person()[:225]), Output(id_photo="ca"))


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"fit": "stretch"}, "fit must be one of fill, fit, tile"),
        ({"shadow": 2, "background": "white"}, "shadow must lie within"),
        ({"shadow": 0.5}, "need a background"),
        ({"linear": True}, "need a background"),
        ({"id_photo": "mars"}, "an ID photo is one of eu, us"),
        ({"id_photo": "eu", "crop": True}, "its own size"),
        ({"id_photo": "eu", "only_mask": True}, "its own size"),
    ],
)
def test_wrong_outputs(wrong, message):
    with pytest.raises(SettingsError, match=message):
        Output(**wrong)
