"""From alpha and colours to the picture that is written.

Everything here is straight (not premultiplied) alpha: C = αF + (1 − α)B puts a cutout on any
background, and on its own one gives the photo back.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor

from pipeline import background as behind
from pipeline import image_io
from pipeline.background import Gradient
from pipeline.errors import SettingsError

Colour = tuple[int, int, int]
#: What lies behind a cutout: a colour, "blur" for the blurred photo itself, a gradient, or a
#: picture (H, W, 3) uint8.
Layer = Colour | str | Gradient | NDArray[np.uint8]

#: Alpha from which a pixel counts for cropping; fainter is noise that no one sees.
VISIBLE = 0.05

_BLUR = 0.03  # sigma of the background blur, of the longer side: a portrait lens wide open
_BLUR_VIEW = 512  # px; so wide a blur loses nothing on a view of this side
_STRIP = 1 << 18  # pixels blended at a time: the work stays in the cache, and memory small


@dataclass(frozen=True, eq=False)
class Output:
    """How a cutout is written. Raises :class:`SettingsError` for what cannot be."""

    #: png, webp, tiff or jpg. PNG: every program reads it, and nothing is lost.
    format: str = "png"

    #: 1..100 for webp (100 is lossless) and jpg; None is 90 for webp and 92 for jpg.
    quality: int | None = None

    #: None keeps the transparency; else see :func:`layer`.
    background: Layer | None = None

    #: Whether to cut the picture down to the subject.
    crop: bool = False

    #: Room to leave around the subject when cropping: see :func:`margin_pixels`.
    margin: str = "0px"

    #: Write the alpha itself, as a grey picture.
    only_mask: bool = False

    #: How a picture is laid behind: fill, fit or tile, see :func:`pipeline.background.lay`.
    fit: str = "fill"

    #: How dark the shadow is where the subject stands on the background, 0..1; 0 is none. For
    #: products: a person cut off by the photo's border stands on nothing.
    shadow: float = 0.0

    #: Blend amounts of light, not sRGB values. Off, because every other program blends the latter,
    #: and a cutout should look the same here as there.
    linear: bool = False

    #: Make an ID photo: one of :data:`pipeline.background.ID_PHOTOS`, which sets the size, and
    #: the background where none is given.
    id_photo: str | None = None

    def __post_init__(self) -> None:
        if self.format not in image_io.FORMATS:
            known = ", ".join(image_io.FORMATS)
            raise SettingsError(f"format must be one of {known}, not {self.format!r}")
        if self.quality is not None:
            if not 1 <= self.quality <= 100:
                raise SettingsError(f"quality must lie within 1..100, not {self.quality}")
            if self.format not in ("webp", "jpg"):
                raise SettingsError(f"{self.format} is lossless: quality is for webp and jpg")
        if self.id_photo is not None:
            self._check_id_photo(self.id_photo)
        if self.fit not in behind.FITS:
            raise SettingsError(f"fit must be one of {', '.join(behind.FITS)}, not {self.fit!r}")
        if not 0 <= self.shadow <= 1:
            raise SettingsError(f"shadow must lie within 0..1, not {self.shadow}")
        if (self.shadow or self.linear) and self.background is None:
            raise SettingsError("a shadow, and linear light, need a background: give one")
        if self.only_mask and self.background is not None:
            raise SettingsError("a mask has no background: ask for one of the two")
        if self.format == "jpg" and self.background is None and not self.only_mask:
            raise SettingsError("JPEG holds no transparency: give a background, or choose png")
        margin_pixels(self.margin, 0)
        if self.background is not None:
            object.__setattr__(self, "background", layer(self.background))

    def _check_id_photo(self, name: str) -> None:
        if name not in behind.ID_PHOTOS:
            known = ", ".join(behind.ID_PHOTOS)
            raise SettingsError(f"an ID photo is one of {known}, not {name!r}")
        if self.crop or self.only_mask:
            raise SettingsError("an ID photo has its own size: without crop, without only_mask")
        if self.background is None:
            object.__setattr__(self, "background", behind.ID_PHOTOS[name].colour)


class Matte(Protocol):
    """What is needed of a :class:`pipeline.cutout.Result`."""

    @property
    def photo(self) -> image_io.Photo: ...
    @property
    def alpha(self) -> NDArray[np.float32]: ...
    @property
    def foreground(self) -> NDArray[np.uint8]: ...


def render(result: Matte, output: Output) -> NDArray[np.uint8]:
    """Make the picture that ``output`` asks for: RGBA, RGB or grey, (h, w[, 4 | 3]) uint8."""
    alpha, foreground, image = result.alpha, result.foreground, result.photo.image
    if output.crop:
        left, top, right, bottom = crop_box(alpha, output.margin)
        area = np.s_[top:bottom, left:right]
        alpha, foreground, image = alpha[area], foreground[area], image[area]
    if output.only_mask:
        return levels(alpha)
    if output.id_photo:
        box = behind.id_box(alpha, behind.ID_PHOTOS[output.id_photo])
        alpha = behind.window(alpha, box)
        foreground, image = behind.window(foreground, box), behind.window(image, box)
    if output.background is None:
        return rgba(foreground, alpha)
    back = background(output.background, image, alpha, output.fit)
    if output.shadow:
        back = behind.darken(back, behind.shadow(alpha), output.shadow)
    picture = (behind.over_linear if output.linear else over)(foreground, alpha, back)
    if output.id_photo:
        size = behind.id_size(behind.ID_PHOTOS[output.id_photo])
        lanczos = Image.Resampling.LANCZOS
        picture = np.asarray(Image.fromarray(picture).resize(size[::-1], lanczos, reducing_gap=3))
    return picture


def to_bytes(result: Matte, output: Output | None = None) -> bytes:
    """Make the file that ``output`` (default: PNG, as large as the photo) asks for."""
    output = output or Output()
    photo = result.photo
    picture = render(result, output)
    dpi = (behind.DPI, behind.DPI) if output.id_photo else photo.dpi
    return image_io.encode(picture, output.format, output.quality, dpi, photo.exif)


def save(result: Matte, path: str | os.PathLike[str], output: Output | None = None) -> None:
    """Write a cutout; without ``output`` the name's ending chooses the format.

    Raises :class:`pipeline.errors.OutputError` when it cannot be written,
    :class:`pipeline.errors.UnsupportedFormat` for an unknown ending.
    """
    output = output or Output(format=image_io.format_of(path))
    image_io.write(path, to_bytes(result, output))


def levels(alpha: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Round alpha to grey levels, (H, W) float32 in 0..1 to (H, W) uint8."""
    return np.asarray(cv2.convertScaleAbs(alpha, alpha=255), np.uint8).reshape(alpha.shape)


def rgba(foreground: NDArray[np.uint8], alpha: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Join colour and alpha into straight RGBA.

    Parameters
    ----------
    foreground
        (H, W, 3) uint8, straight.
    alpha
        (H, W) float32 in 0..1.

    Returns
    -------
    (H, W, 4) uint8. Where alpha rounds to 0 the colour is black: what was cut away can not be
    brought back from the file, and the file is smaller.
    """
    grey = levels(alpha)
    wide = cv2.cvtColor(np.ascontiguousarray(foreground), cv2.COLOR_RGB2RGBA)
    joined = np.asarray(wide, np.uint8).reshape(*alpha.shape, 4)
    joined[..., 3] = grey
    # As whole pixels of 32 bits, one comparison each.
    joined.view(np.uint32)[..., 0][grey == 0] = 0
    return joined


def over(
    foreground: NDArray[np.uint8],
    alpha: NDArray[np.float32],
    background: Colour | NDArray[np.uint8],
) -> NDArray[np.uint8]:
    """Composite: C = αF + (1 − α)B, rounded to the nearest level.

    Parameters
    ----------
    foreground, alpha
        (H, W, 3) uint8, straight; (H, W) float32 in 0..1.
    background
        A colour (r, g, b), or a picture (H, W, 3) uint8.

    Returns
    -------
    (H, W, 3) uint8.
    """
    height, width = alpha.shape
    result = np.empty((height, width, 3), np.uint8)
    behind = np.broadcast_to(np.asarray(background, np.uint8), result.shape)
    rows = max(1, _STRIP // width)
    for top in range(0, height, rows):
        strip = np.s_[top : top + rows]
        b = behind[strip].astype(np.float32)
        mixed = foreground[strip] - b
        mixed *= alpha[strip, :, None]
        mixed += b
        mixed += 0.5
        result[strip] = mixed  # truncates; the values lie within 0.5..255.5
    return result


def layer(spec: Layer) -> Layer:
    """Understand a background: a colour name or #hex (CSS), "blur", "gradient:white,#c8d0d8"
    (:func:`pipeline.background.gradient`), or the path of a picture.

    What is understood already, a colour (r, g, b) or a (H, W, 3) uint8 array, comes back as it
    is. Raises :class:`SettingsError` for anything else, :class:`pipeline.errors.ImageError` for a
    picture that cannot be read.
    """
    if not isinstance(spec, (str, os.PathLike)):
        return spec
    name = os.fspath(spec)
    if name == "blur":
        return name
    if name.startswith("gradient:"):
        return behind.gradient(name)
    try:
        colour = ImageColor.getrgb(name)
    except ValueError:
        if os.path.exists(name):
            return image_io.read(name).image
        raise SettingsError(
            f"background {name!r} is no colour (white, #1e90ff), not 'blur', and no picture file"
        ) from None
    if len(colour) == 4:
        raise SettingsError(f"background {name!r} is transparent: give an opaque colour, or none")
    return colour


def background(
    layer: Layer, image: NDArray[np.uint8], alpha: NDArray[np.float32], fit: str = "fill"
) -> Colour | NDArray[np.uint8]:
    """Make a layer fit a photo: a colour stays one, a picture is laid as ``fit`` says, a gradient
    is drawn, "blur" is the photo's own.

    Parameters
    ----------
    layer
        From :func:`layer`.
    image, alpha
        The photo, (H, W, 3) uint8, and the matte, (H, W) float32 in 0..1.

    Returns
    -------
    A colour (r, g, b), or (H, W, 3) uint8.
    """
    if isinstance(layer, str):
        return _blurred(image, alpha)
    if isinstance(layer, tuple):
        return layer
    height, width = image.shape[:2]
    if isinstance(layer, Gradient):
        return behind.paint_gradient(layer, height, width)
    return behind.lay(layer, height, width, fit)


def _blurred(image: NDArray[np.uint8], alpha: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Blur the photo's background by itself: the subject, which is put back sharp, would leave a
    halo of its colours. So pixels are weighted by how surely they are background."""
    height, width = alpha.shape
    shrink = min(1.0, _BLUR_VIEW / max(height, width))
    size = (max(1, round(width * shrink)), max(1, round(height * shrink)))
    # From α = 1/8 on a pixel shows too much of the subject to speak for the background.
    rest = np.maximum(1 - 8 * alpha, 0)
    # Weighted before it is reduced: an average over the edge would mix the subject in.
    weighted = over(image, rest, (0, 0, 0))
    colour = cv2.resize(weighted, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    weight = cv2.resize(rest, size, interpolation=cv2.INTER_AREA)
    # Behind a large subject no background is near: there the mean of all of it stands in.
    mean = colour.mean((0, 1)) / max(float(weight.mean()), 1e-6)
    sigma = max(_BLUR * max(size), 0.5)
    near, share = (
        cv2.GaussianBlur(a, (0, 0), sigma, borderType=cv2.BORDER_REFLECT).reshape(a.shape)
        for a in (colour, weight)
    )
    filled = (near + 1e-3 * mean) / (share[..., None] + 1e-3)
    small = np.clip(filled + 0.5, 0, 255).astype(np.uint8)
    large = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
    return large.reshape(image.shape)


def crop_box(alpha: NDArray[np.float32], margin: str = "0px") -> tuple[int, int, int, int]:
    """Find the box around the subject.

    Parameters
    ----------
    alpha
        (H, W) float32 in 0..1; pixels from 0.05 on count as the subject.
    margin
        Room around it: see :func:`margin_pixels`. The box never leaves the picture.

    Returns
    -------
    (left, top, right, bottom) in pixels, right and bottom exclusive. The whole picture where
    there is no subject.
    """
    height, width = alpha.shape
    seen = alpha >= VISIBLE
    rows, columns = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
    if not len(rows):
        return 0, 0, width, height
    left, top, right, bottom = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
    room = margin_pixels(margin, max(right - left, bottom - top))
    return (
        max(0, int(left) - room),
        max(0, int(top) - room),
        min(width, int(right) + room),
        min(height, int(bottom) + room),
    )


def margin_pixels(margin: str, side: int) -> int:
    """Understand a margin: "20px", or "5%" of the longer side of the subject's box.

    Returns whole pixels. Raises :class:`SettingsError` for anything else.
    """
    match = re.fullmatch(r"(\d{1,5}(?:\.\d+)?)\s*(px|%)", margin.strip())
    if not match:
        raise SettingsError(f"margin must look like 20px or 5%, not {margin!r}")
    number = float(match[1])
    return round(number if match[2] == "px" else number / 100 * side)
