"""Sizes of pictures by name: what shops ask for, and a user's own in a file.

A size is a canvas in pixels, with how much of it the subject takes and what lies behind. ID photos,
which are laid out by the head, are in :mod:`pipeline.id_photo`.

Own sizes lie in ``sizes.toml`` in the folder of Wisp (:func:`pipeline.models.store.home`)::

    [banner]
    size = "1200x400"
    scale = "80%"              # of the largest that fits; without it: 100%
    background = "#f4f4f4"     # a colour, a gradient, or blur; without it: none
"""

from __future__ import annotations

import difflib
import re
import sys
from dataclasses import dataclass, fields
from typing import Any

from pipeline.errors import SettingsError, quoted
from pipeline.id_photo import ID_PHOTOS

SMALLEST, LARGEST = 10, 10_000  # px of a side


@dataclass(frozen=True)
class Preset:
    """A canvas, and how the subject is laid out on it."""

    size: tuple[int, int]  # (width, height) in pixels
    scale: float = 1.0  # of the subject, as a share of the largest that fits
    background: str | None = None  # as :func:`pipeline.output.paint` understands it


#: Shops change their rules, and most recommend more than they demand: these are large enough for
#: their zoom. Amazon demands that the product takes 85 % or more, Google recommends 75 to 90 %.
SHOPS: dict[str, Preset] = {
    "amazon": Preset((2000, 2000), 0.9, "white"),
    "ebay": Preset((1600, 1600), 0.9, "white"),
    "etsy": Preset((2000, 2000), 0.9),
    "google-shopping": Preset((1500, 1500), 0.85, "white"),
    "shopify": Preset((2048, 2048), 0.9),
}


def preset(spec: str | tuple[int, int]) -> Preset:
    """Understand a size: (width, height) in pixels, as text "1600x1200", or a name.

    Raises :class:`SettingsError` for anything else, and for a canvas that is too small or large.
    """
    if isinstance(spec, str):
        text = spec.strip().lower()
        match = re.fullmatch(r"([0-9]{1,9})[x×]([0-9]{1,9})", text)
        if not match:
            return _named(text)
        spec = int(match[1]), int(match[2])
    try:
        width, height = (int(side) for side in spec)
    except (TypeError, ValueError):
        raise SettingsError(f"size is width and height, as 1600x1200, not {quoted(spec)}") from None
    if not all(SMALLEST <= side <= LARGEST for side in (width, height)):
        raise SettingsError(
            f"the sides of a size lie within {SMALLEST}..{LARGEST} px, not {width}x{height}"
        )
    return Preset((width, height))


def _named(name: str) -> Preset:
    known = presets()
    if name in known:
        return known[name]
    if name in ID_PHOTOS:
        raise SettingsError(f"{name} is an ID photo, and no size: ask for the ID photo {name}")
    close = difflib.get_close_matches(name, known, 1)
    hint = f": did you mean {close[0]}?" if close else f", nor one of {', '.join(known)}"
    raise SettingsError(f"size {quoted(name)} is not as 1600x1200{hint}")


def presets() -> dict[str, Preset]:
    """Return the presets by name; a user's own replaces a shop's of the same name.

    Raises :class:`SettingsError` for what is wrong in the user's file.
    """
    from pipeline.models.store import home

    try:
        file = home() / "sizes.toml"
    except SettingsError:  # no home folder: no file in it either
        return SHOPS
    try:
        return SHOPS | _own(file.read_text("utf-8"))
    except FileNotFoundError:
        return SHOPS
    except (OSError, ValueError, SettingsError) as error:
        raise SettingsError(f"{file}: {error}") from error


def _own(text: str) -> dict[str, Preset]:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    return {name.lower(): _read(name, entry) for name, entry in tomllib.loads(text).items()}


def _read(name: str, entry: Any) -> Preset:
    from pipeline.output import paint, percent

    known = {field.name for field in fields(Preset)}
    if not isinstance(entry, dict) or not all(isinstance(text, str) for text in entry.values()):
        raise SettingsError(f'{name} is a table of texts, such as size = "1200x400"')
    if "size" not in entry or not entry.keys() <= known:
        raise SettingsError(f"{name} has a size and, of {', '.join(sorted(known))}, what it needs")
    canvas = re.fullmatch(r"[0-9]+x[0-9]+", entry["size"])
    if not canvas:
        raise SettingsError(f'{name}: size is width and height in pixels, "1200x400"')
    background = entry.get("background")
    if background is not None:
        paint(background)
    share = percent(entry["scale"]) if "scale" in entry else 1.0
    return Preset(preset(entry["size"]).size, share, background)
