"""Data sets on disk: found first, by their names alone, with every gap listed; read later."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from eval.builtin import builtin
from eval.layouts import LAYOUTS, Layout
from eval.scenes import Composite, Dataset, DatasetError, Photo
from pipeline.errors import quoted

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp"}
BUILTIN = "builtin"


def find(
    name: str,
    layout: str | None = None,
    backgrounds: Path | None = None,
    size: tuple[int, int] = (480, 640),
    subject: float = 1.0,
) -> Dataset:
    """Find a data set: ``builtin``, or a folder, as a published ``layout`` or with ``backgrounds``.

    ``size`` (height, width) and ``subject`` are those of the built-in set, as in
    :func:`eval.builtin.builtin`. Raises :class:`DatasetError`.
    """
    if name == BUILTIN:
        return builtin(size, subject=subject)
    root = Path(name)
    if not root.is_dir():
        raise DatasetError(f"{name} is neither 'builtin' nor a folder")
    if layout is not None:
        if layout not in LAYOUTS:
            raise DatasetError(f"no layout {quoted(layout)}: there are {', '.join(LAYOUTS)}")
        return published(LAYOUTS[layout], root, backgrounds)
    if backgrounds is not None:
        return cutouts(root, backgrounds)
    return folder(root)


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


def published(layout: Layout, folder: Path, backgrounds: Path | None = None) -> Dataset:
    """Find a published set below ``folder``. Raises :class:`DatasetError`."""
    roots = [folder / part for part in layout.roots if (folder / part / layout.images).is_dir()]
    if not roots:
        tried = ", ".join(str(Path(part) / layout.images) for part in layout.roots)
        raise DatasetError(
            f"{folder} has none of {tried}: {layout.title} is to be had from {layout.where}"
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
    files: dict[str, Path] = {}
    for path in sorted(root.iterdir()):
        if path.suffix.lower() not in SUFFIXES or path.name.startswith("."):
            continue
        if path.stem in files:
            raise DatasetError(f"{path} and {files[path.stem].name} have one name: remove one")
        files[path.stem] = path
    if not files:
        raise DatasetError(f"{root} has no pictures ({', '.join(sorted(SUFFIXES))})")
    return files
