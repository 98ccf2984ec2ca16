"""Data sets: photos with their true alpha, and where known their trimap and foreground.

A set is found first (names only, every gap listed) and read later, scene by scene.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from eval.layouts import LAYOUTS, Layout
from pipeline.errors import WispError

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp"}


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


def folder(root: Path) -> Dataset:
    """Find ``images/`` with ``alphas/`` or ``masks/``, and maybe ``trimaps/``, ``foregrounds/``.

    Raises :class:`DatasetError` where a folder is missing.
    """
    alphas = next((name for name in ("alphas", "masks") if (root / name).is_dir()), None)
    if alphas is None or not (root / "images").is_dir():
        raise DatasetError(
            f"{root} has no images/ beside alphas/ or masks/: name its --layout "
            f"({', '.join(LAYOUTS)}), or give --backgrounds for a folder of RGBA cutouts"
        )
    trimaps = root / "trimaps" if (root / "trimaps").is_dir() else None
    foregrounds = root / "foregrounds" if (root / "foregrounds").is_dir() else None
    samples, problems = _pairs(root / "images", root / alphas, trimaps, foregrounds)
    return Dataset(root.resolve().name, root.resolve().name, samples, problems)


def published(layout: Layout, given: Path, backgrounds: Path | None = None) -> Dataset:
    """Find a published set below the given folder. Raises :class:`DatasetError`."""
    roots = [given / part for part in layout.roots if (given / part / layout.images).is_dir()]
    if not roots:
        tried = ", ".join(str(Path(part) / layout.images) for part in layout.roots)
        raise DatasetError(
            f"{given} has none of {tried}: {layout.title} is to be had from {layout.where}"
        )
    root = roots[0]
    for needed in (layout.alphas, layout.trimaps):
        if needed and not (root / needed).is_dir():
            raise DatasetError(f"{root} has no {needed}: see {layout.where}")
    trimaps = root / layout.trimaps if layout.trimaps else None
    if not layout.per_foreground:
        samples, problems = _pairs(root / layout.images, root / layout.alphas, trimaps, None)
        return Dataset(layout.name, layout.title, samples, problems, layout.where, layout.terms)
    if backgrounds is None:
        raise DatasetError(f"{layout.name} is composited: give --backgrounds ({layout.where})")
    composites, problems = _published_composites(layout, root, trimaps, backgrounds)
    return Dataset(layout.name, layout.title, composites, problems, layout.where, layout.terms)


def cutouts(root: Path, backgrounds: Path, seed: int = 0) -> Dataset:
    """Find RGBA cutouts; each goes on one background, drawn by ``seed``.

    Raises :class:`DatasetError` where there is no cutout or no background.
    """
    scenes = list(_files(backgrounds).values())
    rng = np.random.default_rng(seed)
    samples, problems = [], []
    for name, path in _files(root).items():
        background = scenes[int(rng.integers(len(scenes)))]  # drawn for bad ones too: no shift
        try:
            with Image.open(path) as image:
                clear = image.has_transparency_data
        except OSError as error:
            problems.append(f"{path}: {error}")
            continue
        if clear:
            samples.append(Composite(name, path, background))
        else:
            problems.append(f"{path} has no alpha channel")
    return Dataset(
        root.resolve().name, f"Cutouts of {root.resolve().name}", tuple(samples), tuple(problems)
    )


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


def _pairs(
    images: Path, alphas: Path, trimaps: Path | None, foregrounds: Path | None
) -> tuple[tuple[Photo, ...], tuple[str, ...]]:
    photos, mattes = _files(images), _files(alphas)
    others = [{} if part is None else _files(part) for part in (trimaps, foregrounds)]
    problems = [f"{mattes[name]} has no image in {images}" for name in mattes.keys() - photos]
    samples = []
    for name, path in photos.items():
        lacking = [
            part
            for part, there in zip((alphas, trimaps, foregrounds), (mattes, *others), strict=True)
            if part is not None and name not in there
        ]
        if lacking:
            problems.append(f"{path} has no counterpart in {' nor '.join(map(str, lacking))}")
        else:
            more = [there.get(name) for there in others]
            samples.append(Photo(name, path, mattes[name], *more))
    return tuple(samples), tuple(sorted(problems))


def _published_composites(
    layout: Layout, root: Path, trimaps: Path | None, backgrounds: Path
) -> tuple[tuple[Composite, ...], tuple[str, ...]]:
    """Foreground i goes on backgrounds n·i … n·i + n − 1, in the order of the published lists."""
    fronts, mattes, behind = (
        _files(part) for part in (root / layout.images, root / layout.alphas, backgrounds)
    )
    unknown = {} if trimaps is None else _files(trimaps)
    order, order_behind = list(fronts), list(behind)
    if layout.names and all((root / name).is_file() for name in layout.names):
        order, order_behind = (_listed(root / name) for name in layout.names)
    samples, problems = [], []
    for i, front in enumerate(order):
        for j in range(layout.per_foreground):
            back = order_behind[(i * layout.per_foreground + j) % len(order_behind)]
            name = f"{front}_{j}"
            lacking = [
                f"{stem} in {part}"
                for stem, there, part in (
                    (front, fronts, layout.images),
                    (front, mattes, layout.alphas),
                    (back, behind, backgrounds),
                    (name, unknown, layout.trimaps),
                )
                if part and stem not in there
            ]
            if lacking:
                problems.append(f"{name}: no {', no '.join(lacking)}")
                continue
            trimap = unknown.get(name)
            samples.append(Composite(name, fronts[front], behind[back], mattes[front], trimap))
    return tuple(samples), tuple(problems)


def _listed(path: Path) -> list[str]:
    return [Path(line).stem for line in path.read_text().split("\n") if line.strip()]


def _files(root: Path) -> dict[str, Path]:
    """Return the pictures of a folder by stem, sorted. Raises :class:`DatasetError`."""
    if not root.is_dir():
        raise DatasetError(f"{root} is not a folder")
    found: dict[str, Path] = {}
    for path in sorted(root.iterdir()):
        if path.suffix.lower() not in SUFFIXES or path.name.startswith("."):
            continue
        if path.stem in found:
            raise DatasetError(f"{path} and {found[path.stem].name} have one name: remove one")
        found[path.stem] = path
    if not found:
        raise DatasetError(f"{root} has no pictures ({', '.join(sorted(SUFFIXES))})")
    return found


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
