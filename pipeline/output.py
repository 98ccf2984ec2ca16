"""What a result is to look like: one description for Python, the command, the API and the page.

:mod:`pipeline.render` draws it. The functions here understand the text that a person writes:
colours, sizes and positions.
"""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass, fields
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pipeline import image_io, sizes
from pipeline.background import FITS, Backdrop, Gradient, gradient
from pipeline.colour import RGB, RGBA, colour
from pipeline.errors import SettingsError, UnsupportedFormat, quoted
from pipeline.id_photo import ID_PHOTOS, id_size
from pipeline.layout import margins

#: What lies behind a cutout, also a half-transparent colour, or the bytes of a picture file, which
#: are decoded when the result is drawn.
Layer = Backdrop | RGBA | bytes

#: Formats, and the endings of their files. zip holds color.jpg and alpha.png: far smaller than one
#: PNG, with the same edge.
FORMATS = {**image_io.FORMATS, "zip": (".zip",)}

#: Every program reads it, and nothing is lost.
DEFAULT_FORMAT = "png"

_ACROSS = {"left": 0.0, "center": 0.5, "right": 1.0}
_DOWN = {"top": 0.0, "center": 0.5, "bottom": 1.0}


@dataclass(frozen=True, eq=False)
class Output:
    """How a cutout is drawn and written. Raises :class:`SettingsError` for what cannot be."""

    #: png, webp, tiff, jpg, zip (color.jpg and alpha.png), or auto: png where something is
    #: transparent, else jpg. None is what the file's name stands for, and PNG where there is none.
    format: str | None = None

    #: 1..100 for webp (100 is lossless) and jpg; None is 90 for webp and 92 for jpg.
    quality: int | None = None

    #: None keeps the transparency; else see :func:`layer`. JPEG has no transparency: white then.
    background: Layer | None = None

    #: How a picture is laid behind: fill, fit or tile, see :func:`pipeline.background.lay`.
    fit: str = "fill"

    #: How dark the shadow is where the subject stands, 0..1; 0 is none. For products: a person cut
    #: off by the photo's border stands on nothing.
    shadow: float = 0.0

    #: Blend amounts of light, not sRGB values. Off, because every other program blends the latter,
    #: and a cutout should look the same here as there.
    linear: bool = False

    #: (width, height) of the picture in pixels, also as text "1600x1200", or a name such as
    #: "amazon", which sets scale and background too where none is given: see :mod:`pipeline.sizes`.
    #: The subject alone is laid out on it: as large as fits, in the middle.
    size: tuple[int, int] | str | None = None

    #: Make an ID photo: one of :data:`pipeline.id_photo.ID_PHOTOS`, which sets the size, and the
    #: background where none is given.
    id_photo: str | None = None

    #: Whether to cut the picture down to the subject.
    crop: bool = False

    #: Room around the subject when cropping, and at the border of a size: see
    #: :func:`pipeline.layout.margins`.
    margin: str = "0px"

    #: Size of the subject as a share of the largest that fits the picture, 0.1..1; None leaves it,
    #: and is 1 where a size is given.
    scale: float | None = None

    #: Where the subject goes, as shares (x, y) of the free room; None leaves it.
    position: tuple[float, float] | None = None

    #: Write the alpha itself, as a grey picture.
    only_mask: bool = False

    #: Open, smooth and threshold the mask, as rembg's ``post_process_mask`` does.
    binary: bool = False

    #: Make opaque what is half-transparent inside the subject; edges stay soft.
    opaque: bool = False

    def __post_init__(self) -> None:
        if self.format not in (None, *FORMATS, "auto"):
            known = ", ".join((*FORMATS, "auto"))
            raise SettingsError(f"format must be one of {known}, not {quoted(self.format)}")
        if self.quality is not None:
            if not 1 <= self.quality <= 100:
                raise SettingsError(f"quality must lie within 1..100, not {self.quality}")
            if self.format in ("png", "tiff"):
                raise SettingsError(f"{self.format} is lossless: quality is for webp and jpg")
        for name, understand in (("scale", scale), ("position", position)):
            if isinstance(value := getattr(self, name), str):
                object.__setattr__(self, name, understand(value))
        if self.size is not None:
            self._set_size(self.size)
        if self.background is not None:
            object.__setattr__(self, "background", layer(self.background))
        if self.id_photo is not None:
            self._check_id_photo(self.id_photo)
        if self.fit not in FITS:
            raise SettingsError(f"fit must be one of {', '.join(FITS)}, not {quoted(self.fit)}")
        if not 0 <= self.shadow <= 1:
            raise SettingsError(f"shadow must lie within 0..1, not {self.shadow}")
        if self.linear and self.background is None:
            raise SettingsError("linear light needs a background: give one")
        if self.only_mask and (self.background is not None or self.shadow):
            raise SettingsError("a mask has no background and no shadow: ask for one of the two")
        if self.only_mask and self.format == "zip":
            raise SettingsError("a zip holds mask and colours: ask for png to have the mask alone")
        if self.scale is not None and not 0.1 <= self.scale <= 1:
            raise SettingsError(f"scale must lie within 10%..100%, not {100 * self.scale:g}%")
        if self.position is not None and not all(0 <= share <= 1 for share in self.position):
            raise SettingsError(f"position must lie within 0..1, not {self.position}")
        if self.crop and (self.scale is not None or self.position is not None):
            raise SettingsError("crop leaves no room to scale or move the subject in")
        margins(self.margin, 0, 0)

    def _set_size(self, spec: tuple[int, int] | str) -> None:
        if self.crop or self.id_photo:
            raise SettingsError("a size lays out the subject itself: without crop and id_photo")
        named = sizes.preset(spec)
        width, height = named.size
        top, right, bottom, left = margins(self.margin, width, height)
        if left + right >= width or top + bottom >= height:
            raise SettingsError(f"a margin of {self.margin} leaves no room in {width}x{height}")
        object.__setattr__(self, "size", named.size)
        if self.scale is None:
            object.__setattr__(self, "scale", named.scale)
        if self.background is None and named.background and not self.only_mask:
            object.__setattr__(self, "background", paint(named.background))

    def _check_id_photo(self, name: str) -> None:
        if name not in ID_PHOTOS:
            raise SettingsError(f"an ID photo is one of {', '.join(ID_PHOTOS)}, not {quoted(name)}")
        if self.crop or self.only_mask or self.scale is not None or self.position is not None:
            raise SettingsError(
                "an ID photo has its own size: without crop, scale, position and only_mask"
            )
        if self.background is None:
            object.__setattr__(self, "background", ID_PHOTOS[name].colour)

    @property
    def canvas(self) -> tuple[int, int] | None:
        """(width, height) of the picture in pixels, where they do not follow from the photo's."""
        if self.id_photo is not None:
            return id_size(ID_PHOTOS[self.id_photo])
        return self.size  # type: ignore[return-value]  # no text any more

    @property
    def file_format(self) -> str:
        """The format of the file: what ``format`` says, with auto resolved."""
        if self.format != "auto":
            return self.format or DEFAULT_FORMAT
        clear = self.background is None or (
            isinstance(self.background, tuple) and _opacity(self.background) < 255
        )
        return "png" if clear and not self.only_mask else "jpg"

    @property
    def shows_photo(self) -> bool:
        """Whether the photo itself is drawn, beside the matte and its colours."""
        return self.opaque or isinstance(self.background, str)

    @property
    def ending(self) -> str:
        """The ending of the file's name, with its dot."""
        return FORMATS[self.file_format][0]

    @property
    def key(self) -> str:
        """A name that equal outputs share, and no others."""
        values: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        behind = self.background
        if isinstance(behind, np.ndarray):
            behind = np.ascontiguousarray(behind).tobytes() + repr(behind.shape).encode()
        if isinstance(behind, bytes):
            values["background"] = hashlib.sha256(behind).hexdigest()
        return repr(values)


def format_of(path: str | os.PathLike[str]) -> str:
    """Return the format that a file's ending stands for: png, webp, tiff, jpg or zip.

    Raises :class:`UnsupportedFormat` for any other ending.
    """
    ending = Path(path).suffix.lower()
    for name, endings in FORMATS.items():
        if ending in endings:
            return name
    known = ", ".join(first for first, *_ in FORMATS.values())
    raise UnsupportedFormat(
        f"{os.fspath(path)}: cannot write {ending or 'a file without an ending'}: use {known}"
    )


def layer(spec: Layer | os.PathLike[str]) -> Layer | None:
    """Understand a background: text as :func:`paint` does, or the path of a picture, which is read.

    What is understood already comes back as it is. Raises :class:`SettingsError` for anything else,
    :class:`pipeline.errors.ImageError` for a picture that cannot be read.
    """
    if isinstance(spec, (tuple, list)):
        if len(spec) not in (3, 4) or not all(
            isinstance(level, Real) and 0 <= float(level) <= 255 for level in spec
        ):
            raise SettingsError(f"a colour is three levels of 0..255, or four, not {quoted(spec)}")
        red, green, blue, *opacity = (int(level) for level in spec)
        return (red, green, blue, opacity[0]) if opacity else (red, green, blue)
    if isinstance(spec, np.ndarray) and spec.dtype == np.uint8 and spec.shape[2:] == (3,):
        return spec
    if isinstance(spec, (np.ndarray, Image.Image)):
        return image_io.read(spec).image
    if not isinstance(spec, (str, os.PathLike)):
        return spec
    text = os.fspath(spec)
    try:
        return paint(text)
    except SettingsError as error:
        if text.startswith("gradient:"):
            raise
        if os.path.exists(text):
            return image_io.read(text).image
        if image_io.PICTURE.fullmatch(text):
            raise SettingsError(f"background: there is no file {text}") from None
        raise SettingsError(f"{error}, and no picture file") from None


def paint(text: str) -> RGB | RGBA | str | Gradient | None:
    """Understand a background that needs no file: a stranger's text is never taken for a path.

    It is a colour (:func:`colour`), "blur", or "gradient:white,#c8d0d8"
    (:func:`pipeline.background.gradient`). Raises :class:`SettingsError` for anything else.
    """
    if text.strip().lower() == "blur":
        return "blur"
    if text.startswith("gradient:"):
        return gradient(text)
    try:
        return colour(text)
    except SettingsError as error:
        raise SettingsError(f"background {error}; it is not 'blur', and no gradient") from None


def _opacity(value: RGB | RGBA) -> int:
    return value[3] if len(value) == 4 else 255


def percent(text: str) -> float:
    """Understand "50%" as 0.5. Raises :class:`SettingsError` outside of 0%..100%."""
    match = re.fullmatch(r"([0-9]{1,3}(?:\.[0-9]+)?)%", text.strip())
    if not match or float(match[1]) > 100:
        raise SettingsError(f"{quoted(text)} must be a percentage within 0%..100%")
    return float(match[1]) / 100


def scale(text: str) -> float | None:
    """Understand the subject's size: "80%" of the largest that fits, or "original" for None."""
    return None if text.strip() in ("", "original") else percent(text)


def position(text: str) -> tuple[float, float] | None:
    """Understand where the subject goes, or "original" for None.

    That is "center", "50%", "20% 100%", "20%,100%" or, as in CSS, "left", "top right" and the like.

    Returns shares (x, y) of the free room. Raises :class:`SettingsError` for anything else.
    """
    values = text.replace(",", " ").split()
    if values in ([], ["original"]):
        return None
    if len(values) > 2:
        raise SettingsError("position takes one or two values")
    if len(values) == 1 and values[0] in (*_ACROSS, *_DOWN):
        values.append("center")
    across, down = values[0], values[-1]
    if across in ("top", "bottom") or down in ("left", "right"):
        across, down = down, across
    return _share(across, _ACROSS), _share(down, _DOWN)


def _share(value: str, words: dict[str, float]) -> float:
    return words[value] if value in words else percent(value)
