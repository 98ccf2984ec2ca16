"""How an answer is to look: what a client can wish, and how its words are understood.

All faces ask in these terms; :mod:`service.finish` does it.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, replace

from PIL import ImageColor

from pipeline import compose
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
            rectangle(self.roi, 100, 100)

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


def rectangle(text: str, width: int, height: int) -> tuple[int, int, int, int]:
    """Understand "x1 y1 x2 y2" in a picture, each in px or %; what lies outside is cut off.

    Returns (left, top, right, bottom) in pixels. Raises :class:`SettingsError` for anything else,
    and for no area.
    """
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
