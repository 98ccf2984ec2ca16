"""From a result and an output to the file."""

import io
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from pipeline import (
    Output,
    Result,
    SettingsError,
    UnsupportedFormat,
    foreground,
    image_io,
    layout,
    render,
)
from tests.conftest import ellipse, encoded, fake_cutout


def cut(alpha: np.ndarray, image: np.ndarray | None = None) -> Result:
    if image is None:
        image = np.full((*alpha.shape, 3), 90, np.uint8)
    photo = image_io.read(image)
    roi = np.zeros(alpha.shape, bool)
    return Result(photo, alpha, photo.image, alpha, roi, np.zeros((0, 2), np.intp), {})


@pytest.fixture
def result(photo):
    return fake_cutout(photo)


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
    picture = render.render(result, output)
    if shape is None:
        left, top, right, bottom = layout.subject_box(result.alpha)
        shape = (bottom - top, right - left, 3 if output.background else 4)
        assert shape[:2] != (64, 96)
    assert picture.shape == shape and picture.dtype == np.uint8


def test_a_crop_is_a_part_of_the_whole(result):
    left, top, right, bottom = layout.subject_box(result.alpha, "2px")
    whole = render.render(result, Output())
    assert np.array_equal(
        render.render(result, Output(crop=True, margin="2px")), whole[top:bottom, left:right]
    )


def test_a_crop_may_touch_the_border_and_be_written(tmp_path, photo):
    result = fake_cutout(photo)
    for format in ("png", "webp", "tiff"):
        render.save(result, tmp_path / f"a.{format}", Output(format=format, crop=True))
        assert Image.open(tmp_path / f"a.{format}").mode == "RGBA"


@pytest.mark.parametrize("background", ["blur", "gradient:white,black", None, "#0000ff80"])
@pytest.mark.parametrize("format", ["png", "zip", "jpg"])
def test_what_lies_behind_is_as_large_as_the_size(result, background, format):
    output = Output(format=format, background=background, size=(90, 120), shadow=0.5)
    drawing = render.draw(result, output)
    assert (drawing.width, drawing.height) == (90, 120)
    if format != "zip":
        assert Image.open(io.BytesIO(drawing.data)).size == (90, 120)
    left, top, width, height = drawing.box
    assert min(left, top) >= 0 and left + width <= 90 and top + height <= 120


def test_a_blur_on_a_size_is_the_photos_own():
    image = np.zeros((60, 90, 3), np.uint8)
    image[..., 1] = 200
    alpha = np.zeros((60, 90), np.float32)
    alpha[20:40, 30:60] = 1
    image[alpha > 0] = (250, 0, 0)
    picture = render.render(cut(alpha, image), Output(background="blur", size=(50, 80), scale=0.5))
    assert np.abs(picture[0, 0].astype(int) - (0, 200, 0)).max() < 8
    assert np.abs(picture[40, 25].astype(int) - (250, 0, 0)).max() < 8


def test_save_by_name(result, tmp_path):
    render.save(result, tmp_path / "a.webp")
    assert Image.open(tmp_path / "a.webp").format == "WEBP"
    result.save(tmp_path / "a.jpg", Output(format="jpg", background="white"))
    assert Image.open(tmp_path / "a.jpg").mode == "RGB"
    with pytest.raises(UnsupportedFormat, match=r"\.gif"):
        render.save(result, tmp_path / "a.gif")
    render.save(result, tmp_path / "b.jpg")
    assert Image.open(tmp_path / "b.jpg").getpixel((0, 0)) == (255, 255, 255)


def test_size_and_resolution_are_kept(photo):
    result = fake_cutout(encoded(photo, "PNG", dpi=(300, 300)))
    opened = Image.open(io.BytesIO(render.to_bytes(result)))
    assert opened.size == (96, 64)
    assert opened.info["dpi"] == pytest.approx((300, 300), abs=0.02)
    assert np.array_equal(np.asarray(opened), np.asarray(result.image))


def test_outputs_join_it_all():
    result = cut(ellipse(64, 96))
    white = render.render(result, Output(background="white"))
    shaded = render.render(result, Output(background="white", shadow=1.0))
    assert shaded.shape == white.shape
    assert shaded.sum() < white.sum()
    assert np.array_equal(shaded[:20], white[:20])
    linear = render.render(result, Output(background="white", linear=True))
    soft = (result.alpha > 0.2) & (result.alpha < 0.8)
    assert (linear[soft] > white[soft]).mean() > 0.9  # lighter edges on white
    hard = (result.alpha == 0) | (result.alpha == 1)
    assert np.array_equal(linear[hard], white[hard])
    gradient = render.render(result, Output(background="gradient:white,black"))
    assert gradient[0, 0, 0] > 240 and gradient[-1, -1, 0] < 15
    tile = np.zeros((2, 2, 3), np.uint8)
    tile[0, 0] = 255
    tiled = render.render(result, Output(background=tile, fit="tile"))
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
        cleaned = render.render(result, output)[soft].astype(int)
        raw = render.render(cut(alpha, image), output)[soft].astype(int)
        spill = [(p[:, 1] - p[:, 2]).mean() for p in (cleaned, raw)]  # more green than blue
        assert spill[1] > 15
        assert spill[0] < 0.1 * spill[1]


def test_jpeg_without_a_background_is_white(result):
    picture = render.render(result, Output(format="jpg"))
    assert picture.shape == (64, 96, 3) and picture[0, 0].tolist() == [255, 255, 255]
    assert np.array_equal(picture, render.render(result, Output(background="white")))


def test_a_half_transparent_background(result):
    picture = render.render(result, Output(background="#0000ff80"))
    assert picture.shape == (64, 96, 4) and picture[0, 0].tolist() == [0, 0, 255, 128]
    flat = render.render(result, Output(background="#0000ff80", format="jpg"))
    assert np.abs(flat[0, 0].astype(int) - (127, 127, 255)).max() <= 1


def test_a_shadow_without_a_background_stays_transparent(result):
    plain, shaded = (render.render(result, Output(shadow=s)) for s in (0.0, 1.0))
    assert (shaded[..., 3] >= plain[..., 3]).all()
    below = (plain[..., 3] == 0) & (shaded[..., 3] > 40)
    assert below.any() and shaded[below][:, :3].max() == 0


def test_zip_holds_colour_and_alpha(result):
    drawing = render.draw(result, Output(format="zip"))
    with zipfile.ZipFile(io.BytesIO(drawing.data)) as archive:
        alpha = np.asarray(Image.open(archive.open("alpha.png")))
        assert Image.open(archive.open("color.jpg")).size == (96, 64)
    assert np.array_equal(alpha, np.asarray(result.image)[..., 3])
    assert (drawing.width, drawing.height) == (96, 64)


def _unzipped(drawing):
    with zipfile.ZipFile(io.BytesIO(drawing.data)) as archive:
        pictures = (Image.open(archive.open(name)) for name in ("alpha.png", "color.jpg"))
        alpha, colour = (np.asarray(picture).astype(int) for picture in pictures)
    assert alpha.shape == colour.shape[:2] == (drawing.height, drawing.width)
    return alpha, colour


def test_zip_holds_background_and_shadow_too(result):
    shaded = render.render(result, Output(shadow=1.0))
    alpha, _ = _unzipped(render.draw(result, Output(format="zip", shadow=1.0)))
    assert np.array_equal(alpha, shaded[..., 3])
    alpha, colour = _unzipped(render.draw(result, Output(format="zip", background="blue")))
    assert alpha.min() == 255 and np.abs(colour[0, 0] - (0, 0, 255)).max() < 8
    alpha, _ = _unzipped(render.draw(result, Output(format="zip", background="#0000ff80")))
    assert alpha[0, 0] == 128


def test_a_drawing_says_where_the_subject_is(result):
    drawing = render.draw(result, Output(crop=True, margin="3px"))
    left, top, width, height = drawing.box
    assert (left, top) == (3, 3) and (width + 6, height + 6) == (drawing.width, drawing.height)


def test_a_picture_file_as_background_is_decoded_when_drawn(result, photo):
    picture = render.render(result, Output(background=encoded(photo, "PNG")))
    assert np.array_equal(picture[0, 0], photo[0, 0])


def test_the_name_chooses_the_format_and_another_one_is_refused(tmp_path):
    result = cut(np.ones((8, 8), np.float32))
    for name, format in (("a.webp", "WEBP"), ("a.JPG", "JPEG"), ("a.png", "PNG")):
        render.save(result, tmp_path / name, Output(crop=True))
        with Image.open(tmp_path / name) as image:
            assert image.format == format
    with pytest.raises(UnsupportedFormat, match="leave the format out"):
        render.save(result, tmp_path / "b.webp", Output(format="jpg"))
    with pytest.raises(UnsupportedFormat, match="without an ending"):
        render.save(result, tmp_path / "b")
    assert sorted(path.name[0] for path in tmp_path.iterdir()) == ["a", "a", "a"]
    for name, output, format in (
        ("c", Output(crop=True), "PNG"),
        ("d.png", Output(format="auto", background="white"), "PNG"),
        ("e.jpg", Output(quality=5), "JPEG"),
    ):
        render.save(result, tmp_path / name, output)
        with Image.open(tmp_path / name) as image:
            assert image.format == format
    with pytest.raises(SettingsError, match="say which format"):
        render.to_bytes(result, Output(quality=5))
