"""Straight alpha, backgrounds, and crops."""

import io

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from skimage import data

from pipeline import Output, SettingsError, UnreadableImage, UnsupportedFormat, compose
from tests.conftest import ellipse, encoded, fake_cutout


@pytest.fixture
def result(photo):
    return fake_cutout(photo)


# -- straight alpha --------------------------------------------------------------------------------


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 40))
def test_a_cutout_on_its_own_background_is_the_photo(seed, height, width):
    rng = np.random.default_rng(seed)
    foreground = rng.integers(0, 256, (height, width, 3), np.uint8)
    background = rng.integers(0, 256, (height, width, 3), np.uint8)
    alpha = rng.random((height, width), np.float32)
    alpha[rng.random((height, width)) < 0.5] = rng.integers(0, 2)
    exact = alpha[..., None] * foreground + (1 - alpha[..., None]) * background
    assert np.abs(compose.over(foreground, alpha, background) - exact).max() <= 0.5001
    # And from the file's 8 bits of alpha, by another program, within their rounding.
    image = Image.fromarray(compose.rgba(foreground, alpha))
    behind = Image.fromarray(background).convert("RGBA")
    again = np.asarray(Image.alpha_composite(behind, image).convert("RGB"))
    assert np.abs(again - exact).max() <= 1.6


def test_the_pixel_that_others_darken():
    pixel, half = np.array([[[200, 150, 100]]], np.uint8), np.full((1, 1), 128 / 255, np.float32)
    assert compose.rgba(pixel, half).tolist() == [[[200, 150, 100, 128]]]
    assert compose.over(pixel, half, (255, 255, 255)).tolist() == [[[227, 202, 177]]]


def test_what_was_cut_away_is_not_in_the_file(photo):
    alpha = np.linspace(0, 0.02, photo[..., 0].size, dtype=np.float32).reshape(photo.shape[:2])
    joined = compose.rgba(photo, alpha)
    gone = joined[..., 3] == 0
    assert 0 < gone.mean() < 1
    assert joined[gone].max() == 0
    assert np.array_equal(joined[~gone][:, :3], photo[~gone])


def test_every_level_of_alpha_survives():
    alpha = (np.arange(256) / 255).astype(np.float32).reshape(16, 16)
    assert compose.levels(alpha).ravel().tolist() == list(range(256))
    assert compose.rgba(np.zeros((16, 16, 3), np.uint8), alpha)[..., 3].ravel().tolist() == list(
        range(256)
    )


@pytest.mark.parametrize("shape", [(1, 1), (1, 5000), (5000, 1), (3, 3)])
def test_shapes(shape):
    rng = np.random.default_rng(0)
    foreground = rng.integers(0, 256, (*shape, 3), np.uint8)
    alpha = rng.random(shape, np.float32)
    assert compose.rgba(foreground, alpha).shape == (*shape, 4)
    for layer in ((1, 2, 3), "blur", data.coffee()):
        behind = compose.background(layer, foreground, alpha)
        assert compose.over(foreground, alpha, behind).shape == (*shape, 3)


def test_views_are_taken_and_not_changed(photo):
    alpha = ellipse(*photo.shape[:2])
    flipped = photo[:, ::-1]
    assert np.array_equal(compose.rgba(flipped, alpha), compose.rgba(flipped.copy(), alpha))
    assert np.array_equal(
        compose.over(flipped, alpha, (9, 9, 9)), compose.over(flipped.copy(), alpha, (9, 9, 9))
    )


# -- backgrounds -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "colour"),
    [
        ("white", (255, 255, 255)),
        ("#1e90ff", (30, 144, 255)),
        ("#fff", (255, 255, 255)),
        ("rgb(1, 2, 3)", (1, 2, 3)),
        ((4, 5, 6), (4, 5, 6)),
    ],
)
def test_colours(spec, colour, photo):
    layer = compose.layer(spec)
    assert compose.background(layer, photo, ellipse(64, 96)) == colour


def test_wrong_backgrounds(tmp_path):
    with pytest.raises(SettingsError, match="no colour"):
        compose.layer("whiteish")
    with pytest.raises(SettingsError, match="transparent"):
        compose.layer("#ffffff00")
    (tmp_path / "notes.txt").write_text("not a picture")
    with pytest.raises(UnreadableImage, match=r"notes\.txt"):
        compose.layer(str(tmp_path / "notes.txt"))


def test_a_picture_covers_and_keeps_its_shape(tmp_path, photo):
    # A white square in the middle of a tall picture stays square, and in the middle.
    tall = np.zeros((400, 100, 3), np.uint8)
    tall[180:220, 30:70] = 255
    (tmp_path / "tall.png").write_bytes(encoded(tall, "PNG"))
    layer = compose.layer(str(tmp_path / "tall.png"))
    behind = np.asarray(compose.background(layer, photo, ellipse(64, 96)))
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
    shown = (1 - alpha) * np.asarray(compose.background("blur", image, alpha))[..., 0]
    assert shown.max() <= 2
    naive = (1 - alpha) * cv2.GaussianBlur(image, (0, 0), 12)[..., 0]
    assert naive.max() > 30


def test_blur_blurs():
    image = data.coffee()
    alpha = np.zeros(image.shape[:2], np.float32)
    behind = np.asarray(compose.background("blur", image, alpha), float)
    assert (
        np.abs(np.diff(behind, axis=1)).mean() < 0.2 * np.abs(np.diff(image.astype(int), 1)).mean()
    )
    assert np.abs(behind.mean((0, 1)) - image.mean((0, 1))).max() < 5


def test_blur_of_a_photo_that_is_all_subject():
    behind = compose.background("blur", data.coffee(), np.ones(data.coffee().shape[:2], np.float32))
    assert np.isfinite(behind).all()


# -- crops -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("margin", "box"),
    [
        ("0px", (30, 20, 50, 60)),
        ("5px", (25, 15, 55, 65)),
        ("10%", (26, 16, 54, 64)),
        ("1000px", (0, 0, 90, 70)),
    ],
)
def test_crop_box(margin, box):
    alpha = np.zeros((70, 90), np.float32)
    alpha[20:60, 30:50] = 0.3
    alpha[0, 0] = 0.01  # noise that no one sees
    assert compose.crop_box(alpha, margin) == box


def test_with_no_subject_there_is_nothing_to_crop():
    assert compose.crop_box(np.zeros((7, 9), np.float32), "3px") == (0, 0, 9, 7)


@pytest.mark.parametrize("margin", ["5", "px", "-5px", "5em", "", "1e3px", "٥px%"])
def test_wrong_margins(margin):
    with pytest.raises(SettingsError, match="20px or 5%"):
        Output(margin=margin)


# -- the picture that is written -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("output", "shape"),
    [
        (Output(), (64, 96, 4)),
        (Output(only_mask=True), (64, 96)),
        (Output(background="white"), (64, 96, 3)),
        (Output(background="blur", crop=True), None),
        (Output(crop=True), None),
    ],
)
def test_render(result, output, shape):
    picture = compose.render(result, output)
    if shape is None:
        left, top, right, bottom = compose.crop_box(result.alpha)
        shape = (bottom - top, right - left, 3 if output.background else 4)
        assert shape[:2] != (64, 96)
    assert picture.shape == shape and picture.dtype == np.uint8


def test_a_crop_is_a_part_of_the_whole(result):
    left, top, right, bottom = compose.crop_box(result.alpha, "2px")
    whole = compose.render(result, Output())
    assert np.array_equal(
        compose.render(result, Output(crop=True, margin="2px")), whole[top:bottom, left:right]
    )


def test_a_crop_may_touch_the_border_and_be_written(tmp_path, photo):
    result = fake_cutout(photo)
    for format in ("png", "webp", "tiff"):
        compose.save(result, tmp_path / f"a.{format}", Output(format=format, crop=True))
        assert Image.open(tmp_path / f"a.{format}").mode == "RGBA"


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"format": "gif"}, "png, webp, tiff, jpg"),
        ({"format": "jpg"}, "background"),
        ({"quality": 50}, "lossless"),
        ({"format": "webp", "quality": 0}, "1..100"),
        ({"format": "webp", "quality": 101}, "1..100"),
        ({"only_mask": True, "background": "white"}, "one of the two"),
        ({"background": "whiteish"}, "no colour"),
    ],
)
def test_wrong_outputs(wrong, says):
    with pytest.raises(SettingsError, match=says):
        Output(**wrong)


def test_save_by_name(result, tmp_path):
    compose.save(result, tmp_path / "a.webp")
    assert Image.open(tmp_path / "a.webp").format == "WEBP"
    result.save(tmp_path / "a.jpg", Output(format="jpg", background="white"))
    assert Image.open(tmp_path / "a.jpg").mode == "RGB"
    with pytest.raises(UnsupportedFormat, match=r"\.gif"):
        compose.save(result, tmp_path / "a.gif")
    with pytest.raises(SettingsError, match="background"):
        compose.save(result, tmp_path / "b.jpg")


def test_size_and_resolution_are_kept(photo):
    result = fake_cutout(encoded(photo, "PNG", dpi=(300, 300)))
    opened = Image.open(io.BytesIO(compose.to_bytes(result)))
    assert opened.size == (96, 64)
    assert opened.info["dpi"] == pytest.approx((300, 300), abs=0.02)
    assert np.array_equal(np.asarray(opened), np.asarray(result.image))
