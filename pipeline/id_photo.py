"""ID photos: their measures and colours, and where the head is in a portrait."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.errors import SettingsError

Matte = NDArray[np.float32]
Array = TypeVar("Array", NDArray[np.uint8], Matte)


@dataclass(frozen=True)
class IdPhoto:
    """The measures of an ID photo: its size in mm, the head's share of its height, its colour."""

    width: float
    height: float
    head: float  # crown to chin, as a share of the height
    above: float  # free room above the crown, as a share of the height
    colour: tuple[int, int, int]
    meaning: str


DPI = 300  # what authorities ask for, and photo printers print
_BROADEST = 2.0  # of the photo's width: beyond, an ID photo would be mostly what it does not show

#: ICAO 9303 part 3 asks for a head of 70–80 % (as in the EU); others have rules of their own.
ID_PHOTOS: dict[str, IdPhoto] = {
    "eu": IdPhoto(35, 45, 0.74, 0.09, (230, 230, 230), "35 × 45 mm, light grey: EU, UK, most"),
    "us": IdPhoto(51, 51, 0.60, 0.12, (255, 255, 255), "2 × 2 in, white: USA, India"),
    "ca": IdPhoto(50, 70, 0.48, 0.12, (255, 255, 255), "50 × 70 mm, white: Canada"),
    "jp": IdPhoto(35, 45, 0.74, 0.09, (255, 255, 255), "35 × 45 mm, white: Japan"),
    "cn": IdPhoto(33, 48, 0.63, 0.08, (255, 255, 255), "33 × 48 mm, white: China, passport"),
    "cn1-blue": IdPhoto(25, 35, 0.66, 0.1, (67, 142, 219), "25 × 35 mm, blue: China, one inch"),
    "cn1-red": IdPhoto(25, 35, 0.66, 0.1, (255, 0, 0), "25 × 35 mm, red: China, one inch"),
    "cn2-blue": IdPhoto(35, 49, 0.66, 0.1, (67, 142, 219), "35 × 49 mm, blue: China, two inches"),
}


def id_size(preset: IdPhoto) -> tuple[int, int]:
    """Return the (width, height) of an ID photo in pixels, at 300 dpi."""
    return round(preset.width / 25.4 * DPI), round(preset.height / 25.4 * DPI)


def id_box(alpha: Matte, preset: IdPhoto) -> tuple[float, float, float, float]:
    """Find what of a portrait is the ID photo: head upright, in the middle, of the right size.

    There is no face detector in here: the matte tells the crown, and the neck, which is where it
    is narrowest between the head's widest row and the shoulders. A head is at least 1.2 times as
    tall as it is wide, hair included; a high collar would else be taken for a chin.

    Returns
    -------
    (left, top, right, bottom) in pixels; may reach beyond the photo, where the background is.

    Raises
    ------
    SettingsError
        When there is no subject, or nothing like a head upon shoulders.
    """
    solid = alpha > 0.5
    rows = np.flatnonzero(solid.any(1))
    if not len(rows):
        raise SettingsError("an ID photo needs a person: no subject was found")
    crown = int(rows[0])
    widths = solid[crown:].sum(1).astype(np.float32)
    smooth = cv2.blur(widths[:, None], (1, 2 * (len(widths) // 60) + 1))[:, 0]
    best, neck = 0.0, 0
    for y in range(max(1, len(smooth) // 20), len(smooth)):
        narrowing = min(float(smooth[:y].max()), float(smooth[y:].max())) - float(smooth[y])
        if narrowing > best:
            best, neck = narrowing, y
    if best < 0.08 * float(smooth[: neck + 1].max()):
        raise SettingsError("an ID photo needs head and shoulders, seen from the front")
    # The chin lies a little above where the neck is narrowest.
    chin = crown + max(0.93 * neck, 1.2 * float(smooth[:neck].max()))
    head = solid[crown : crown + neck]
    centre = float((head.sum(0) * (np.arange(alpha.shape[1]) + 0.5)).sum() / head.sum())
    height = (chin - crown) / preset.head
    width = height * preset.width / preset.height
    if width > _BROADEST * alpha.shape[1]:
        raise SettingsError(
            f"an ID photo of this head is {width:.0f} px wide, and the photo has {alpha.shape[1]}: "
            "take one that shows more to the left and right"
        )
    top = crown - preset.above * height
    return centre - width / 2, top, centre + width / 2, top + height


def window(array: Array, box: tuple[float, float, float, float]) -> Array:
    """Cut a box (left, top, right, bottom) out of (H, W[, 3]); what lies outside is 0.

    Raises :class:`SettingsError` when the box reaches below: a person does not end in the air.
    """
    left, top, right, bottom = (round(side) for side in box)
    height, width = array.shape[:2]
    if bottom > height + 0.01 * (bottom - top):
        raise SettingsError(
            "an ID photo needs more of the shoulders: "
            f"{bottom - height} px are missing at the bottom of the photo"
        )
    result = np.zeros((bottom - top, right - left, *array.shape[2:]), array.dtype)
    inside = array[max(top, 0) : bottom, max(left, 0) : right]
    y, x = max(-top, 0), max(-left, 0)
    result[y : y + inside.shape[0], x : x + inside.shape[1]] = inside
    return result
