"""Draw a cutout as an :class:`pipeline.output.Output` describes it, and write the file.

The one renderer for Python, the command, the API and the page.
"""

from __future__ import annotations

import io
import os
import zipfile
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline import background as behind
from pipeline import compose, id_photo, image_io
from pipeline.background import Backdrop
from pipeline.errors import SettingsError, UnsupportedFormat
from pipeline.layout import VISIBLE, arrange, subject_box
from pipeline.output import FORMATS, RGBA, Output, format_of
from pipeline.settings import Settings

Colours = NDArray[np.uint8]
Matte = NDArray[np.float32]

WHITE = (255, 255, 255)
_EDGE = 0.01  # of the longer side: what lies deeper inside the subject than this is no edge


class Cut(Protocol):
    """What is needed of a :class:`pipeline.result.Result`."""

    @property
    def photo(self) -> image_io.Photo: ...
    @property
    def alpha(self) -> Matte: ...
    @property
    def foreground(self) -> Colours: ...


@dataclass(frozen=True)
class Drawing:
    """A finished file, and what is worth knowing of it."""

    data: bytes
    format: str
    width: int
    height: int
    #: Where the subject is in it: left, top, width, height in pixels.
    box: tuple[int, int, int, int]


def draw(result: Cut, output: Output | None = None, software: str = "") -> Drawing:
    """Make the file that ``output`` (default: PNG, as large as the photo) asks for.

    ``software`` is written into its EXIF data, as the program that made it.

    Raises :class:`pipeline.errors.SettingsError` where an ID photo cannot be made of the photo,
    :class:`pipeline.errors.OutputError` where the format cannot hold the picture,
    :class:`pipeline.errors.ImageError` for a background that cannot be read.
    """
    output = output or Output()
    if output.format is None and output.quality is not None:
        raise SettingsError("quality is for webp and jpg: say which format it is")
    alpha, foreground, image = _laid_out(result, output)
    photo, kind = result.photo, output.file_format
    dpi = (id_photo.DPI, id_photo.DPI) if output.id_photo else photo.dpi
    exif = image_io.with_software(photo.exif, software) if software else photo.exif
    if kind == "zip":
        grey, colours = _apart(alpha, foreground, image, result, output)
        height, width = grey.shape
        data = _zipped(grey, colours, output.quality, dpi, exif)
    else:
        picture = _composite(alpha, foreground, image, result, output)
        height, width = picture.shape[:2]
        quality = output.quality if kind in ("webp", "jpg") else None
        data = image_io.encode(picture, kind, quality, dpi, exif, spend=True)
    down, across = height / alpha.shape[0], width / alpha.shape[1]  # not 1 for an ID photo
    left, top, right, bottom = subject_box(alpha)
    left, right = round(left * across), round(right * across)
    top, bottom = round(top * down), round(bottom * down)
    return Drawing(data, kind, width, height, (left, top, right - left, bottom - top))


def render(result: Cut, output: Output) -> Colours:
    """Draw the picture that ``output`` asks for: RGBA, RGB or grey, (h, w[, 4 | 3]) uint8."""
    alpha, foreground, image = _laid_out(result, output)
    return _composite(alpha, foreground, image, result, output)


def to_bytes(result: Cut, output: Output | None = None, software: str = "") -> bytes:
    """The bytes of :func:`draw`."""
    return draw(result, output, software).data


def save(result: Cut, path: str | os.PathLike[str], output: Output | None = None) -> None:
    """Write a cutout; the name's ending chooses the format unless ``output`` does.

    Raises :class:`pipeline.errors.OutputError` when it cannot be written,
    :class:`pipeline.errors.UnsupportedFormat` for an unknown ending, and for one of another format
    than the ``output`` has.
    """
    ending = Path(path).suffix.lower()
    known = ending in chain(*FORMATS.values())
    if output is None or (known and output.format in (None, "auto")):
        output = replace(output or Output(), format=format_of(path))
    elif known and ending not in FORMATS[output.file_format]:
        raise UnsupportedFormat(
            f"{os.fspath(path)} is no name for {output.file_format}: leave the format out, or "
            "give another name"
        )
    image_io.write(path, to_bytes(result, output))


def _laid_out(result: Cut, output: Output) -> tuple[Matte, Colours, Colours]:
    """Alpha, foreground and photo, with the mask changed and the subject where it is asked for."""
    alpha, foreground, image = result.alpha, result.foreground, result.photo.image
    if output.binary:
        alpha = binary(alpha)
    if output.opaque:
        alpha, foreground = opaque(alpha, foreground, image)
    if output.crop:
        left, top, right, bottom = subject_box(alpha, output.margin)
        area = np.s_[top:bottom, left:right]
        alpha, foreground, image = alpha[area], foreground[area], image[area]
    elif output.id_photo:
        box = id_photo.id_box(alpha, id_photo.ID_PHOTOS[output.id_photo])
        alpha = id_photo.window(alpha, box)
        foreground, image = id_photo.window(foreground, box), id_photo.window(image, box)
    elif output.scale is not None or output.position is not None:
        margin = output.margin if output.canvas else "0px"
        alpha, foreground = arrange(
            alpha, foreground, output.scale, output.position, output.canvas, margin
        )
    return alpha, foreground, image


def _composite(
    alpha: Matte, foreground: Colours, image: Colours, result: Cut, output: Output
) -> Colours:
    """Put the laid-out cutout on its background; see :func:`render`."""
    if output.only_mask:
        return compose.levels(alpha)
    shade = _shade(alpha, output)
    background = output.background
    if background is None and output.file_format == "jpg":
        background = WHITE
    if background is None:
        if shade is not None:
            alpha, foreground = behind.add_shadow(alpha, foreground, shade)
        picture = compose.rgba(foreground, alpha)
    elif isinstance(background, tuple) and len(background) == 4:
        picture = _on_half_transparent(alpha, foreground, background, shade)
    else:
        # A moved subject leaves its old place in the photo, which a blur must not show.
        seen = result.alpha if image.shape[:2] == result.alpha.shape else alpha
        back = behind.backdrop(_decoded(background), image, seen, output.fit, alpha.shape)
        if shade is not None:
            back = behind.darken(back, shade)
        over = behind.over_linear if output.linear else compose.over
        picture = over(foreground, alpha, back)
    if picture.shape[2] == 4 and output.file_format == "jpg":
        opacity = np.asarray(picture[..., 3] / 255, np.float32)
        picture = compose.over(np.ascontiguousarray(picture[..., :3]), opacity, WHITE)
    if output.canvas and output.canvas != picture.shape[1::-1]:  # an ID photo
        lanczos, whole = Image.Resampling.LANCZOS, Image.fromarray(picture)
        picture = np.asarray(whole.resize(output.canvas, lanczos, reducing_gap=3))
    return picture


def _shade(alpha: Matte, output: Output) -> Matte | None:
    return output.shadow * behind.shadow(alpha) if output.shadow else None


def _apart(
    alpha: Matte, foreground: Colours, image: Colours, result: Cut, output: Output
) -> tuple[Colours, Colours]:
    """Alpha as grey and colours of what :func:`_composite` draws: (h, w), (h, w, 3) uint8.

    Without a background the colours go on around the subject: a JPEG would mix black into its edge.
    """
    if output.background is None:
        shade = _shade(alpha, output)
        if shade is not None:
            alpha, foreground = behind.add_shadow(alpha, foreground, shade)
        return compose.levels(alpha), foreground
    picture = _composite(alpha, foreground, image, result, output)
    if picture.shape[2] == 4:
        return picture[..., 3], picture[..., :3]
    return np.full(picture.shape[:2], 255, np.uint8), picture


def _on_half_transparent(
    alpha: Matte, foreground: Colours, colour: RGBA, shade: Matte | None
) -> Colours:
    if shade is not None:
        alpha, foreground = behind.add_shadow(alpha, foreground, shade)
    base = Image.new("RGBA", alpha.shape[::-1], colour)
    base.alpha_composite(Image.fromarray(compose.rgba(foreground, alpha)))
    return np.asarray(base)


def _decoded(layer: Backdrop | bytes) -> Backdrop:
    if isinstance(layer, bytes):
        return image_io.read(layer, Settings.max_pixels).image
    return layer


def _zipped(
    grey: Colours,
    colours: Colours,
    quality: int | None,
    dpi: tuple[float, float] | None,
    exif: bytes,
) -> bytes:
    buffer = io.BytesIO()
    colour = image_io.encode(np.ascontiguousarray(colours), "jpg", quality, dpi, exif)
    alpha = image_io.encode(np.ascontiguousarray(grey), "png")
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, data in (("color.jpg", colour), ("alpha.png", alpha)):
            # A fixed moment: equal answers are equal files.
            archive.writestr(zipfile.ZipInfo(name), data)
    return buffer.getvalue()


def binary(alpha: Matte) -> Matte:
    """Open, smooth and threshold a mask, as rembg's ``post_process`` does."""
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3))
    clean = cv2.morphologyEx(compose.levels(alpha), cv2.MORPH_OPEN, kernel).astype(np.float32)
    # scipy's Gaussian, which rembg uses, reaches 4 sigma, and mirrors at the border.
    smooth = cv2.GaussianBlur(clean, (17, 17), 2, borderType=cv2.BORDER_REFLECT)
    return (smooth.reshape(alpha.shape) >= 127).astype(np.float32)


def opaque(alpha: Matte, foreground: Colours, image: Colours) -> tuple[Matte, Colours]:
    """Make opaque what lies deeper inside the subject than an edge does; its colours are the
    photo's there."""
    body = (alpha >= VISIBLE).astype(np.uint8)
    if body.all():
        return alpha, foreground
    depth = cv2.distanceTransform(body, cv2.DIST_L2, 3).reshape(body.shape)
    inside = (depth > max(4.0, _EDGE * max(body.shape))) & (alpha < 1)
    return (
        np.where(inside, np.float32(1), alpha),
        np.where(inside[..., None], image, foreground),
    )
