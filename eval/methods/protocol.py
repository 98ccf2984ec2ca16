"""What a method is: a function from a photo to pixels, and an entry that describes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import WispError


class MethodError(WispError):
    """A method is unknown, misdescribed, cannot be had here, or gave no usable answer."""


@dataclass(frozen=True)
class Input:
    """What every method gets: the same encoded bytes, and the same photo decoded.

    ``image`` is (H, W, 3) uint8 RGB, upright.
    """

    name: str
    data: bytes
    image: NDArray[np.uint8]


@dataclass(frozen=True)
class Outside:
    """An answer from outside of this process, with its own time and memory, or None for either."""

    pixels: NDArray
    seconds: float | None
    megabytes: float | None


#: A method, ready to run. It answers with straight RGBA, (H, W, 4) uint8, or with an alpha alone,
#: (H, W) float in 0..1; the photo's own colours are then put beside it.
Method = Callable[[Input], "NDArray | Outside"]
Options = Mapping[str, str]


@dataclass(frozen=True)
class Kind:
    """An entry of the table: what the method does, and the options it takes."""

    summary: str
    options: tuple[str, ...]
    build: Callable[[Options], Method]
    packages: tuple[str, ...] = ()  # whose versions belong to the result
    extra: str = ""  # what to install where a package is missing
    ours: bool = True  # whether the result depends on Wisp's code
