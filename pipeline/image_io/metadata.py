"""What a file says of its photo, beside the pixels: resolution, orientation, EXIF."""

from __future__ import annotations

from PIL import Image

ORIENTATION, _EXIF_IFD = 0x0112, 0x8769
# Description, make, model, software, date, artist, copyright. A list of what to keep, because a
# TIFF mixes what it says about the photo with how its own bytes are laid out.
_KEPT_EXIF = (0x010E, 0x010F, 0x0110, 0x0131, 0x0132, 0x013B, 0x8298)
# Of the exposure details all but: the maker's note (its offsets break when moved, and some hold a
# position), colour space and size (no longer true), and the interoperability pointer.
_DROPPED_EXIF = (0x927C, 0xA001, 0xA002, 0xA003, 0xA005)
_EXIF_LIMIT = 60_000  # bytes; a JPEG has room for 65 533


def dpi(image: Image.Image) -> tuple[float, float] | None:
    """Return the pixels per inch across and down, where the file says them."""
    try:
        x, y = (float(value) for value in image.info["dpi"])
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None
    # Pillow says 1 of a TIFF that says nothing.
    return (x, y) if 1 < x <= 1e5 and 1 < y <= 1e5 else None


def exif(image: Image.Image, notes: list[str]) -> tuple[bytes, int]:
    """Return the metadata worth keeping and the orientation (1..8) that has yet to be applied."""
    orientation = 1
    try:
        entries = image.getexif()
        if entries.get(ORIENTATION) in range(2, 9):
            orientation = entries[ORIENTATION]
        kept = Image.Exif()
        for tag in _KEPT_EXIF:
            if tag in entries:
                kept[tag] = entries[tag]
        details = entries.get_ifd(_EXIF_IFD)
        if details := {tag: v for tag, v in details.items() if tag not in _DROPPED_EXIF}:
            kept[_EXIF_IFD] = details
        data = kept.tobytes() if len(kept) else b""
        if len(data) <= _EXIF_LIMIT:
            return data, orientation
    except Exception:  # Pillow raises nearly anything on broken metadata
        pass
    notes.append("broken or oversized EXIF metadata was left out")
    return b"", orientation
