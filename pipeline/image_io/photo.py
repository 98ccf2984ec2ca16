"""What is known of a photo once it is read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ImageTooLarge, UnreadableImage


@dataclass(frozen=True, eq=False)
class Photo:
    """A photo as the pipeline sees it, and what is worth keeping of the file it came from.

    Attributes
    ----------
    image
        (H, W, 3) uint8, sRGB, upright.
    alpha
        The transparency that the photo already had, (H, W) float32 in 0..1; None if it had none.
    format
        "JPEG", "PNG", …; empty for arrays.
    dpi
        Resolution (x, y) in pixels an inch, or None.
    exif
        Metadata worth keeping, ready for :func:`encode`: no orientation, position, or thumbnail.
    notes
        What was done that the user may want to know, a short sentence each.
    path
        The file, where it was one.
    """

    image: NDArray[np.uint8]
    alpha: NDArray[np.float32] | None = None
    format: str = ""
    dpi: tuple[float, float] | None = None
    exif: bytes = b""
    notes: tuple[str, ...] = ()
    path: Path | None = None


def check_size(width: int, height: int, max_pixels: int) -> None:
    """Raise :class:`UnreadableImage` for no pixels, :class:`ImageTooLarge` for too many."""
    if width < 1 or height < 1:
        raise UnreadableImage(f"the image has no pixels: it is {width}×{height}")
    if width * height > max_pixels:
        raise ImageTooLarge(
            f"{width}×{height} is {width * height / 1e6:.1f} megapixels, and the limit is "
            f"{max_pixels / 1e6:g}: raise max_pixels if the file is to be trusted"
        )
