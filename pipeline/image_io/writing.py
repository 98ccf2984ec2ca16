"""Pictures out: equal pictures make equal files."""

from __future__ import annotations

import io
import struct
import zlib
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from pipeline.errors import (
    OutputError,
    SettingsError,
    quoted,
)

_ROWS = 128  # whose colours are swapped at a time
#: Output formats, and the endings that stand for them.
FORMATS = {
    "png": (".png",),
    "webp": (".webp",),
    "tiff": (".tiff", ".tif"),
    "jpg": (".jpg", ".jpeg"),
}


def encode(
    image: NDArray[np.uint8],
    format: str = "png",
    quality: int | None = None,
    dpi: tuple[float, float] | None = None,
    exif: bytes = b"",
    spend: bool = False,
) -> bytes:
    """Encode an image, tagged sRGB.

    Parameters
    ----------
    image
        (H, W, 4) straight RGBA, (H, W, 3) RGB or (H, W) grey, uint8.
    format
        png, tiff (both lossless), webp, or jpg, which has no alpha.
    quality
        1..100 for webp (100 is lossless; default 90) and jpg (default 92). The alpha of a webp
        is always lossless.
    dpi, exif
        As :class:`Photo` has them. WebP has no place for the resolution, TIFF as written here
        none for exposure details.
    spend
        The image is not needed any more: its memory may be worked in.

    Raises
    ------
    SettingsError
        RGBA to jpg, or an unknown format.
    OutputError
        The format cannot hold the image.
    """
    if format not in FORMATS:
        raise SettingsError(f"format must be one of {', '.join(FORMATS)}, not {quoted(format)}")
    if format == "jpg" and image.ndim == 3 and image.shape[2] == 4:
        raise SettingsError("JPEG holds no transparency: give a background, or write png or webp")
    limit = {"webp": 16383, "jpg": 65500}.get(format)
    if limit and max(image.shape[:2]) > limit:
        raise OutputError(f"{format} holds at most {limit} pixels a side: write png or tiff")
    if format == "png":
        return _encode_png(image, dpi, exif, spend)
    options: dict[str, Any] = {"icc_profile": _srgb_profile()}
    if exif:
        options["exif"] = exif
    if dpi and format != "webp":
        options["dpi"] = dpi
    if format == "webp":
        import PIL.WebPImagePlugin as plugin

        options |= {"quality": quality or 90, "lossless": quality == 100}
    elif format == "jpg":
        import PIL.JpegImagePlugin as plugin  # type: ignore[no-redef]

        options |= {"quality": quality or 92}
    else:
        import PIL.TiffImagePlugin as plugin  # type: ignore[no-redef]

        options |= {"compression": "tiff_adobe_deflate"}
        if exif:
            # Pillow's compressed TIFFs hold no directory below the first: no exposure details.
            options["exif"] = first = Image.Exif()
            first.load(exif)
            first.pop(ExifTags.IFD.Exif, None)
    # Imported beforehand, or Pillow would load all its sixty plugins to find this one.
    assert plugin
    buffer = io.BytesIO()
    try:
        name = {"jpg": "JPEG"}.get(format, format.upper())
        Image.fromarray(image).save(buffer, name, **options)
    except (OSError, ValueError, RuntimeError, struct.error) as error:
        raise OutputError(f"cannot be written as {format}: {error}") from error
    return buffer.getvalue()


def _encode_png(
    image: NDArray[np.uint8], dpi: tuple[float, float] | None, exif: bytes, spend: bool
) -> bytes:
    """Encode as PNG with OpenCV, and add the chunks that it does not write.

    One filter (Paeth) and run lengths only: on 1080p cutouts 40–70 ms where Pillow's default
    takes 190–410 ms, for files a tenth larger (Pillow at level 1: 70–170 ms, files larger).
    """
    import cv2

    if image.ndim == 3:
        code = cv2.COLOR_RGBA2BGRA if image.shape[2] == 4 else cv2.COLOR_RGB2BGR
        swapped = image if spend and image.flags.writeable else np.empty_like(image, order="C")
        for top in range(0, len(image), _ROWS):
            rows = slice(top, top + _ROWS)
            swapped[rows] = cv2.cvtColor(np.ascontiguousarray(image[rows]), code)
        image = swapped
    settings = [
        cv2.IMWRITE_PNG_STRATEGY,
        cv2.IMWRITE_PNG_STRATEGY_RLE,
        cv2.IMWRITE_PNG_FILTER,
        cv2.IMWRITE_PNG_FILTER_PAETH,
    ]
    ok, encoded = cv2.imencode(".png", image, settings)
    if not ok:
        raise OutputError(f"cannot be written as png: {image.shape[1]}×{image.shape[0]} pixels")
    chunks = _chunk(b"sRGB", b"\0")
    if dpi:
        chunks += _chunk(b"pHYs", struct.pack(">IIB", *(round(v / 0.0254) for v in dpi), 1))
    if exif:
        chunks += _chunk(b"eXIf", exif.removeprefix(b"Exif\0\0"))
    header = 33  # signature and IHDR, which must come first
    return b"".join((encoded[:header].tobytes(), chunks, encoded[header:].data))


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


@lru_cache(maxsize=1)
def _srgb_profile() -> bytes:
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    # Bytes 24..36 hold the moment it was made; equal pictures should make equal files.
    return profile[:24] + struct.pack(">6H", 2000, 1, 1, 0, 0, 0) + profile[36:]


def with_software(exif: bytes, software: str) -> bytes:
    """Return the EXIF data with the name of the program that wrote the file: its ``Software``."""
    tags = Image.Exif()
    if exif:
        tags.load(exif)
    tags[ExifTags.Base.Software] = software
    return tags.tobytes()
