"""The pixels of any Pillow image, made upright sRGB of eight bits.

Sixteen modes, eight orientations, every colour profile and every range of samples come in; one
kind of array goes out. The work is done strip by strip, so that no second full-size copy is made.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_STRIP = 1 << 18  # pixels converted at a time: the work stays in the cache, and memory small

# Where an EXIF orientation puts the stored rows and columns, as a view of the upright array.
_STORED: dict[int, Callable[[NDArray[Any]], NDArray[Any]]] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: a[:, ::-1].swapaxes(0, 1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: a[::-1].swapaxes(0, 1),
}


def upright(
    image: Image.Image, orientation: int, notes: list[str]
) -> tuple[NDArray[np.uint8], NDArray[np.float32] | None]:
    """Convert an image.

    Parameters
    ----------
    image
        Of any mode, loaded. It is not changed.
    orientation
        EXIF's, 1..8, still to be applied.
    notes
        Where what the user may want to know is added.

    Returns
    -------
    pixels : (H, W, 3) uint8, sRGB, upright.
    alpha : (H, W) float32 in 0..1, or None where nothing is transparent.
    """
    width, height = image.size
    shape = (height, width) if orientation < 5 else (width, height)
    pixels = np.empty((*shape, 3), np.uint8)
    alpha = np.empty(shape, np.float32) if image.has_transparency_data else None
    to_pixels = _STORED[orientation](pixels)
    to_alpha = None if alpha is None else _STORED[orientation](alpha)
    full = _full_scale(image, notes)
    colour = _to_srgb(image, notes)
    rows = max(1, _STRIP // width)
    for top in range(0, height, rows):
        strip = image.crop((0, top, width, min(top + rows, height)))
        base, opacity = _split(strip, full)
        to_pixels[top : top + rows] = np.asarray(colour(base))
        if to_alpha is not None:
            to_alpha[top : top + rows] = np.asarray(opacity, np.float32) / 255
    if alpha is not None and alpha.min() == 1:
        alpha = None
    return pixels, alpha


def _full_scale(image: Image.Image, notes: list[str]) -> float:
    """Return the value that means white in images of more than 8 bits; 255 for all others."""
    if image.mode.startswith("I;16"):
        bits = 16
        if image.format == "TIFF":  # 12-bit scans are stored in 16
            bits = dict(getattr(image, "tag_v2", {})).get(0x0102, (16,))[0]
        full = (1 << bits) - 1
        top = int(np.asarray(image).max(initial=0))
        # Sensors of 10 and 12 bits are often stored in 16 without a word: near black, as 16 bits.
        for few in (10, 12):
            if bits == 16 and 255 < top < 1 << few:
                notes.append(
                    f"16-bit samples of no more than {few} bits, read as 0..{(1 << few) - 1}"
                )
                return float((1 << few) - 1)
        return float(full)
    if image.mode not in ("I", "F"):
        return 255
    return white(np.asarray(image), notes, 65535 if image.format == "PNG" else 0)


def white(values: NDArray[Any], notes: list[str], least: float = 0) -> float:
    """Guess what value means white: the smallest usual one, from ``least`` on, that covers all.

    Usual are 1 (floats only; they may overshoot it a little), 255 and 65535; beyond, it is the
    largest value itself. The guess is added to ``notes``.
    """
    top = float(values[np.isfinite(values)].max(initial=0))
    floats = values.dtype.kind == "f"
    if floats and top <= 2:
        full = 1.0
    else:
        full = next((usual for usual in (255.0, 65535.0) if usual >= max(top, least)), top)
    notes.append(f"{'float' if floats else 'integer'} samples, read as 0..{full:g}")
    return full


def scaled(values: NDArray[Any], full: float) -> NDArray[np.uint8]:
    """Scale samples of any type from 0..full to 0..255 uint8; what is no number is black."""
    levels = np.asarray(values * (255 / full))
    np.nan_to_num(levels, copy=False, nan=0, posinf=255, neginf=0)
    return np.clip(np.rint(levels, out=levels), 0, 255, out=levels).astype(np.uint8)


def _split(strip: Image.Image, full: float) -> tuple[Image.Image, Image.Image | None]:
    """Separate colour, in a mode that colour management takes, from opacity ("L" or None)."""
    if strip.mode in ("I", "F") or strip.mode.startswith("I;16"):
        values = np.asarray(strip)
        opacity = None
        if (key := strip.info.get("transparency")) is not None:
            opacity = Image.fromarray(((values != key) * 255).astype(np.uint8))
        return Image.fromarray(scaled(values, full)), opacity
    if strip.has_transparency_data:
        if strip.mode == "La":
            strip = strip.convert("LA")
        rgba = strip.convert("RGBA")
        base = strip.convert("L") if strip.mode in ("L", "LA", "1") else rgba.convert("RGB")
        return base, rgba.getchannel("A")
    if strip.mode == "1":
        return strip.convert("L"), None
    return strip if strip.mode in ("L", "RGB", "CMYK", "LAB") else strip.convert("RGB"), None


def _to_srgb(image: Image.Image, notes: list[str]) -> Callable[[Image.Image], Image.Image]:
    """Return what turns a strip's colours into RGB in sRGB, by the embedded profile if any."""

    def plain(strip: Image.Image) -> Image.Image:
        return strip if strip.mode == "RGB" else strip.convert("RGB")

    profile = image.info.get("icc_profile") or b""
    if not profile and image.mode != "LAB":
        return plain
    from PIL import ImageCms  # here: most photos have no profile, and need not wait for it

    srgb = ImageCms.createProfile("sRGB")
    try:
        if image.mode == "LAB":
            transform = ImageCms.buildTransform(ImageCms.createProfile("LAB"), srgb, "LAB", "RGB")
            return lambda strip: _applied(transform, strip)
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        space = source.profile.xcolor_space.strip()
        taken = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}.get(space, "")
        grey = image.mode in ("1", "L", "LA", "La", "I", "F") or image.mode.startswith("I;16")
        own = "CMYK" if image.mode == "CMYK" else "L" if grey else "RGB"
        if taken != own and (taken, own) != ("RGB", "L"):
            notes.append(f"the colour profile is for {space or '?'}, not {own}: ignored")
            return plain
        transform = ImageCms.buildTransform(source, srgb, taken, "RGB")
        if taken == "RGB":
            # Most profiles are sRGB by some name; what changes nothing need not be run.
            steps = np.linspace(0, 255, 9).astype(np.uint8)
            lattice = np.stack(np.meshgrid(steps, steps, steps), -1).reshape(-1, 9, 3)
            moved = np.asarray(_applied(transform, Image.fromarray(lattice)))
            if np.abs(moved.astype(int) - lattice).max() <= 1:
                return plain
    except Exception:  # lcms says no more than that it failed
        notes.append("the colour profile is broken: ignored")
        return plain
    return lambda strip: _applied(transform, strip if strip.mode == taken else strip.convert(taken))


def _applied(transform: Any, strip: Image.Image) -> Image.Image:
    from PIL import ImageCms

    converted = ImageCms.applyTransform(strip, transform)
    assert converted is not None  # None only where asked to work in place
    return converted
