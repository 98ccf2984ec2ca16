"""How an answer looks: from a cutout to the file that a client asked for.

All faces ask in these terms; arrays are as in :mod:`pipeline.compose`, alpha is straight.
"""

from __future__ import annotations

import hashlib
import io
import re
import zipfile
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor

from pipeline import compose, image_io
from pipeline.cutout import Result
from pipeline.errors import SettingsError

MEDIA = {
    "png": "image/png",
    "webp": "image/webp",
    "jpg": "image/jpeg",
    "tiff": "image/tiff",
    "zip": "application/zip",
}
FORMATS = (*MEDIA, "auto")

RGBA = tuple[int, int, int, int]
Pixels = NDArray[np.uint8]

_INSIDE = 0.01  # of the longer side: deeper inside the subject than this is no edge


@dataclass(frozen=True)
class Look:
    """What a client wants to see. Raises :class:`SettingsError` for what cannot be."""

    #: png, webp, jpg, tiff, zip (color.jpg and alpha.png), or auto: png where there is
    #: transparency, else jpg.
    format: str = "png"

    #: 1..100 for webp and jpg; None is the pipeline's own.
    quality: int | None = None

    #: Behind the subject: nothing, a colour with its opacity, "blur", or the bytes of a picture.
    background: RGBA | str | bytes | None = None

    #: Cut down to the subject, with room around it: one to four values, each "5%" or "20px"
    #: (as in CSS: all; vertical and horizontal; top, right, bottom, left).
    crop: bool = False
    margin: str = "0px"

    #: The alpha itself, as a grey picture.
    only_mask: bool = False

    #: Open, smooth and threshold the mask: rembg's ``post_process_mask``.
    binary: bool = False

    #: Make opaque what is half-transparent inside the subject; edges stay soft.
    opaque: bool = False

    #: Reduce the photo to at most so many pixels beforehand; None leaves it.
    pixels: int | None = None

    #: Only what lies in this rectangle can be foreground: "x1 y1 x2 y2", each in px or %.
    roi: str = ""

    #: Scale the subject to this share of the picture, 0.1..1; None leaves it.
    scale: float | None = None

    #: Where the subject goes, as shares (x, y) of the free room; None leaves it.
    position: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if self.format not in FORMATS:
            raise SettingsError(f"format must be one of {', '.join(FORMATS)}, not {self.format!r}")
        if self.quality is not None and not 1 <= self.quality <= 100:
            raise SettingsError(f"quality must lie within 1..100, not {self.quality}")
        if self.only_mask and self.background is not None:
            raise SettingsError("a mask has no background: ask for one of the two")
        if isinstance(self.background, str) and self.background != "blur":
            raise SettingsError(f"background {self.background!r} is not understood")
        if self.scale is not None and not 0.1 <= self.scale <= 1:
            raise SettingsError("scale must lie within 10%..100%")
        margins(self.margin, 0, 0)
        if self.roi:
            _rectangle(self.roi, 100, 100)

    @property
    def key(self) -> str:
        """Name this look: equal looks have equal names."""
        shown = self.background
        if isinstance(shown, bytes):
            shown = hashlib.sha256(shown).hexdigest()
        return repr(replace(self, background=None)) + repr(shown)


def colour(text: str) -> RGBA | None:
    """Understand a colour: a CSS name, hex digits with or without "#", rgb(…) or rgba(…).

    Returns None for no colour at all (empty, "transparent", "none"). Raises
    :class:`SettingsError` for anything else.
    """
    name = text.strip().lower()
    if name in ("", "transparent", "none"):
        return None
    if re.fullmatch(r"[0-9a-f]{3,4}|[0-9a-f]{6}|[0-9a-f]{8}", name):
        name = "#" + name
    try:
        red, green, blue, *opacity = ImageColor.getrgb(name)
    except ValueError:
        raise SettingsError(f"{text!r} is no colour: use a name, or hex digits as 1e90ff") from None
    return red, green, blue, opacity[0] if opacity else 255


def backdrop(text: str) -> RGBA | str | None:
    """Understand a background given as text: "transparent", "blur", or a colour."""
    return "blur" if text.strip().lower() == "blur" else colour(text)


def margins(text: str, width: int, height: int) -> tuple[int, int, int, int]:
    """Understand one to four margins around a box; "%" is of the box's side.

    Returns (top, right, bottom, left) in pixels. Raises :class:`SettingsError` for anything else.
    """
    given = text.split()
    if not 1 <= len(given) <= 4:
        raise SettingsError(f"margin must be one to four values such as 20px or 5%, not {text!r}")
    top = given[0]
    right = given[1] if len(given) > 1 else top
    bottom = given[2] if len(given) > 2 else top
    left = given[3] if len(given) > 3 else right
    sides = ((top, height), (right, width), (bottom, height), (left, width))
    a, b, c, d = (compose.margin_pixels(value, side) for value, side in sides)
    return a, b, c, d


def _rectangle(text: str, width: int, height: int) -> tuple[int, int, int, int]:
    given = text.split()
    found = [re.fullmatch(r"(\d{1,6}(?:\.\d+)?)(px|%)?", value) for value in given]
    if len(given) != 4 or not all(found):
        raise SettingsError(f"roi must be 'x1 y1 x2 y2', each in px or %, not {text!r}")
    x1, y1, x2, y2 = (
        round(float(m[1]) / 100 * side) if m[2] == "%" else round(float(m[1]))
        for m, side in zip(found, (width, height, width, height), strict=True)
        if m
    )
    left, right = sorted((min(x1, width), min(x2, width)))
    top, bottom = sorted((min(y1, height), min(y2, height)))
    if left == right or top == bottom:
        raise SettingsError(f"roi {text!r} has no area")
    return left, top, right, bottom


# -- before the cutout -----------------------------------------------------------------------------


def reduced(photo: image_io.Photo, pixels: int | None) -> image_io.Photo:
    """Reduce a photo to at most so many pixels."""
    height, width = photo.image.shape[:2]
    if pixels is None or width * height <= pixels:
        return photo
    scale = (pixels / (width * height)) ** 0.5
    size = (max(1, int(width * scale)), max(1, int(height * scale)))
    image = np.asarray(cv2.resize(photo.image, size, interpolation=cv2.INTER_AREA), np.uint8)
    alpha = photo.alpha
    if alpha is not None:
        alpha = np.asarray(cv2.resize(alpha, size, interpolation=cv2.INTER_AREA), np.float32)
    return replace(photo, image=image, alpha=alpha)


def region(photo: image_io.Photo, roi: str) -> tuple[slice, slice]:
    """Turn a region of interest into rows and columns; all of them where there is none."""
    height, width = photo.image.shape[:2]
    left, top, right, bottom = _rectangle(roi, width, height) if roi else (0, 0, width, height)
    return slice(top, bottom), slice(left, right)


def as_array(photo: image_io.Photo, area: tuple[slice, slice]) -> Pixels:
    """Return a part of a photo as the (H, W, 3 | 4) uint8 array that a cutout takes."""
    image = photo.image[area]
    if photo.alpha is None:
        return np.ascontiguousarray(image)
    return np.dstack([image, compose.levels(np.ascontiguousarray(photo.alpha[area]))])


def embedded(result: Result, photo: image_io.Photo, area: tuple[slice, slice]) -> Result:
    """Put a cutout of a part of a photo back into the whole; outside, alpha is 0."""
    shape = photo.image.shape[:2]
    if result.alpha.shape == shape:
        return replace(result, photo=photo)
    alpha, coarse, roi = np.zeros(shape, np.float32), np.zeros(shape, np.float32), None
    alpha[area], coarse[area] = result.alpha, result.coarse
    roi = np.zeros(shape, bool)
    roi[area] = result.roi
    foreground = photo.image.copy()
    foreground[area] = result.foreground
    return replace(result, photo=photo, alpha=alpha, foreground=foreground, coarse=coarse, roi=roi)


# -- after it --------------------------------------------------------------------------------------


def hardened(alpha: NDArray[np.float32]) -> NDArray[np.float32]:
    """Open, smooth and threshold a mask as rembg's ``post_process`` does."""
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3))
    clean = cv2.morphologyEx(compose.levels(alpha), cv2.MORPH_OPEN, kernel).astype(np.float32)
    # scipy's Gaussian reaches 4 sigma, and mirrors at the border.
    smooth = cv2.GaussianBlur(clean, (17, 17), 2, borderType=cv2.BORDER_REFLECT)
    return (smooth.reshape(alpha.shape) >= 127).astype(np.float32)


def solid(result: Result) -> Result:
    """Make opaque what lies deeper inside the subject than an edge does."""
    body = (result.alpha >= compose.VISIBLE).astype(np.uint8)
    if body.all():
        return result
    depth = cv2.distanceTransform(body, cv2.DIST_L2, 3).reshape(body.shape)
    inside = (depth > max(4.0, _INSIDE * max(body.shape))) & (result.alpha < 1)
    return replace(
        result,
        alpha=np.where(inside, np.float32(1), result.alpha),
        foreground=np.where(inside[..., None], result.photo.image, result.foreground),
    )


def _arranged(result: Result, look: Look) -> Result:
    """Crop, or scale and move the subject, as asked."""
    alpha, foreground, image = result.alpha, result.foreground, result.photo.image
    height, width = alpha.shape
    left, top, right, bottom = compose.crop_box(alpha)
    if look.crop:
        above, after, below, before = margins(look.margin, right - left, bottom - top)
        rows = slice(max(0, top - above), min(height, bottom + below))
        columns = slice(max(0, left - before), min(width, right + after))
        alpha, foreground, image = (
            alpha[rows, columns],
            foreground[rows, columns],
            image[rows, columns],
        )
        return replace(
            result,
            photo=replace(result.photo, image=np.ascontiguousarray(image)),
            alpha=np.ascontiguousarray(alpha),
            foreground=np.ascontiguousarray(foreground),
        )
    if look.scale is None and look.position is None:
        return result
    box = np.s_[top:bottom, left:right]
    rows_, columns_ = bottom - top, right - left
    factor = look.scale * min(width / columns_, height / rows_) if look.scale else 1.0
    size = (max(1, round(columns_ * factor)), max(1, round(rows_ * factor)))
    way = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    # Scaled premultiplied, or colours from where alpha is 0 would bleed into the edge.
    scaled = cv2.resize(np.ascontiguousarray(alpha[box]), size, interpolation=way)
    small = np.clip(np.asarray(scaled, np.float32), 0, 1).reshape(size[::-1])
    weighted = foreground[box].astype(np.float32) * alpha[box][..., None]
    colours = cv2.resize(weighted, size, interpolation=way).reshape(*small.shape, 3)
    straight = colours / np.maximum(small, 1e-4)[..., None]
    x, y = look.position or (0.5, 0.5)
    row, column = round(y * (height - size[1])), round(x * (width - size[0]))
    place = np.s_[row : row + size[1], column : column + size[0]]
    alpha, foreground = np.zeros_like(alpha), np.zeros_like(foreground)
    alpha[place] = small
    foreground[place] = np.clip(straight + 0.5, 0, 255).astype(np.uint8)
    return replace(result, alpha=alpha, foreground=foreground)


@dataclass(frozen=True)
class Picture:
    """A finished file, and what is worth knowing of it."""

    data: bytes
    format: str
    width: int
    height: int
    #: Where the subject is in it: left, top, width, height in pixels.
    box: tuple[int, int, int, int]


def finish(result: Result, look: Look) -> Picture:
    """Make the file. Raises :class:`SettingsError` or :class:`pipeline.OutputError`."""
    if look.binary:
        result = replace(result, alpha=hardened(result.alpha))
    if look.opaque:
        result = solid(result)
    result = _arranged(result, look)
    height, width = result.alpha.shape
    left, top, right, bottom = compose.crop_box(result.alpha)
    box = (left, top, right - left, bottom - top)
    if look.format == "zip":
        data = _zipped(result, look)
        return Picture(data, "zip", width, height, box)
    pixels = _pixels(result, look)
    kind = look.format
    if kind == "auto":
        kind = "png" if pixels.ndim == 3 and pixels.shape[2] == 4 else "jpg"
    quality = look.quality if kind in ("webp", "jpg") else None
    photo = result.photo
    if photo.image.shape[:2] != (height, width):
        raise AssertionError("a look keeps photo and alpha the same size")
    data = image_io.encode(pixels, kind, quality, photo.dpi, photo.exif)
    return Picture(data, kind, width, height, box)


def _pixels(result: Result, look: Look) -> Pixels:
    if look.only_mask:
        return compose.levels(result.alpha)
    behind = look.background
    if behind is None:
        if look.format == "jpg":
            # Nothing was said of the background, and JPEG holds none: white, as others have it.
            return compose.over(result.foreground, result.alpha, (255, 255, 255))
        return compose.rgba(result.foreground, result.alpha)
    if isinstance(behind, tuple) and behind[3] < 255:
        base = Image.new("RGBA", result.alpha.shape[::-1], behind)
        base.alpha_composite(Image.fromarray(compose.rgba(result.foreground, result.alpha)))
        mixed = np.asarray(base)
        if look.format == "jpg":
            opacity = np.asarray(mixed[..., 3] / 255, np.float32)
            return compose.over(np.ascontiguousarray(mixed[..., :3]), opacity, (255, 255, 255))
        return mixed
    layer: Any = behind[:3] if isinstance(behind, tuple) else behind
    if isinstance(layer, bytes):
        layer = image_io.read(layer, 100_000_000).image
    fitted = compose.background(layer, result.photo.image, result.alpha)
    return compose.over(result.foreground, result.alpha, fitted)


def _zipped(result: Result, look: Look) -> bytes:
    """Pack colour (JPEG) and alpha (PNG): far smaller than one PNG, at full quality of the edge."""
    buffer = io.BytesIO()
    photo = result.photo
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        colours = image_io.encode(result.foreground, "jpg", look.quality, photo.dpi, photo.exif)
        for name, data in (
            ("color.jpg", colours),
            ("alpha.png", image_io.encode(compose.levels(result.alpha), "png")),
        ):
            # A fixed moment: equal answers are equal files.
            archive.writestr(zipfile.ZipInfo(name), data)
    return buffer.getvalue()
