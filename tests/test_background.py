"""What is put behind a cutout: pictures, gradients, shadows, linear light, ID photos."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from skimage import data

from pipeline import SettingsError, background, compose, output
from pipeline.background import Gradient
from tests.conftest import ellipse, encoded

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
    assert background.darken(white, shade)[0, 0].tolist() == [0, 0, 0]
    assert (background.darken(white, shade)[1:] == 255).all()
    assert (
        background.darken(white, shade / np.float32(2))[0, 0].tolist() == [188] * 3
    )  # half the light


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


def test_a_picture_covers_and_keeps_its_shape(tmp_path, photo):
    # A white square in the middle of a tall picture stays square, and in the middle.
    tall = np.zeros((400, 100, 3), np.uint8)
    tall[180:220, 30:70] = 255
    (tmp_path / "tall.png").write_bytes(encoded(tall, "PNG"))
    layer = np.asarray(output.layer(str(tmp_path / "tall.png")))
    behind = np.asarray(background.backdrop(layer, photo, ellipse(64, 96)))
    assert behind.shape == photo.shape
    y, x = np.nonzero(behind[..., 0] > 127)
    assert abs(np.ptp(x) - np.ptp(y)) <= 1
    assert abs(x.mean() - 47.5) < 1 and abs(y.mean() - 31.5) < 1


def test_blur_does_not_bleed_the_subject(photo):
    # A red subject before a blue wall: no red may be left in the blurred wall.
    alpha = ellipse(300, 400)
    image = compose.over(
        np.full((300, 400, 3), (255, 0, 0), np.uint8), alpha, np.full((300, 400, 3), (0, 0, 200))
    )
    shown = (1 - alpha) * np.asarray(background.backdrop("blur", image, alpha))[..., 0]
    assert shown.max() <= 2
    naive = (1 - alpha) * cv2.GaussianBlur(image, (0, 0), 12)[..., 0]
    assert naive.max() > 30


def test_blur_blurs():
    image = data.coffee()
    alpha = np.zeros(image.shape[:2], np.float32)
    behind = np.asarray(background.backdrop("blur", image, alpha), float)
    assert (
        np.abs(np.diff(behind, axis=1)).mean() < 0.2 * np.abs(np.diff(image.astype(int), 1)).mean()
    )
    assert np.abs(behind.mean((0, 1)) - image.mean((0, 1))).max() < 5


def test_blur_of_a_photo_that_is_all_subject():
    behind = background.backdrop(
        "blur", data.coffee(), np.ones(data.coffee().shape[:2], np.float32)
    )
    assert np.isfinite(behind).all()
