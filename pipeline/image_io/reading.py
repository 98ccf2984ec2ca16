"""Pictures in: whatever the world calls an image, made one kind of array.

Decoding is Pillow's, format by format, chosen by the file's signature and not by its name; only
the formats listed here are ever handed to a decoder, and only after the pixel limit was checked.
"""

from __future__ import annotations

import importlib
import io
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from pipeline.errors import (
    ImageError,
    ImageTooLarge,
    UnreadableImage,
    UnsupportedFormat,
)
from pipeline.image_io import metadata, pixels, profiles, structure, tiff
from pipeline.image_io.arrays import from_array
from pipeline.image_io.photo import Photo, check_size

#: Names that are looked for in folders; a file named outright may have any.
PICTURE = re.compile(
    r".+\.(jpe?g|jpe|jfif|a?png|webp|tiff?|bmp|dib|gif|avif|hei[cf])", re.IGNORECASE | re.DOTALL
)

# (signature, Pillow module, opener); the first that matches the start of the file is taken.
_READERS = (
    (rb"\xff\xd8\xff", "JPEG", "PIL.JpegImagePlugin", "jpeg_factory"),
    (rb"\x89PNG\r\n\x1a\n", "PNG", "PIL.PngImagePlugin", "PngImageFile"),
    (rb"RIFF.{4}WEBP", "WebP", "PIL.WebPImagePlugin", "WebPImageFile"),
    (rb"II[*+]\0|MM\0[*+]", "TIFF", "PIL.TiffImagePlugin", "TiffImageFile"),
    (rb"BM", "BMP", "PIL.BmpImagePlugin", "BmpImageFile"),
    (rb"GIF8[79]a", "GIF", "PIL.GifImagePlugin", "GifImageFile"),
    (rb".{4}ftyp(avi[fs]|m[is]f1.{4}.*avi[fs])", "AVIF", "PIL.AvifImagePlugin", "AvifImageFile"),
    (rb".{4}ftyp(he[iv][cmsx]|m[is]f1)", "HEIC", "pillow_heif.as_plugin", "HeifImageFile"),
)
_CLIP = "a video"
_TEXT = "the file was opened as text: open it in binary mode"
# Pictures that people do pass, named so that the message can be of use.
_OTHERS = (
    (rb"%PDF", "a PDF document"),
    (rb"\s*<(\?xml|svg|!DOCTYPE svg)", "an SVG or XML document"),
    (rb"\s*<(!doctype html|html)", "an HTML page (a failed download?)"),
    (rb"8BPS", "a Photoshop document"),
    (rb"\0\0\0\x0cjP|\xff\x4f\xff\x51", "a JPEG 2000 image"),
    (rb"\xff\x0a|\0\0\0\x0cJXL", "a JPEG XL image"),
    (rb"\0\0[\x01\x02]\0", "an icon"),
    (rb"v/1\x01", "an OpenEXR image"),
    (rb"P[1-7]\s", "a PNM image"),
    (rb"FUJIFILM|.{4}ftypcrx", "a camera's raw file"),
    (rb".{4}ftyp|\x1aE\xdf\xa3", _CLIP),
)
# What is said of a file with several pictures.
_MORE = dict.fromkeys(("GIF", "PNG", "WebP", "AVIF"), "animated: the first frame was taken") | {
    "TIFF": "several pages: the first was taken"
}
_NO_MEMORY = "the image needs more memory than there is for it"
_HEAD = 64  # bytes: room for the brands of an ISO container

#: Seconds of a processor that decoding may take: no photo of 100 megapixels needs half of it.
#: imgproxy waits as long.
DECODE_SECONDS = 10.0


def read(
    source: Any, max_pixels: int = 100_000_000, seconds: float | None = DECODE_SECONDS
) -> Photo:
    """Read a photo.

    Parameters
    ----------
    source
        Path (str or PathLike), bytes, binary file object, PIL image (of an animated one, the
        frame it is at), or array of shape (H, W, 3), (H, W, 4) with straight alpha, or (H, W):
        uint8, uint16 over its whole range, or float in 0..1; RGB, so reverse the channels of what
        OpenCV reads (``bgr[..., ::-1]``). The source is not modified.
    max_pixels
        Limit on width × height, checked before anything is decoded.
    seconds
        Limit on the time of a processor that decoding takes; by the clock it may take six times as
        long. What is so plainly built that its pixels bound the time already is decoded here, the
        rest in a process that can be killed (:mod:`pipeline.image_io.sandbox`). None is no limit,
        and no other process.

    Raises
    ------
    UnreadableImage
        Missing, empty, truncated, broken, or no image at all.
    UnsupportedFormat
        An image of a kind that is not read.
    ImageTooLarge
        More pixels than ``max_pixels``.
    ImageTooSlow
        Decoding takes longer than ``seconds``, or what surrounds the pixels is out of all measure.
    """
    if isinstance(source, np.ndarray):
        return from_array(source, max_pixels)
    if isinstance(source, Image.Image):
        return replace(_from_pil(source, max_pixels, ""), format=source.format or "")
    if isinstance(source, (bytes, bytearray, memoryview)):
        return _from_stream(io.BytesIO(source), max_pixels, seconds)
    if isinstance(source, (str, os.PathLike)):
        try:
            with open(source, "rb") as stream:
                photo = _from_stream(stream, max_pixels, seconds)
        except ImageError as error:
            raise type(error)(f"{os.fspath(source)}: {error}") from error.__cause__
        except (OSError, ValueError) as error:  # ValueError: a NUL in the name
            reason = getattr(error, "strerror", None) or str(error)
            raise UnreadableImage(f"{os.fspath(source)}: {reason.lower()}") from error
        return replace(photo, path=Path(source))
    if hasattr(source, "read"):
        return _from_stream(source, max_pixels, seconds)
    raise UnreadableImage(
        "an image is a path, bytes, a binary file, a PIL image or an array, "
        f"not {type(source).__name__}"
    )


def _from_stream(stream: BinaryIO, max_pixels: int, seconds: float | None) -> Photo:
    if not getattr(stream, "seekable", lambda: False)():
        data = stream.read()
        if isinstance(data, str):
            raise UnreadableImage(_TEXT)
        stream = io.BytesIO(data)
    start = stream.tell()
    head = stream.read(_HEAD)
    if not isinstance(head, bytes):
        raise UnreadableImage(_TEXT)
    if not head:
        raise UnreadableImage("the file is empty")
    if start:  # some decoders seek to absolute positions
        stream = io.BytesIO(head + stream.read())
    stream.seek(0)
    kind, opener = _opener(head)
    if kind in structure.WALKED:
        stream = io.BytesIO(stream.read())
        plain = structure.check(stream.getvalue(), kind)
    else:
        plain = kind in structure.BOUNDED
    if seconds is not None and not plain:
        from pipeline.image_io import sandbox  # here: most photos need no other process

        return sandbox.decode(stream, max_pixels, seconds)
    return _decoded(stream, kind, opener, max_pixels)


def _decoded(
    stream: BinaryIO, kind: str, opener: Callable[[BinaryIO], Image.Image], max_pixels: int
) -> Photo:
    """Decode in this process."""
    notes: list[str] = []
    turned, data = 0, b""
    with _as_unreadable(kind):
        if kind == "TIFF":
            place, turned = tiff.photo(stream, notes)
            if place:
                stream = io.BytesIO(tiff.starting_at(stream, place))
            stream.seek(0)
        elif kind == "PNG" and isinstance(stream, io.BytesIO):
            data = stream.getvalue()
        try:
            image = opener(stream)
        except SyntaxError as error:
            if str(error) != "unknown pixel mode":
                raise
            image = _deep_tiff(stream, max_pixels, notes)
    try:
        return _from_pil(image, max_pixels, kind, notes, turned, data)
    finally:
        image.close()


def _deep_tiff(stream: BinaryIO, max_pixels: int, notes: list[str]) -> Image.Image:
    """Read a TIFF of float colours, for which Pillow has no mode, with OpenCV."""
    import cv2
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

    stream.seek(0)
    tags = ImageFileDirectory_v2(stream.read(8))
    stream.seek(tags.next)
    tags.load(stream)
    check_size(tags[0x0100], tags[0x0101], max_pixels)
    stream.seek(0)
    values = None
    if set(tags.get(0x0153, ())) == {3}:
        values = cv2.imdecode(np.frombuffer(stream.read(), np.uint8), cv2.IMREAD_UNCHANGED)
    if values is None or values.ndim != 3 or values.shape[2] not in (3, 4):
        raise UnsupportedFormat(
            f"a TIFF with samples of {tags.get(0x0102)} bits, as this one is laid out, is not "
            "read: save it with 8 or 16 bits"
        )
    full = pixels.white(values[..., :3], notes)
    colours = pixels.scaled(values[..., 2::-1], full)
    if values.shape[2] == 4:
        colours = np.dstack([colours, pixels.scaled(values[..., 3], 1.0)])
    image = Image.fromarray(colours)
    image.info["icc_profile"] = tags.get(0x8773)
    if metadata.ORIENTATION in tags:
        image.getexif()[metadata.ORIENTATION] = tags[metadata.ORIENTATION]
    return image


def _opener(head: bytes) -> tuple[str, Callable[[BinaryIO], Image.Image]]:
    for signature, kind, module, name in _READERS:
        if re.match(signature, head, re.DOTALL):
            try:
                return kind, getattr(importlib.import_module(module), name)
            except ImportError as error:
                raise UnsupportedFormat(
                    "HEIC needs an extra package: pip install 'wispcut[heic]'"
                    if kind == "HEIC"
                    else f"this Pillow cannot read {kind}: install a newer one"
                ) from error
    for signature, what in _OTHERS:
        if re.match(signature, head, re.DOTALL | re.IGNORECASE):
            todo = "cut it out with `wisp video`" if what == _CLIP else "convert it to JPEG or PNG"
            raise UnsupportedFormat(f"this is {what}: {todo}")
    raise UnreadableImage("this is not an image of a known kind")


@contextmanager
def _as_unreadable(kind: str) -> Iterator[None]:
    """Turn what decoders raise on broken files, which is nearly anything, into one error."""
    try:
        yield
    except ImageError:
        raise
    except (Image.DecompressionBombError, MemoryError) as error:
        raise ImageTooLarge(_NO_MEMORY) from error
    except (OSError, ValueError, SyntaxError) as error:
        if "decoder error -9" in str(error):  # Pillow's number for no memory
            raise ImageTooLarge(_NO_MEMORY) from error
        # Pillow passes some exceptions on as SyntaxError; the words of those help no one.
        known = isinstance(error.__cause__, (OSError, type(None))) and str(error)
        reason = f" ({' '.join(known.split())[:120]})" if known else ""
        raise UnreadableImage(f"the {kind or 'image'} is broken or truncated{reason}") from error
    except Exception as error:  # struct.error, KeyError, …: their words help no one
        raise UnreadableImage(f"the {kind or 'image'} is broken or truncated") from error


def _from_pil(
    image: Image.Image,
    max_pixels: int,
    kind: str,
    notes: list[str] | None = None,
    turned: int = 0,
    data: bytes = b"",
) -> Photo:
    """Take a photo from an opened image; ``turned`` is its orientation where it does not say."""
    check_size(*image.size, max_pixels)
    notes = [] if notes is None else notes
    with _as_unreadable(kind):
        # Whether there are more, and not how many: to count them is to walk over all of them.
        if kind in _MORE and getattr(image, "is_animated", False):
            notes.append(_MORE[kind])
        image.load()
        if data[24:26] == b"\x10\x02" and "transparency" in image.info:
            _exact_key(image, data)
        if kind and not image.info.get("icc_profile"):  # a PIL image is the caller's
            image.info["icc_profile"] = profiles.declared(image, data, notes)
    exif, orientation = metadata.exif(image, notes)
    if orientation == 1 and turned in range(2, 9):
        orientation = turned
    with _as_unreadable(kind):
        image_pixels, alpha = pixels.upright(image, orientation, notes)
    dpi = metadata.dpi(image)
    if dpi and orientation >= 5:  # lies on its side
        dpi = dpi[::-1]
    return Photo(image_pixels, alpha, kind, dpi, exif, tuple(notes))


def _exact_key(image: Image.Image, data: bytes) -> None:
    """Make transparent what is of the one colour that a PNG of 16 bits a sample names.

    Pillow keeps 8 of the bits, which do not tell that colour from those near it.
    """
    import cv2

    deep = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    del image.info["transparency"]
    if deep is not None and deep.ndim == 3 and deep.shape[2] == 4:
        levels = np.asarray(deep[..., 3], np.uint16) >> 8
        image.putalpha(Image.fromarray(levels.astype(np.uint8)))
