"""Pictures in, as the world has them, and pictures out. Pillow is the reference."""

import contextlib
import io
import os
import struct
import warnings
import zlib
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageOps, PngImagePlugin

from pipeline import (
    ImageError,
    ImageTooLarge,
    OutputError,
    SettingsError,
    UnreadableImage,
    UnsupportedFormat,
    image_io,
)
from pipeline.image_io import reading, writing
from tests.conftest import encoded

LOSSLESS = ("PNG", "TIFF")
READ = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF")


@pytest.fixture(autouse=True)
def no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def png(width: int, height: int, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG's header and the given chunks: whatever size, there is nothing behind it."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = [(b"IHDR", header), *chunks, (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in parts
    )


def icc(space: bytes, gamma: float, primaries: str = "rgb") -> bytes:
    """A small ICC profile with sRGB's primaries, in any order, and a plain gamma."""
    xyz = {
        "r": (0.43607, 0.22249, 0.01392),
        "g": (0.38515, 0.71687, 0.09708),
        "b": (0.14307, 0.06061, 0.71410),
    }

    def fixed(*values: float) -> bytes:
        return struct.pack(f">{len(values)}i", *(round(value * 65536) for value in values))

    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256)) + bytes(2)
    tags = {b"wtpt": b"XYZ " + bytes(4) + fixed(0.9642, 1, 0.8249)}
    if space == b"GRAY":
        tags[b"kTRC"] = curve
    else:
        for channel, source in zip("rgb", primaries, strict=True):
            tags[f"{channel}XYZ".encode()] = b"XYZ " + bytes(4) + fixed(*xyz[source])
            tags[f"{channel}TRC".encode()] = curve
    table, body = struct.pack(">I", len(tags)), b""
    for name, content in tags.items():
        table += name + struct.pack(">II", 132 + 12 * len(tags) + len(body), len(content))
        body += content
    header = bytes(8) + struct.pack(">I", 0x02400000) + b"mntr" + space + b"XYZ "
    header += struct.pack(">6H", 2000, 1, 1, 0, 0, 0) + b"acsp" + bytes(28)
    header += fixed(0.9642, 1, 0.8249) + bytes(48)
    return struct.pack(">I", 128 + len(table) + len(body)) + header[4:] + table + body


# -- every kind of picture -------------------------------------------------------------------------


@pytest.mark.parametrize("format", READ)
def test_formats(photo, format):
    data = encoded(photo, format)
    read = image_io.read(data)
    assert read.format.upper() == format
    assert read.image.dtype == np.uint8 and read.image.flags.c_contiguous
    assert read.alpha is None
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    assert np.array_equal(read.image, expected)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "CMYK", "YCbCr", "PA", "HSV"])
@pytest.mark.parametrize("format", [None, "PNG", "TIFF", "JPEG"])
def test_modes_are_what_pillow_makes_of_them(photo, mode, format):
    image = Image.fromarray(photo)
    image = image.convert("P").convert("PA") if mode == "PA" else image.convert(mode)
    if format is None:
        assert np.array_equal(image_io.read(image).image, np.asarray(image.convert("RGB")))
        return
    try:
        data = encoded(image, format)
        expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    except OSError:  # Pillow before 13 cannot read the YCbCr TIFF that it writes
        pytest.skip(f"{format} has no {mode} here")
    assert np.array_equal(image_io.read(data).image, expected)


def test_cmyk_jpeg_of_photoshop_is_not_a_negative(photo):
    # Pillow writes, as Photoshop does, inverted values with an Adobe marker.
    data = encoded(Image.fromarray(photo).convert("CMYK"), "JPEG", quality=95)
    assert b"Adobe" in data
    assert np.abs(image_io.read(data).image.astype(int) - photo).mean() < 8


def test_lab(photo):
    srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    image = ImageCms.profileToProfile(Image.fromarray(photo), srgb, lab, outputMode="LAB")
    assert image is not None
    read = image_io.read(encoded(image, "TIFF"))
    assert np.abs(read.image.astype(int) - photo).max() <= 6


@pytest.mark.parametrize("format", LOSSLESS)
def test_16_bits_are_scaled_not_clipped(format):
    grey = np.arange(256, dtype=np.uint16).reshape(16, 16) * 257
    read = image_io.read(encoded(Image.fromarray(grey), format))
    assert np.array_equal(read.image[..., 0], np.arange(256).reshape(16, 16))
    assert read.alpha is None


def tiff(width: int, height: int, bits: int, data: bytes, *more: tuple[int, int]) -> bytes:
    tags = {256: width, 257: height, 258: bits, 259: 1, 262: 1, 273: 0, 277: 1, 278: height}
    tags |= {279: len(data), **dict(more)}
    tags[273] = 8 + 2 + 12 * len(tags) + 4
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, tags[tag]) for tag in sorted(tags))
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + data


def test_12_bit_scans():
    read = image_io.read(tiff(4, 1, 12, bytes([0, 0x0F, 0xFF, 0x80, 0x00, 0x00])))
    assert read.image[0, :, 0].tolist() == [0, 255, 128, 0]


@pytest.mark.parametrize("white", [1.0, 255.0, 65535.0, 3e6])
def test_floats_of_any_usual_range(white):
    values = np.linspace(0, white, 256, dtype=np.float32).reshape(16, 16)
    read = image_io.read(encoded(Image.fromarray(values), "TIFF"))
    assert np.array_equal(read.image[..., 1], np.arange(256).reshape(16, 16))
    assert any("float" in note for note in read.notes)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("channels", [3, 4])
def test_float_colours(photo, kind, channels):
    values = np.dstack([photo[..., ::-1], photo[..., 0]])[..., :channels] / kind(255)
    values[0, 0, 0] = np.nan
    plain = [cv2.IMWRITE_TIFF_COMPRESSION, 1]
    data = cv2.imencode(".tiff", values, plain)[1].tobytes()
    read = image_io.read(data)
    expected = photo.copy()
    expected[0, 0, 2] = 0
    assert np.array_equal(read.image, expected)
    assert read.format == "TIFF" and read.notes == ("float samples, read as 0..1",)
    if channels == 4:
        assert read.alpha is not None
        assert np.array_equal(np.rint(read.alpha * 255), photo[..., 0])
    with pytest.raises(ImageTooLarge):
        image_io.read(data, max_pixels=100)
    for end in (30, 200, len(data) // 2, len(data) - 20):
        with pytest.raises(ImageError):
            image_io.read(data[:end])


def test_floats_that_are_no_numbers():
    values = np.array([[np.nan, np.inf, -np.inf, -1, 0.5, 1.2]], np.float32)
    read = image_io.read(encoded(Image.fromarray(values), "TIFF"))
    assert read.image[0, :, 0].tolist() == [0, 255, 0, 0, 128, 255]
    huge = np.dstack([np.array([[1e300, 1.0]])] * 3)
    plain = [cv2.IMWRITE_TIFF_COMPRESSION, 1]
    assert image_io.read(cv2.imencode(".tiff", huge, plain)[1].tobytes()).image.max() <= 255
    nothing = np.full((2, 2), np.nan, np.float32)
    assert image_io.read(encoded(Image.fromarray(nothing), "TIFF")).image.max() == 0


# -- transparency ----------------------------------------------------------------------------------


@pytest.mark.parametrize("format", ["PNG", "TIFF", "WEBP"])
def test_alpha_is_kept_and_colours_under_it(photo, format):
    alpha = np.tile(np.linspace(0, 255, 96).astype(np.uint8), (64, 1))
    options = {"lossless": True, "exact": True} if format == "WEBP" else {}
    read = image_io.read(encoded(np.dstack([photo, alpha]), format, **options))
    assert read.alpha is not None and read.alpha.dtype == np.float32
    assert np.array_equal(read.alpha, alpha / np.float32(255))
    assert np.array_equal(read.image, photo)


def test_an_alpha_that_hides_nothing_is_none(photo):
    opaque = np.dstack([photo, np.full((64, 96), 255, np.uint8)])
    assert image_io.read(encoded(opaque, "PNG")).alpha is None
    assert image_io.read(opaque).alpha is None


@pytest.mark.parametrize("mode", ["P", "L", "RGB", "1", "I;16"])
def test_a_transparent_colour(mode):
    grey = Image.fromarray(np.array([[0, 255, 0, 255]], np.uint8))
    key: object = 0
    if mode == "I;16":
        image = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    else:
        image = grey.convert(mode)
    if mode == "RGB":
        key = (0, 0, 0)
    if mode == "P":
        key = bytes([128] + [255] * 255)
    read = image_io.read(encoded(image, "PNG", transparency=key))
    half = 128 / 255 if mode == "P" else 0
    assert read.alpha is not None
    assert read.alpha[0].tolist() == pytest.approx([half, 1, half, 1])
    assert read.image[0, :, 0].tolist() == [0, 255, 0, 255]


def test_premultiplied_colours_are_made_straight():
    image = Image.fromarray(np.array([[[200, 150, 100, 128]]], np.uint8)).convert("RGBa")
    read = image_io.read(image)
    assert np.abs(read.image[0, 0].astype(int) - (200, 150, 100)).max() <= 1


# -- orientation, colour profiles, metadata --------------------------------------------------------


@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF", "WEBP", "AVIF"])
@pytest.mark.parametrize("orientation", [0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
def test_orientation_is_applied_once(photo, format, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(photo, format, exif=exif)
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
    read = image_io.read(data)
    assert np.array_equal(read.image, np.asarray(expected))
    assert read.image.flags.c_contiguous
    # And not again, when the result is written and read.
    again = image_io.read(image_io.encode(read.image, exif=read.exif))
    assert np.array_equal(again.image, read.image)


def test_orientation_turns_the_alpha_too(photo):
    exif = Image.Exif()
    exif[0x0112] = 6
    alpha = np.arange(64 * 96, dtype=np.uint32).reshape(64, 96).astype(np.uint8)
    read = image_io.read(encoded(np.dstack([photo, alpha]), "PNG", exif=exif))
    assert read.alpha is not None
    assert np.array_equal(np.rint(read.alpha * 255), np.rot90(alpha, -1))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P"])
def test_colours_are_converted_to_srgb(photo, mode):
    profile = icc(b"RGB ", 1.0, "bgr")  # linear, with red and blue exchanged
    data = encoded(Image.fromarray(photo).convert(mode), "PNG", icc_profile=profile)
    opened = Image.open(io.BytesIO(data)).convert("RGB")
    expected = ImageCms.profileToProfile(
        opened, io.BytesIO(profile), ImageCms.createProfile("sRGB"), outputMode="RGB"
    )
    read = image_io.read(data)
    assert np.array_equal(read.image, np.asarray(expected))
    assert np.abs(read.image.astype(int) - np.asarray(opened)).mean() > 20
    assert read.notes == ()


def test_grey_profiles():
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16)
    read = image_io.read(encoded(ramp, "PNG", icc_profile=icc(b"GRAY", 1.8)))
    value = (ramp / 255) ** 1.8
    srgb = np.where(value <= 0.0031308, 12.92 * value, 1.055 * value ** (1 / 2.4) - 0.055)
    assert np.abs(read.image[..., 0] - srgb * 255).max() <= 2


def test_an_srgb_profile_by_any_name_changes_nothing(photo):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert np.array_equal(image_io.read(encoded(photo, "PNG", icc_profile=profile)).image, photo)


@pytest.mark.parametrize(
    "profile", [b"garbage", icc(b"RGB ", 2.2)[:200], icc(b"GRAY", 2.2), bytes(128)]
)
def test_a_wrong_profile_is_ignored_with_a_note(photo, profile):
    read = image_io.read(encoded(photo, "PNG", icc_profile=profile))
    assert np.array_equal(read.image, photo)
    assert any("profile" in note and "ignored" in note for note in read.notes)


def test_metadata_worth_keeping_is_kept(photo):
    exif = Image.Exif()
    exif[0x010F], exif[0x0132], exif[0x8298] = "Maker", "2024:05:06 07:08:09", "© me"
    exif[0x0112] = 3
    exif.get_ifd(0x8769)[0x829A] = 1 / 250
    exif.get_ifd(0x8769)[0x927C] = b"the maker's secrets"
    exif.get_ifd(0x8825)[2] = (52.0, 31.0, 12.0)
    read = image_io.read(encoded(photo, "JPEG", exif=exif, dpi=(300, 200)))
    assert read.dpi == (300, 200)
    for format in image_io.FORMATS:
        written = image_io.encode(photo, format, dpi=read.dpi, exif=read.exif)
        opened = Image.open(io.BytesIO(written))
        kept = opened.getexif()
        assert kept[0x010F] == "Maker" and kept[0x0132] == "2024:05:06 07:08:09", format
        if format != "tiff":
            assert kept.get_ifd(0x8769)[0x829A] == pytest.approx(1 / 250)
        assert 0x0112 not in kept or kept[0x0112] == 1
        assert 0x8825 not in kept and 0x927C not in kept.get_ifd(0x8769)
        assert b"secrets" not in written
        if format != "webp":
            assert [round(float(value)) for value in opened.info["dpi"]] == [300, 200], format


@pytest.mark.parametrize("format", image_io.FORMATS)
def test_metadata_without_exposure_details(photo, format):
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    read = image_io.read(encoded(photo, "JPEG", exif=exif))
    written = image_io.encode(photo, format, exif=read.exif)
    assert Image.open(io.BytesIO(written)).getexif()[0x010F] == "Maker"


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")  # which is what Pillow says of it
def test_broken_metadata_harms_nothing(photo):
    exif = b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + np.random.default_rng(0).bytes(64)
    assert image_io.read(encoded(photo, "PNG", exif=exif)).image.shape == photo.shape


@pytest.mark.parametrize("dpi", [(0, 0), (1e9, 1e9)])
def test_a_senseless_resolution_is_dropped(photo, dpi):
    assert image_io.read(encoded(photo, "TIFF", dpi=dpi)).dpi is None


# -- several frames --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("format", "note"),
    [
        ("GIF", "animated: the first frame was taken"),
        ("PNG", "animated: the first frame was taken"),
        ("WEBP", "animated: the first frame was taken"),
        ("TIFF", "several pages: the first was taken"),
    ],
)
def test_the_first_frame_is_taken_and_said_so(format, note):
    frames = [Image.new("RGB", (32, 32), colour) for colour in ("red", "green", "blue")]
    read = image_io.read(encoded(frames[0], format, save_all=True, append_images=frames[1:]))
    assert note in read.notes
    assert np.abs(read.image.astype(int) - (255, 0, 0)).max() <= 8


def test_of_a_pil_image_the_frame_that_it_is_at_is_taken():
    frames = [Image.new("RGB", (32, 32), colour) for colour in ("red", "green", "blue")]
    image = Image.open(
        io.BytesIO(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    )
    image.seek(2)
    read = image_io.read(image)
    assert read.image[0, 0].tolist() == [0, 0, 255]
    assert read.notes == () and read.format == "GIF" and image.tell() == 2


def test_the_preview_in_a_phones_jpeg_is_no_animation(photo):
    image = Image.fromarray(photo)
    read = image_io.read(encoded(image, "MPO", save_all=True, append_images=[image]))
    assert read.format == "JPEG"
    assert read.notes == ()


# -- what a source may be --------------------------------------------------------------------------


def test_sources(photo, tmp_path):
    data = encoded(photo, "PNG")
    path = tmp_path / "a.png"
    path.write_bytes(data)
    behind = io.BytesIO(b"some header" + data)
    behind.seek(len(b"some header"))

    class Pipe(io.RawIOBase):
        def __init__(self) -> None:
            self.rest = io.BytesIO(data)

        def readable(self) -> bool:
            return True

        def readinto(self, buffer) -> int:
            return self.rest.readinto(buffer)

    with open(path, "rb") as file:
        for source in (path, str(path), data, bytearray(data), file, behind, Pipe(), photo):
            assert np.array_equal(image_io.read(source).image, photo), source
    assert image_io.read(path).path == path
    grey = photo[..., 0]
    assert np.array_equal(image_io.read(grey).image, np.dstack([grey] * 3))
    assert np.array_equal(image_io.read(np.asfortranarray(photo)).image, photo)


def test_sources_are_not_changed(photo):
    image = Image.fromarray(photo).convert("RGBA")
    image.info["icc_profile"] = icc(b"RGB ", 1.0)
    before = image.tobytes()
    array = photo.copy()
    image_io.read(image)
    image_io.read(array).image[:] = 0
    assert image.tobytes() == before and image.mode == "RGBA"
    assert np.array_equal(array, photo)


@pytest.mark.parametrize(
    ("array", "says"),
    [
        (np.zeros((4, 4, 3), np.int64), "int64"),
        (np.zeros((4, 4, 2), np.uint8), r"\(4, 4, 2\)"),
        (np.zeros(4, np.uint8), r"\(4,\)"),
        (np.zeros((0, 4, 3), np.uint8), "no pixels"),
    ],
)
def test_wrong_arrays(array, says):
    with pytest.raises(UnreadableImage, match=says):
        image_io.read(array)


@pytest.mark.parametrize("source", [None, 5, ["a.png"]])
def test_wrong_sources(source):
    with pytest.raises(UnreadableImage, match=type(source).__name__):
        image_io.read(source)


@pytest.mark.parametrize("seeks", [True, False])
def test_a_file_that_was_opened_as_text(seeks):
    stream: Any = io.StringIO("no picture")
    stream.seekable = lambda: seeks
    with pytest.raises(UnreadableImage, match="binary mode"):
        image_io.read(stream)


def test_a_text_file(tmp_path):
    (tmp_path / "a").write_text("words")
    with open(tmp_path / "a") as file, pytest.raises(UnreadableImage, match="binary"):
        image_io.read(file)


# -- errors ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "error", "says"),
    [
        (b"", UnreadableImage, "empty"),
        (b"hello, world", UnreadableImage, "not an image"),
        (b"\xff\xd8\xff", UnreadableImage, "JPEG is broken"),
        (b"%PDF-1.7 ...", UnsupportedFormat, "PDF"),
        (b"<svg xmlns=''/>", UnsupportedFormat, "SVG"),
        (b"<!DOCTYPE html><html>404", UnsupportedFormat, "HTML"),
        (b"8BPS\0\1", UnsupportedFormat, "Photoshop"),
        (b"\0\0\0\x20ftypisom", UnsupportedFormat, "video"),
        (b"\0\0\0\x18ftypcrx ", UnsupportedFormat, "raw"),
        (b"\xff\x0a\0\0", UnsupportedFormat, "JPEG XL"),
        (png(4, 4), UnreadableImage, "PNG is broken"),
        (png(0, 4), UnreadableImage, "PNG|no pixels"),
        (png(60000, 60000), ImageTooLarge, "3600.0 megapixels, and the limit is 100"),
    ],
)
def test_each_bad_file_gets_one_clear_line(data, error, says):
    with pytest.raises(error, match=says) as caught:
        image_io.read(data)
    assert "\n" not in str(caught.value)


def test_files_that_cannot_be_opened(tmp_path):
    for path, says in [
        (tmp_path / "none.png", "no such file"),
        (tmp_path, "is a directory"),
        ("nul\0.png", "null"),
    ]:
        with pytest.raises(UnreadableImage, match=says):
            image_io.read(path)
    (tmp_path / "empty.png").touch()
    with pytest.raises(UnreadableImage, match=r"empty\.png: the file is empty"):
        image_io.read(tmp_path / "empty.png")


def test_the_limit_is_checked_before_anything_is_decoded(photo, monkeypatch):
    def never(*_):
        raise AssertionError("decoded")

    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", never)
    with pytest.raises(ImageTooLarge, match="max_pixels"):
        image_io.read(encoded(photo, "PNG"), max_pixels=64 * 96 - 1)
    with pytest.raises(ImageTooLarge):
        image_io.read(photo, max_pixels=64 * 96 - 1)
    monkeypatch.undo()
    assert image_io.read(encoded(photo, "PNG"), max_pixels=64 * 96).image.shape == photo.shape


def test_above_pillows_own_limit_ours_counts():
    # 95 megapixels: Pillow would warn. There is no data: that it is broken is the only fault.
    with pytest.raises(UnreadableImage):
        image_io.read(png(10_000, 9_500))


def test_the_content_counts_not_the_name(photo, tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(encoded(photo, "JPEG"))
    assert image_io.read(path).format == "JPEG"


@pytest.mark.parametrize("format", READ)
@pytest.mark.parametrize("part", [0.1, 0.5, 0.9])
def test_truncated_files(photo, format, part):
    data = encoded(photo, format)
    with pytest.raises(ImageError):
        image_io.read(data[: int(len(data) * part)])


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    st.sampled_from([b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"II*\0", b"GIF89a", b"BM", b"RIFF"]),
    st.binary(max_size=200),
)
def test_no_bytes_raise_anything_but_our_errors(signature, rest):
    with contextlib.suppress(ImageError):
        image_io.read(signature + rest, max_pixels=1_000_000)


@settings(
    max_examples=200,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(format=st.sampled_from(READ), flips=st.lists(st.integers(0, 10**6), max_size=8))
def test_flipped_bits_raise_nothing_but_our_errors(photo, format, flips):
    data = bytearray(encoded(photo[:16, :16], format))
    for flip in flips:
        data[flip // 8 % len(data)] ^= 1 << flip % 8
    try:
        read = image_io.read(bytes(data), max_pixels=1_000_000)
    except ImageError as error:
        assert str(error)
    else:
        assert read.image.ndim == 3 and read.image.dtype == np.uint8


# -- HEIC ------------------------------------------------------------------------------------------

HEIC = b"\0\0\0\x1cftypheic\0\0\0\0mif1heicmiaf"


def test_heic_without_its_extra_says_what_to_install(monkeypatch):
    def absent(name):
        raise ImportError(name)

    monkeypatch.setattr(reading.importlib, "import_module", absent)
    with pytest.raises(UnsupportedFormat, match=r"pip install 'wispcut\[heic\]'"):
        image_io.read(HEIC)


def test_heic(photo):
    pillow_heif = pytest.importorskip("pillow_heif")
    buffer = io.BytesIO()
    pillow_heif.from_pillow(Image.fromarray(photo)).save(buffer, quality=95)
    read = image_io.read(buffer.getvalue())
    assert read.format == "HEIC"
    assert np.abs(read.image.astype(int) - photo).mean() < 6
    with pytest.raises(UnreadableImage):
        image_io.read(HEIC + bytes(40))


# -- out -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("format", ["png", "tiff"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_lossless_formats_give_the_pixels_back(format, channels):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (33, 47, channels), np.uint8)
    image = image[..., 0] if channels == 1 else image
    opened = Image.open(io.BytesIO(image_io.encode(image, format)))
    assert opened.mode == {1: "L", 3: "RGB", 4: "RGBA"}[channels]
    assert np.array_equal(np.asarray(opened), image)


def test_webp_keeps_the_alpha_and_100_is_lossless(photo):
    alpha = np.arange(64 * 96, dtype=np.uint32).reshape(64, 96).astype(np.uint8) | 1
    picture = np.dstack([photo, alpha])
    lossy = np.asarray(Image.open(io.BytesIO(image_io.encode(picture, "webp"))))
    assert np.array_equal(lossy[..., 3], alpha)
    exact = image_io.encode(picture, "webp", quality=100)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(exact))), picture)


def test_jpeg_quality(photo):
    small, large = (len(image_io.encode(photo, "jpg", quality)) for quality in (20, 95))
    assert small < len(image_io.encode(photo, "jpg")) < large


@pytest.mark.parametrize("format", image_io.FORMATS)
def test_output_is_tagged_srgb_and_the_same_each_time(photo, format):
    data = image_io.encode(photo, format)
    opened = Image.open(io.BytesIO(data))
    if format == "png":
        assert opened.info["srgb"] == 0
    else:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(opened.info["icc_profile"]))
        assert "sRGB" in ImageCms.getProfileDescription(profile)
        assert image_io.read(data).notes == ()
    writing._srgb_profile.cache_clear()
    assert image_io.encode(photo, format) == data


def test_png_chunks_are_sound(photo):
    data = image_io.encode(
        photo, "png", dpi=(300, 300), exif=b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0"
    )
    image = PngImagePlugin.PngImageFile(io.BytesIO(data))
    image.verify()  # checks every CRC
    names = [data[i : i + 4] for i in range(12, len(data)) if data[i : i + 4] in (b"sRGB", b"IDAT")]
    assert names[0] == b"sRGB"


def test_what_a_format_cannot_hold():
    rgba = np.zeros((4, 4, 4), np.uint8)
    with pytest.raises(SettingsError, match="background"):
        image_io.encode(rgba, "jpg")
    with pytest.raises(SettingsError, match="png, webp, tiff, jpg"):
        image_io.encode(rgba, "bmp")
    with pytest.raises(OutputError, match="16383"):
        image_io.encode(np.zeros((1, 16384, 4), np.uint8), "webp")


def test_write_replaces_whole_files(tmp_path):
    path = tmp_path / ("n" * 251 + ".png")  # as long as names can be
    for data in (b"one", b"two"):
        image_io.write(path, data)
        assert path.read_bytes() == data
    assert os.listdir(tmp_path) == [path.name]


def test_write_gives_the_permissions_of_any_new_file(tmp_path):
    before = os.umask(0o027)
    try:
        image_io.write(tmp_path / "a", b"data")
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("fault", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, fault):
    (tmp_path / "a.png").write_bytes(b"old")

    def fail(*_):
        raise fault

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises((OutputError, KeyboardInterrupt)) as caught:
        image_io.write(tmp_path / "a.png", b"new")
    assert isinstance(caught.value, KeyboardInterrupt) or "no space left" in str(caught.value)
    assert os.listdir(tmp_path) == ["a.png"]
    assert (tmp_path / "a.png").read_bytes() == b"old"


def test_write_says_what_is_wrong(tmp_path):
    with pytest.raises(OutputError, match="no such file"):
        image_io.write(tmp_path / "none" / "a.png", b"")
    with pytest.raises(OutputError, match="is a directory"):
        image_io.write(tmp_path, b"")


@pytest.mark.skipif(not os.path.exists("/dev/null"), reason="no devices here")
def test_a_device_is_written_to_and_not_replaced():
    image_io.write("/dev/null", b"data")
    assert not os.path.isfile("/dev/null")


@pytest.mark.parametrize(
    "wide",
    [
        lambda a: a.astype(np.uint16) * 257,
        lambda a: (a / 255).astype(np.float32),
        lambda a: a / 255,
    ],
)
def test_arrays_of_other_types_have_their_range(photo, wide):
    assert np.array_equal(image_io.read(wide(photo)).image, photo)


@pytest.mark.parametrize("wrong", [np.float32(2), np.float32(-0.1), np.nan, np.int32(3), True])
def test_arrays_out_of_range_are_refused(wrong):
    with pytest.raises(UnreadableImage, match=r"0\.\.1|uint8"):
        image_io.read(np.full((4, 4, 3), wrong))


def test_a_picture_may_be_spent_for_its_png_and_else_stays():
    picture = np.random.default_rng(0).integers(0, 256, (300, 40, 4), dtype=np.uint8)
    before = picture.copy()
    data = image_io.encode(picture)
    assert np.array_equal(picture, before)
    assert image_io.encode(picture, spend=True) == data
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(data))), before)
