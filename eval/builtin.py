"""The built-in set: composites with exact alpha and foreground that need no download.

Drawn alphas with colours of their own are put over the photos that come with scikit-image. Drawn
by code of its own, and from seeds of its own: nothing here is shared with what the models train on.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from zlib import crc32

import cv2
import numpy as np
from numpy.typing import NDArray

from eval.scenes import Dataset, Scene, compose
from eval.shapes import DRAW

PHOTOS = ("coffee", "chelsea", "rocket", "astronaut")

#: Parts of them without a subject of their own (photo, top, bottom, left, right, in parts of the
#: whole): stage 1 shall not be asked to choose between two.
SCENERY = (
    ("rocket", 0.0, 0.72, 0.0, 0.47),
    ("coffee", 0.55, 1.0, 0.0, 0.22),
    ("astronaut", 0.0, 0.42, 0.62, 1.0),
    ("coffee", 0.0, 0.2, 0.62, 1.0),
    ("chelsea", 0.0, 0.3, 0.0, 0.3),
)


@dataclass(frozen=True)
class Drawn:
    """A scene of the built-in set; the same kind, number and size are the same scene."""

    kind: str
    number: int
    size: tuple[int, int] = (480, 640)  # height, width
    subject: float = 1.0  # share of the sides that it is drawn on, in the middle

    @property
    def name(self) -> str:
        return f"{self.kind}-{self.number}"

    def load(self) -> Scene:
        rng = np.random.default_rng([2009, crc32(self.kind.encode()), self.number])
        alpha = _within(self.size, DRAW[self.kind](_part(self.size, self.subject), rng))
        foreground = _texture(self.size, rng)
        background = _background(self.size, self.number + list(DRAW).index(self.kind), rng)
        trimap = _trimap(alpha)
        return compose(self.name, foreground, alpha, background, trimap)


def builtin(size: tuple[int, int] = (480, 640), each: int = 2, subject: float = 1.0) -> Dataset:
    """Return the built-in set: ``each`` scenes of every kind, of ``size`` (height, width).

    Subjects are drawn on the middle ``subject`` of each side; 1 is the whole canvas.
    """
    name, small = "builtin", "" if subject == 1 else f", subjects of {subject:g} of it"
    name += "" if size == (480, 640) else f"-{size[1]}x{size[0]}"
    return Dataset(
        name=name if subject == 1 else f"{name}-{subject:g}",
        title=f"Built-in composites, {size[1]}×{size[0]}{small}: " + ", ".join(DRAW),
        samples=tuple(
            Drawn(kind, number, size, subject) for number in range(each) for kind in DRAW
        ),
        terms="drawn by this program over scikit-image's photos (public domain or CC0)",
    )


def _part(size: tuple[int, int], share: float) -> tuple[int, int]:
    return round(size[0] * share), round(size[1] * share)


def _within(size: tuple[int, int], alpha: NDArray[np.float32]) -> NDArray[np.float32]:
    """Put an alpha into the middle of a canvas of a size; what it cuts off ends at its border."""
    height, width = alpha.shape
    if (height, width) == size:
        return alpha
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    canvas = np.zeros(size, np.float32)
    canvas[top : top + height, left : left + width] = alpha
    return canvas


@lru_cache(maxsize=4)
def _photo(name: str) -> NDArray[np.uint8]:
    from skimage import data  # slow to import, and not needed for any other data set

    return np.asarray(getattr(data, name)())


def _texture(size: tuple[int, int], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Colours for a foreground, all over the canvas: two hues, shaded, with a photo's grain."""
    height, width = size
    photo = _photo(PHOTOS[int(rng.integers(len(PHOTOS)))])
    side = min(photo.shape[:2]) // 2
    y, x = (int(rng.integers(0, s - side)) for s in photo.shape[:2])
    grey = cv2.cvtColor(photo[y : y + side, x : x + side], cv2.COLOR_RGB2GRAY)
    grain = _fit(grey, size).astype(np.float32) / 255
    hues = rng.uniform(0, 180) + np.array([0, rng.uniform(15, 90)])
    hsv = [[hue % 180, rng.uniform(60, 200), rng.uniform(60, 230)] for hue in hues]
    first, second = cv2.cvtColor(np.array([hsv], np.uint8), cv2.COLOR_HSV2RGB)[0].astype(float)
    patches = _fit(rng.random((5, 6)).astype(np.float32), size)
    share = np.clip((patches - 0.5) * 3 + 0.5, 0, 1)[..., None]
    light = np.linspace(1.25, 0.7, width)[None] * (0.75 + 0.4 * grain)
    colours = (share * first + (1 - share) * second) * light[..., None]
    return np.clip(colours + 0.5, 0, 255).astype(np.uint8)


def _background(size: tuple[int, int], number: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """A part of a photo, mirrored or not, and out of focus as behind a subject."""
    name, top, bottom, left, right = SCENERY[number % len(SCENERY)]
    photo = _photo(name)
    height, width = photo.shape[:2]
    part = photo[int(top * height) : int(bottom * height), int(left * width) : int(right * width)]
    if rng.random() < 0.5:
        part = part[:, ::-1]
    scene = _fit(part, size)
    blur = rng.uniform(1.0, 4.0) * size[0] / 480
    return np.asarray(cv2.GaussianBlur(scene, (0, 0), blur), np.uint8)


def _fit(array: NDArray, size: tuple[int, int]) -> NDArray:
    """Enlarge to cover the size, and cut the middle."""
    height, width = array.shape[:2]
    scale = max(size[0] / height, size[1] / width)
    large = (max(size[1], round(width * scale)), max(size[0], round(height * scale)))
    whole = cv2.resize(np.ascontiguousarray(array), large, interpolation=cv2.INTER_CUBIC)
    y, x = (whole.shape[0] - size[0]) // 2, (whole.shape[1] - size[1]) // 2
    return np.ascontiguousarray(whole[y : y + size[0], x : x + size[1]])


def _trimap(alpha: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Unknown wherever the alpha is fractional, and 5 px around it."""
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (11, 11))
    trimap = np.full(alpha.shape, 128, np.uint8)
    trimap[cv2.erode((alpha >= 1).astype(np.uint8), kernel) > 0] = 255
    trimap[cv2.dilate((alpha > 0).astype(np.uint8), kernel) == 0] = 0
    return trimap
