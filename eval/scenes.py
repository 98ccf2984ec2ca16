"""Scenes: a photo with its true alpha, and where known its trimap and foreground.

A sample is a scene that is still to be read; a data set is a list of them, and of every gap.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from pipeline.errors import WispError


class DatasetError(WispError):
    """A data set is not as its layout says, or a file of it cannot be used."""


@dataclass(frozen=True)
class Scene:
    """One photo and the truth about it.

    Attributes
    ----------
    data
        The encoded photo: every method gets these very bytes.
    image
        The same, decoded: (H, W, 3) uint8 RGB, upright.
    alpha
        The true matte, (H, W) float32 in 0..1.
    trimap
        (H, W) uint8, 0 background, 255 foreground, else unknown; None where there is none.
    foreground
        The true straight foreground colours, (H, W, 3) uint8; None where they are not known.
    """

    name: str
    data: bytes
    image: NDArray[np.uint8]
    alpha: NDArray[np.float32]
    trimap: NDArray[np.uint8] | None = None
    foreground: NDArray[np.uint8] | None = None


class Sample(Protocol):
    """A scene that is still to be read; small, and fit to be sent to another process."""

    @property
    def name(self) -> str: ...

    def load(self) -> Scene:
        """Read it. Raises :class:`DatasetError` where a file is missing, broken or misfit."""
        ...


@dataclass(frozen=True)
class Dataset:
    """What was found. ``problems`` names what is missing, a line each; those have no sample."""

    name: str
    title: str
    samples: tuple[Sample, ...]
    problems: tuple[str, ...] = ()
    where: str = ""
    terms: str = ""


@dataclass(frozen=True)
class Photo:
    """A photo with its truth in files of their own."""

    name: str
    image: Path
    alpha: Path
    trimap: Path | None = None
    foreground: Path | None = None

    def load(self) -> Scene:
        data = self.image.read_bytes()
        image = _rgb(self.image, data)
        alpha = read_alpha(self.alpha)
        trimap = None if self.trimap is None else _grey(self.trimap)
        foreground = None if self.foreground is None else _rgb(self.foreground)
        for path, array in (
            (self.alpha, alpha),
            (self.trimap, trimap),
            (self.foreground, foreground),
        ):
            if array is not None and array.shape[:2] != image.shape[:2]:
                raise DatasetError(
                    f"{path} is {array.shape[1]}×{array.shape[0]}, but {self.image.name} is "
                    f"{image.shape[1]}×{image.shape[0]}"
                )
        return Scene(self.name, data, image, alpha, trimap, foreground)


@dataclass(frozen=True)
class Composite:
    """A foreground with its alpha (its own channel, or a file) put on a background."""

    name: str
    foreground: Path
    background: Path
    alpha: Path | None = None
    trimap: Path | None = None

    def load(self) -> Scene:
        if self.alpha is None:
            rgba = np.asarray(_open(self.foreground).convert("RGBA"))
            foreground, alpha = rgba[..., :3], rgba[..., 3].astype(np.float32) / np.float32(255)
        else:
            foreground, alpha = _rgb(self.foreground), read_alpha(self.alpha)
        trimap = None if self.trimap is None else _grey(self.trimap)
        for path, array in ((self.alpha, alpha), (self.trimap, trimap)):
            if array is not None and array.shape != foreground.shape[:2]:
                raise DatasetError(f"{path} and {self.foreground} are not of one size")
        background = cover(_open(self.background).convert("RGB"), alpha.shape)
        return compose(self.name, foreground, alpha, background, trimap)


def compose(
    name: str,
    foreground: NDArray[np.uint8],
    alpha: NDArray[np.float32],
    background: NDArray[np.uint8],
    trimap: NDArray[np.uint8] | None = None,
) -> Scene:
    """Composite exactly, αF + (1 − α)B, rounded once to 8 bits, and encode it as PNG."""
    a = alpha[..., None].astype(np.float64)
    image = np.round(a * foreground + (1 - a) * background).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG", compress_level=1)
    return Scene(name, buffer.getvalue(), image, alpha, trimap, np.ascontiguousarray(foreground))


def cover(background: Image.Image, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Enlarge a background where it is too small and cut its top left, as Composition-1k does."""
    height, width = shape
    ratio = max(width / background.width, height / background.height, 1.0)
    size = (-int(-background.width * ratio // 1), -int(-background.height * ratio // 1))
    if ratio > 1:
        background = background.resize(size, Image.Resampling.BICUBIC)
    return np.asarray(background)[:height, :width]


def read_alpha(path: Path) -> NDArray[np.float32]:
    """Read a matte, (H, W) float32 in 0..1, of 8 or 16 bits.

    Grey, or colour with equal channels; of an RGBA file, its alpha channel unless that is opaque.
    """
    image = _open(path)
    if image.mode.startswith("I") or image.mode == "F":
        deep = np.asarray(image, np.float32)
        return deep / np.float32(65535 if deep.max() > 255 else 255)
    if "A" in image.getbands():
        channel = np.asarray(image.getchannel("A"))
        if channel.min() < 255:
            return channel.astype(np.float32) / np.float32(255)
    return np.asarray(image.convert("L"), np.float32) / np.float32(255)


def _open(path: Path, data: bytes | None = None) -> Image.Image:
    try:
        image = Image.open(path if data is None else io.BytesIO(data))
        image.load()
        return ImageOps.exif_transpose(image)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DatasetError(f"{path} cannot be read: {error}") from error


def _rgb(path: Path, data: bytes | None = None) -> NDArray[np.uint8]:
    return np.asarray(_open(path, data).convert("RGB"))


def _grey(path: Path) -> NDArray[np.uint8]:
    return np.asarray(_open(path).convert("L"))
