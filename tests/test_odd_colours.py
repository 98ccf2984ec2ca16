"""Files that say their colours, their size and their picture in uncommon ways."""

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin
from skimage import data

from pipeline import UnsupportedFormat, image_io
from pipeline.image_io import profiles
from tests.conftest import encoded
from tests.test_image_io import png


def chunks(image: np.ndarray, *more: tuple[bytes, bytes]) -> bytes:
    """A PNG of 8-bit RGB with chunks of one's own before the pixels."""
    height, width = image.shape[:2]
    rows = b"".join(b"\0" + row.tobytes() for row in image)
    return png(width, height, *more, (b"IDAT", zlib.compress(rows)))


def gamma(value: float) -> tuple[bytes, bytes]:
    return b"gAMA", struct.pack(">I", round(value * 100_000))


# -- colours ---------------------------------------------------------------------------------------


def adobe(space: int, index: str) -> bytes:
    exif = Image.Exif()
    exif[0x8769] = {0xA001: space, 0xA005: {1: index}}
    return encoded(Image.new("RGB", (64, 64), (200, 60, 59)), "JPEG", quality=95, exif=exif)


@pytest.mark.parametrize(("space", "index"), [(0xFFFF, "R03"), (2, "R98")])
def test_adobe_rgb_by_exif(space, index):
    read = image_io.read(adobe(space, index))
    # Rec. of Adobe RGB (1998), annex C, to sRGB.
    assert np.abs(read.image.astype(int) - (231, 57, 57)).max() <= 2


@pytest.mark.parametrize(("space", "index"), [(1, "R98"), (1, "R03"), (0xFFFF, "R98")])
def test_srgb_by_exif(space, index):
    read = image_io.read(adobe(space, index))
    assert np.abs(read.image.astype(int) - (200, 60, 59)).max() <= 2


def test_a_png_of_linear_light():
    photo = data.astronaut()[::4, ::4]
    light = np.where(photo <= 10.31, photo / 12.92, 255 * ((photo / 255 + 0.055) / 1.055) ** 2.4)
    linear = np.rint(light).astype(np.uint8)
    read = image_io.read(chunks(linear, gamma(1.0)))
    assert abs(read.image.mean() - photo.mean()) < 1
    assert np.abs(read.image.astype(int) - photo)[photo > 40].max() <= 6
    cicp = image_io.read(chunks(linear, (b"cICP", bytes([1, 8, 0, 1]))))
    assert abs(cicp.image.mean() - photo.mean()) < 1
    grey = encoded(Image.fromarray(linear[..., 1]), "PNG")
    name, value = gamma(1.0)
    chunk = struct.pack(">I", 4) + name + value + struct.pack(">I", zlib.crc32(name + value))
    read = image_io.read(grey[:33] + chunk + grey[33:])
    assert abs(read.image.mean() - photo[..., 1].mean()) < 2


@pytest.mark.parametrize(
    "made", [[gamma(0.45455)], [gamma(1.0), (b"sRGB", b"\0")], [(b"cICP", bytes([1, 13, 0, 1]))]]
)
def test_srgb_by_any_name_is_left_as_it_is(made):
    photo = data.astronaut()[::8, ::8]
    assert np.array_equal(image_io.read(chunks(photo, *made)).image, photo)


def test_wide_colours():
    green = np.zeros((4, 4, 3), np.uint8)
    green[..., 1] = 200
    read = image_io.read(chunks(green, (b"cICP", bytes([12, 13, 0, 1]))))
    assert read.image[0, 0, 0] == 0 and read.image[0, 0, 1] > 200
    hdr = image_io.read(chunks(green, (b"cICP", bytes([9, 16, 0, 1]))))
    assert np.array_equal(hdr.image, green) and "HDR" in hdr.notes[0]


@pytest.mark.parametrize("primary", [(0, 0), (31_270, 32_900), (31_270, 0), (2**32 - 1, 1)])
def test_primaries_that_are_none_are_left_out(primary):
    photo = data.astronaut()[::8, ::8]
    wrong = (b"cHRM", struct.pack(">8I", 31_270, 32_900, *primary * 3))
    for more in ([gamma(0.45455), wrong], [gamma(1.0), wrong]):
        read = image_io.read(chunks(photo, *more))
        assert np.array_equal(read.image, photo)
        assert "the colours' primaries are none: taken for sRGB" in read.notes


def test_our_profile_of_srgb_is_srgb():
    photo = data.astronaut()[::8, ::8]
    image = Image.fromarray(photo)
    own = profiles.profile(0.0, profiles._SRGB)
    assert (
        np.abs(
            image_io.read(encoded(image, "PNG", icc_profile=own)).image.astype(int) - photo
        ).max()
        <= 1
    )


def test_a_colour_of_16_bits_made_transparent_is_that_one_alone():
    deep = np.empty((2, 2, 3), np.uint16)
    deep[...] = (0x1234, 0x5678, 0x9ABC)
    deep[0, 0] += 1
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in deep)
    made = png(2, 2, (b"tRNS", deep[1, 1].astype(">u2").tobytes()), (b"IDAT", zlib.compress(rows)))
    head = struct.pack(">IIBBBBB", 2, 2, 16, 2, 0, 0, 0)
    made = made[:16] + head + struct.pack(">I", zlib.crc32(b"IHDR" + head)) + made[33:]
    read = image_io.read(made)
    assert read.alpha is not None and read.alpha.tolist() == [[1, 0], [0, 0]]


@pytest.mark.parametrize("bits", [10, 12])
def test_few_bits_in_16_are_no_night(bits):
    values = np.linspace(0, (1 << bits) - 1, 256).astype(np.uint16).reshape(16, 16)
    for format in ("PNG", "TIFF"):
        read = image_io.read(encoded(Image.fromarray(values), format))
        assert read.image.max() == 255 and abs(read.image.mean() - 127.5) < 1
        assert f"no more than {bits} bits" in read.notes[0]


# -- resolution ------------------------------------------------------------------------------------


def test_a_tiff_that_says_no_resolution_has_none(photo):
    assert image_io.read(encoded(photo, "TIFF")).dpi is None


def test_a_resolution_turns_with_the_picture(photo):
    exif = Image.Exif()
    exif[0x0112] = 6
    read = image_io.read(encoded(photo, "JPEG", dpi=(300, 150), exif=exif))
    assert read.dpi == (150, 300) and read.image.shape == (96, 64, 3)


# -- which picture ---------------------------------------------------------------------------------


def pages(*images: Image.Image, own: Any) -> bytes:
    """A TIFF of pages, each with tags of its own."""
    buffer = io.BytesIO()
    with TiffImagePlugin.AppendingTiffWriter(buffer, True) as writer:
        for image, tags in zip(images, own, strict=True):
            info = TiffImagePlugin.ImageFileDirectory_v2()
            for tag, value in tags:
                info[tag] = value
            image.save(writer, "TIFF", tiffinfo=info)
            writer.newFrame()
    return buffer.getvalue()


RED, BLUE = Image.new("RGB", (64, 48), "red"), Image.new("RGB", (256, 192), "blue")


def below(first: Image.Image, second: Image.Image, photometric: int = 2) -> bytes:
    """A TIFF as camera raws are built: a thumbnail, and the picture in a directory below it."""
    entries, pixels = [], []
    at = 8
    for image in (first, second):
        pixels.append(image.tobytes())
        entries.append(at)
        at += len(pixels[-1])
    bits, at = at, at + 6

    def directory(image: Image.Image, place: int, role: int, sub: int, colours: int) -> bytes:
        tags = {254: role, 256: image.width, 257: image.height, 258: bits, 259: 1, 262: colours}
        tags |= {273: place, 274: 6, 277: 3, 278: image.height, 279: 3 * image.width * image.height}
        tags |= {330: sub} if sub else {}
        body = struct.pack("<H", len(tags))
        for tag in sorted(tags):
            body += struct.pack(
                "<HHII", tag, 3 if tag == 258 else 4, 3 if tag == 258 else 1, tags[tag]
            )
        return body + bytes(4)

    last = directory(second, entries[1], 0, 0, photometric)
    head = b"II*\0" + struct.pack("<I", at + len(last))
    start = head + b"".join(pixels) + struct.pack("<3H", 8, 8, 8) + last
    return start + directory(first, entries[0], 1, at, 2)


def test_the_thumbnail_of_a_raw_is_not_the_photo():
    read = image_io.read(below(RED, BLUE))
    assert read.image.shape == (256, 192, 3)  # turned
    assert read.image[0, 0].tolist() == [0, 0, 255]
    assert "the largest was taken" in read.notes[0]


@pytest.mark.parametrize("photometric", [32803, 34892])
def test_a_raw_is_refused_by_name(photometric):
    with pytest.raises(UnsupportedFormat, match="raw file"):
        image_io.read(below(RED, BLUE, photometric))


@pytest.mark.parametrize(
    ("own", "colour"),
    [
        ([[(254, 1)], []], [0, 0, 255]),  # a scanner's preview comes first
        ([[], []], [0, 0, 255]),  # a pyramid, smallest first, says nothing
        ([[(254, 2)], [(254, 2)]], [255, 0, 0]),  # pages
        ([[(297, (0, 2))], [(297, (1, 2))]], [255, 0, 0]),
    ],
)
def test_previews_are_not_the_photo_and_pages_are(own, colour):
    read = image_io.read(pages(RED, BLUE, own=own))
    assert read.image[0, 0].tolist() == colour


def test_a_pyramid_with_the_largest_first():
    read = image_io.read(pages(BLUE, RED, own=[[], [(254, 1)]]))
    assert read.image.shape == (192, 256, 3)


def test_a_broken_chain_of_directories_harms_nothing(photo):
    whole = encoded(photo, "TIFF")
    (place,) = struct.unpack_from("<I", whole, 4)
    (count,) = struct.unpack_from("<H", whole, place)
    end = place + 2 + 12 * count
    for following in (place, 1 << 31, len(whole) - 1):
        read = image_io.read(whole[:end] + struct.pack("<I", following) + whole[end + 4 :])
        assert np.array_equal(read.image, photo)
