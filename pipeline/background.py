"""What is put behind a cutout, and how it is joined to it.

Pictures that fill, fit or tile; gradients; a soft shadow where a product touches the ground;
and blending in linear light.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline import compose
from pipeline.colour import RGB, colour
from pipeline.errors import SettingsError, quoted

Picture = NDArray[np.uint8]
Matte = NDArray[np.float32]

FITS = ("fill", "fit", "tile")
_BLUR = 0.03  # sigma of the background blur, of the longer side: a portrait lens wide open
_BLUR_VIEW = 512  # px; so wide a blur loses nothing on a view of this side
_STRIP = 1 << 17  # pixels blended at a time: floats of a strip, not of the whole photo


@dataclass(frozen=True)
class Gradient:
    """A change from one colour to another: over the height, at an angle, or from the middle."""

    start: tuple[int, int, int]
    end: tuple[int, int, int]
    angle: float | None = 180.0  # degrees clockwise, as in CSS: 180 is downwards; None is radial


def gradient(spec: str) -> Gradient:
    """Understand "gradient:white,#c8d0d8", with ",45deg" or ",radial" after it.

    Raises :class:`SettingsError` for anything else.
    """
    _, _, rest = spec.partition(":")
    parts = [part.strip() for part in rest.split(",")]
    match = re.fullmatch(r"(-?\d{1,3})deg|radial|", parts[2] if len(parts) == 3 else "")
    try:
        if not 2 <= len(parts) <= 3 or not match:
            raise ValueError
        start, end = (colour(part) for part in parts[:2])
        if start is None or end is None:
            raise ValueError
    except (ValueError, SettingsError):
        raise SettingsError(
            "a gradient looks like gradient:white,#c8d0d8 (then ,45deg or ,radial), "
            f"not {quoted(spec)}"
        ) from None
    angle = None if parts[-1] == "radial" else float(match[1]) if match[1] else 180.0
    return Gradient((start[0], start[1], start[2]), (end[0], end[1], end[2]), angle)


#: What can be laid behind a cutout: a colour, "blur" for the blurred photo itself, a gradient, or a
#: picture.
Backdrop = RGB | str | Gradient | Picture


def backdrop(
    layer: Backdrop,
    image: Picture,
    alpha: Matte,
    fit: str = "fill",
    size: tuple[int, int] | None = None,
) -> RGB | Picture:
    """Make a layer fit a photo: a colour stays one, a picture is laid as ``fit`` says, a gradient
    is drawn, "blur" is the photo's own.

    Parameters
    ----------
    layer
        From :func:`pipeline.output.layer`.
    image, alpha
        The photo, (H, W, 3) uint8, and the matte, (H, W) float32 in 0..1.
    size
        (height, width) of what it is laid behind; None is the photo's.

    Returns
    -------
    A colour (r, g, b), or (height, width, 3) uint8.
    """
    height, width = size or alpha.shape
    if isinstance(layer, str):
        blurred = _blurred(image, alpha)
        return blurred if alpha.shape == (height, width) else lay(blurred, height, width, "fill")
    if isinstance(layer, tuple):
        return layer
    if isinstance(layer, Gradient):
        return paint_gradient(layer, height, width)
    return lay(layer, height, width, fit)


def _blurred(image: Picture, alpha: Matte) -> Picture:
    """Blur the photo's background by itself: the subject, which is put back sharp, would leave a
    halo of its colours. So pixels are weighted by how surely they are background."""
    height, width = alpha.shape
    shrink = min(1.0, _BLUR_VIEW / max(height, width))
    size = (max(1, round(width * shrink)), max(1, round(height * shrink)))
    # From α = 1/8 on a pixel shows too much of the subject to speak for the background.
    rest = np.maximum(1 - 8 * alpha, 0)
    # Weighted before it is reduced: an average over the edge would mix the subject in.
    weighted = compose.over(image, rest, (0, 0, 0))
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


def paint_gradient(colours: Gradient, height: int, width: int) -> Picture:
    """Draw a gradient, (height, width, 3) uint8.

    A grain of less than a level, always the same, keeps close colours from showing as bands.
    """
    y = np.arange(height, dtype=np.float32)[:, None] + 0.5 - height / 2
    x = np.arange(width, dtype=np.float32)[None] + 0.5 - width / 2
    if colours.angle is None:
        share = np.hypot(y, x) / np.float32(np.hypot(height, width) / 2)
    else:
        # The ends of the line lie so that the corners have the pure colours (CSS Images 3, §3.1).
        turn = np.radians(colours.angle)
        dx, dy = np.float32(np.sin(turn)), np.float32(-np.cos(turn))
        share = 0.5 + (x * dx + y * dy) / max(abs(width * dx) + abs(height * dy), 1e-6)
    start, end = (np.array(c, np.float32) for c in (colours.start, colours.end))
    grain = np.random.default_rng(0).random((height, width, 1), np.float32)
    mixed = start + np.clip(share, 0, 1)[..., None] * (end - start) + grain
    return np.clip(mixed, 0, 255).astype(np.uint8)


def lay(picture: Picture, height: int, width: int, fit: str) -> Picture:
    """Bring a picture to a size, (h, w, 3) to (height, width, 3) uint8.

    "fill" covers all and cuts what stands over, evenly; "fit" shows all of it, before a blurred
    cover of itself; "tile" repeats it at its own size from the top left.
    """
    if fit == "tile":
        rows, columns = picture.shape[:2]
        times = (-(-height // rows), -(-width // columns), 1)
        return np.ascontiguousarray(np.tile(picture, times)[:height, :width])
    cover = _scaled(picture, height, width)
    if fit == "fill":
        return cover
    scale = min(width / picture.shape[1], height / picture.shape[0])
    w, h = (max(1, round(side * scale)) for side in picture.shape[1::-1])
    sigma = max(0.04 * max(height, width), 0.5)
    blurred = cv2.GaussianBlur(cover, (0, 0), sigma, borderType=cv2.BORDER_REFLECT)
    result = np.array(blurred, np.uint8)
    top, left = (height - h) // 2, (width - w) // 2
    whole = Image.fromarray(picture).resize((w, h), Image.Resampling.LANCZOS, reducing_gap=3)
    result[top : top + h, left : left + w] = np.asarray(whole)
    return result


def _scaled(picture: Picture, height: int, width: int) -> Picture:
    """Scale to cover, cropped to the middle."""
    rows, columns = picture.shape[:2]
    scale = max(width / columns, height / rows)
    w, h = min(columns, width / scale), min(rows, height / scale)
    left, top = (columns - w) / 2, (rows - h) / 2
    lanczos = Image.Resampling.LANCZOS
    box = (left, top, left + w, top + h)
    return np.asarray(
        Image.fromarray(picture).resize((width, height), lanczos, box, reducing_gap=3)
    )


def shadow(alpha: Matte) -> Matte:
    """Cast a soft contact shadow, (H, W) float32 in 0..1 to the same: 1 is darkest.

    The lowest part of the subject, seen from above: a narrow dark core where it stands, and a
    wide faint one around it, both flattened as a shadow on a table is. All of it lies near the
    ground line; a subject that the photo's lower border cuts off has none in the picture.
    """
    height, width = alpha.shape
    rows, columns = np.flatnonzero((alpha > 0.5).any(1)), np.flatnonzero((alpha > 0.5).any(0))
    if not len(rows):
        return np.zeros_like(alpha)
    top, ground = int(rows[0]), int(rows[-1]) + 1
    size = max(ground - top, int(columns[-1]) + 1 - int(columns[0]))
    dark = np.zeros_like(alpha)
    for part, depth, weight in ((0.06, 0.01, 0.75), (0.35, 0.035, 0.35)):
        # The footprint: which columns the lowest part of the subject stands above.
        foot = alpha[max(top, ground - max(1, round(part * size))) : ground].max(0)
        sigma = max(0.9 * depth * size, 0.5)
        kernel = (2 * int(np.ceil(6 * sigma)) + 1, 1)  # along the row alone
        soft = cv2.GaussianBlur(foot[None], kernel, 2 * sigma, borderType=cv2.BORDER_CONSTANT)[0]
        y = np.arange(height, dtype=np.float32) + 0.5 - ground
        fall = np.exp(-0.5 * (y / np.float32(sigma)) ** 2)
        dark = 1 - (1 - dark) * (1 - np.float32(weight) * fall[:, None] * soft[None])
    return np.asarray(dark, np.float32)


def darken(background: Picture | tuple[int, ...], shade: Matte) -> Picture:
    """Let a shadow fall on a background: a shade of 1 makes it black.

    (H, W, 3) uint8 or a colour, (H, W) float32 in 0..1 to (H, W, 3) uint8. A shadow takes away
    light, not sRGB values.
    """
    light = 1 - shade[..., None]
    return _from_linear(_to_linear(np.asarray(background, np.uint8)) * light)


def add_shadow(alpha: Matte, foreground: Picture, shade: Matte) -> tuple[Matte, Picture]:
    """Put a black shadow under a cutout that keeps its transparency (Porter and Duff's "over").

    (H, W) float32 in 0..1, (H, W, 3) uint8, (H, W) float32 in 0..1 to alpha and foreground.
    """
    both = alpha + (1 - alpha) * shade
    share = alpha / np.maximum(both, np.float32(1e-6))
    return both, np.asarray(foreground * share[..., None] + 0.5).astype(np.uint8)


def over_linear(
    foreground: Picture, alpha: Matte, background: Picture | tuple[int, int, int]
) -> Picture:
    """Composite in linear light: C = αF + (1 − α)B of amounts of light, not of sRGB values.

    That is what a lens does with a strand before a bright wall; common programs blend the sRGB
    values instead, which makes soft edges darker on light backgrounds.

    (H, W, 3) uint8, (H, W) float32 in 0..1, (H, W, 3) uint8 or a colour to (H, W, 3) uint8.
    """
    height, width = alpha.shape
    behind = np.broadcast_to(np.asarray(background, np.uint8), foreground.shape)
    result = np.empty_like(foreground)
    rows = max(1, _STRIP // width)
    for top in range(0, height, rows):
        strip = np.s_[top : top + rows]
        b = _to_linear(behind[strip])
        mixed = b + alpha[strip, :, None] * (_to_linear(foreground[strip]) - b)
        result[strip] = _from_linear(mixed)
    return result


# sRGB (IEC 61966-2-1): 256 values in, and so fine a table out that every one comes back.
_LEVELS = np.arange(256) / 255
_LINEAR = np.where(_LEVELS <= 0.04045, _LEVELS / 12.92, ((_LEVELS + 0.055) / 1.055) ** 2.4).astype(
    np.float32
)
_STEPS = 1 << 14
_AMOUNTS = np.arange(_STEPS + 1) / _STEPS
_ENCODED = (
    255 * np.where(_AMOUNTS <= 0.0031308, 12.92 * _AMOUNTS, 1.055 * _AMOUNTS ** (1 / 2.4) - 0.055)
    + 0.5
).astype(np.uint8)


def _to_linear(picture: Picture) -> NDArray[np.float32]:
    return _LINEAR[picture]


def _from_linear(light: NDArray[np.float32]) -> Picture:
    steps = np.clip(light * np.float32(_STEPS) + np.float32(0.5), 0, _STEPS)
    return _ENCODED[steps.astype(np.uint16)]
