"""Colours as people write them: names and hex digits, and CSS's functions of numbers."""

from __future__ import annotations

import difflib
import re

from PIL import ImageColor

from pipeline.errors import SettingsError, quoted

RGB = tuple[int, int, int]
RGBA = tuple[int, int, int, int]

_HEX = re.compile(r"#?([0-9a-f]{3,4}|[0-9a-f]{6}|[0-9a-f]{8})")
_FUNCTION = re.compile(r"(rgb|hsl)a?\(([-+0-9.%,/\sdeg]*)\)")
_LONGEST = 100  # characters: no colour is longer, and a stranger's text may be


def colour(text: str) -> RGB | RGBA | None:
    """Understand a colour.

    That is a CSS name, hex digits with or without "#", or rgb(…) or hsl(…), with commas or blanks
    and perhaps an opacity: ``rgb(30 144 255 / 50%)``, ``rgba(30,144,255,0.5)``. What is beyond a
    range is its end, as in CSS.

    Returns (red, green, blue), with an opacity where the colour is half-transparent. Returns None
    for no colour at all: empty, "transparent", "none", or an opacity of 0. Raises
    :class:`SettingsError` for anything else.
    """
    name = text.strip().lower()
    if len(name) > _LONGEST:
        raise SettingsError(f"{quoted(name)} is no colour: it is too long")
    if name in ("", "transparent", "none"):
        return None
    try:
        red, green, blue, opacity = _levels(name)
    except (ValueError, OverflowError, IndexError):
        close = difflib.get_close_matches(name, ImageColor.colormap, 1)
        hint = f"did you mean {close[0]}?" if close else "use a name, or hex digits as 1e90ff"
        raise SettingsError(f"{quoted(text)} is no colour: {hint}") from None
    if opacity < 255:
        return (red, green, blue, opacity) if opacity else None
    return red, green, blue


def _levels(name: str) -> RGBA:
    if match := _HEX.fullmatch(name):
        name = f"#{match[1]}"
    if not (match := _FUNCTION.fullmatch(name)):
        red, green, blue, *more = ImageColor.getrgb(name)
        return red, green, blue, more[0] if more else 255
    parts, opacity = [part for part in re.split(r"[\s,/]+", match[2]) if part], "1"
    if len(parts) == 4:
        opacity = parts.pop()
    # Pillow takes whole numbers with commas, of a hue up to 360.
    parts = [p if not p.endswith("%") else f"{round(max(0, float(p[:-1])))}%" for p in parts]
    if match[1] == "rgb":
        parts = [p if p.endswith("%") else str(max(0, round(float(p)))) for p in parts]
    else:
        parts[0] = f"{float(parts[0].removesuffix('deg')) % 360:g}"
    found = ImageColor.getrgb(f"{match[1]}({','.join(parts)})")
    red, green, blue = (max(0, min(255, level)) for level in found[:3])
    share = float(opacity[:-1]) / 100 if opacity.endswith("%") else float(opacity)
    if share > 1 and not opacity.endswith("%"):
        share /= 255
    return red, green, blue, round(255 * max(0.0, min(1.0, share)))
