"""What a data folder holds: one rule for both trainers.

``ROOT`` may have any number of sub-folders; what each is follows from what lies in it:

- ``images/`` beside ``alphas/``: photos with soft mattes, matched by file stem;
- ``images/`` beside ``masks/``: photos with accurate binary masks, matched by file stem;
- ``images/`` beside ``guesses/``: photos with masks that a network made;
- PNG files with an alpha channel: cutouts;
- a folder called ``backgrounds``: pictures without a subject, to put subjects before;
- any other pictures: photos without ground truth.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from pipeline.errors import SettingsError

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"}
TRUTHS = ("alphas", "masks", "guesses")


@dataclass(frozen=True)
class Source:
    """One folder of pictures. ``truths`` is parallel to ``pictures``, or empty without truth."""

    name: str  # relative to the root, "/images" left out: what sampling weights are given for
    kind: str  # "masks", "alphas", "guesses", "cutouts", "backgrounds" or "photos"
    pictures: tuple[Path, ...]
    truths: tuple[Path, ...] = ()


def pictures(folder: Path) -> tuple[Path, ...]:
    """Return the picture files of a folder, sorted by name."""
    return tuple(sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES))


def find(root: Path) -> list[Source]:
    """Return the sources under ``root``, sorted by path. Raises ``SettingsError`` if none."""
    sources = []
    for folder in sorted(p for p in [root, *root.rglob("*")] if p.is_dir()):
        if folder.name not in TRUTHS and (inside := pictures(folder)):
            sources.append(_source(root, folder, inside))
    if not sources:
        raise SettingsError(f"No pictures under {root}: give a folder of images, or of folders.")
    return sources


def _source(root: Path, folder: Path, inside: tuple[Path, ...]) -> Source:
    name = folder.relative_to(root).as_posix().removesuffix("/images")
    if folder.name == "backgrounds":
        return Source(name, "backgrounds", inside)
    for kind in TRUTHS if folder.name == "images" else ():
        if (folder.parent / kind).is_dir():
            truths = {p.stem: p for p in pictures(folder.parent / kind)}
            matched = tuple(p for p in inside if p.stem in truths)
            if not matched:
                raise SettingsError(f"No file of {folder} has a namesake in {folder.parent / kind}")
            return Source(name, kind, matched, tuple(truths[p.stem] for p in matched))
    if all("A" in Image.open(p).getbands() for p in inside[:3]):
        return Source(name, "cutouts", inside)
    return Source(name, "photos", inside)


def read_rgb(path: Path) -> NDArray[np.uint8]:
    """Read a picture upright, (H, W, 3) uint8 RGB."""
    with Image.open(path) as picture:
        return np.asarray(ImageOps.exif_transpose(picture).convert("RGB"))
