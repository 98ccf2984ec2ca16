"""The scenes that stage 2 is trained on: a subject, what lies behind it, and how they meet."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.errors import SettingsError
from refiner import composite, procedural, subjects
from refiner.backdrop import dead_leaves
from refiner.composite import GRID, Scene
from refiner.patch_sampling import PatchSampling
from training.folders import read_rgb
from training.split import is_held_out

Random = np.random.Generator
SPLITS = ("train", "valid")

#: Height and width of a drawn background, px: of the size of most photos that are given as one.
LEAVES = (480, 640)


@dataclass(frozen=True)
class Data:
    """What patches are made of, each default with its reason."""

    #: The same seed and folders give the same shards, byte for byte.
    seed: int = 0
    #: Shards of the training and of the validation split, the latter of held-out pictures.
    shards: int = 40
    valid_shards: int = 1
    #: Number of the first training shard: others can be added to a folder.
    first_shard: int = 0
    #: Patches a shard: 150 MB, small enough to begin training on the first.
    shard_size: int = 1024
    #: Scenes whose subject is drawn: thin, semi-transparent and hard things that folders lack.
    procedural: float = 0.25
    #: Backgrounds with a drawn thing in them, such as a lattice, that is not to be cut out.
    clutter: float = 0.0
    #: Backgrounds drawn as dead leaves (:mod:`refiner.backdrop`), for folders that lack photos.
    leaves: float = 0.0
    #: Subjects left on their own photo, where alpha is true there: no composite has its light,
    #: its clutter, and what stage 1 takes for the subject in it.
    natural: float = 0.5
    #: Masks that stage 1 made; the others are simulated.
    real: float = 0.7
    #: Stage-1 models by name or file, which make masks in turn; none: all are simulated.
    stage1: tuple[str, ...] = ("wisp",)
    #: Stage-2 model by name or file whose global generator corrects the masks of local patches, as
    #: in use; "" leaves them as they are.
    corrector: str = ""
    #: Pixels a stage-1 cell, from and to: photos of 0.15 to 24 megapixels.
    cells: tuple[float, float] = (1.2, 16.0)
    #: Scenes are drawn up to this cell size; beyond it their pixels are enlarged, as photos of
    #: very many megapixels are soft at the pixel.
    drawn: float = 5.0
    #: How often a folder of subjects counts, by its name; one that is not named counts once.
    repeat: dict[str, int] = field(default_factory=dict)
    #: How patches are taken from a scene.
    patches: PatchSampling = field(default_factory=PatchSampling)


@dataclass(frozen=True)
class Pictures:
    """The prepared subjects by folder (listed twice where it counts twice), and the backgrounds."""

    groups: tuple[tuple[Path, ...], ...]
    backgrounds: tuple[Path, ...]


def cell_size(data: Data, rng: Random) -> float:
    """Draw a cell size, log-uniform, and two times in three from the common 1.5 to 6 px."""
    low, high = data.cells
    if rng.random() < 2 / 3:
        low, high = max(low, 1.5), min(high, 6.0)
    return float(np.exp(rng.uniform(np.log(low), np.log(max(high, low)))))


def draw(pictures: Pictures, data: Data, rng: Random) -> Iterator[tuple[Scene, float]]:
    """Draw scenes without end, each with the factor by which its pixels are to be enlarged."""
    while True:
        cell = cell_size(data, rng)
        zoom = max(1.0, cell / rng.uniform(0.6, 1.0) / data.drawn)
        cell /= zoom
        if data.leaves and rng.random() < data.leaves:
            backdrop = dead_leaves(LEAVES, rng)
        else:
            backdrop = _picture(pictures.backgrounds[rng.integers(len(pictures.backgrounds))])
        if not pictures.groups or rng.random() < data.procedural:
            subject = _drawn(pictures, cell, rng)
        else:
            group = pictures.groups[rng.integers(len(pictures.groups))]
            path = group[rng.integers(len(group))]
            subject = _subject(path)
            if subject.photo is not None and rng.random() < data.natural:
                yield composite.natural(subject, cell, rng), zoom
                continue
        if rng.random() < data.clutter:
            thing = _drawn(pictures, cell, rng)
            backdrop = composite.cluttered(backdrop, thing, rng)
        yield composite.compose(subject, backdrop, cell, rng), zoom


def split_of(pictures: Pictures, split: str) -> Pictures:
    """Keep the pictures that belong to a split."""

    def mine(paths: tuple[Path, ...]) -> tuple[Path, ...]:
        return tuple(p for p in paths if is_held_out(p.name) == (split == "valid"))

    groups = tuple(group for group in map(mine, pictures.groups) if group)
    backgrounds = mine(pictures.backgrounds)
    if not backgrounds:
        raise SettingsError(f"no background belongs to the {split} split: give more of them")
    return replace(pictures, groups=groups, backgrounds=backgrounds)


def _drawn(pictures: Pictures, cell: float, rng: Random) -> subjects.Subject:
    """Draw a subject at about the size that it will have, and sometimes dress it in a photo."""
    kind = procedural.KINDS[rng.integers(len(procedural.KINDS))]
    side = int(np.clip(GRID * cell * rng.uniform(0.7, 1.1), 200, 900))
    colour, alpha = procedural.sample(kind, (side, side), rng)
    if kind in ("lace", "product", "fur", "defocus") and rng.random() < 0.4:
        cloth = _picture(pictures.backgrounds[rng.integers(len(pictures.backgrounds))])
        colour = cv2.resize(cloth, (side, side), interpolation=cv2.INTER_AREA).astype(np.uint8)
    return subjects.Subject(colour, alpha)


@lru_cache(maxsize=64)
def _picture(path: Path) -> NDArray[np.uint8]:
    return read_rgb(path)


@lru_cache(maxsize=64)
def _subject(path: Path) -> subjects.Subject:
    return subjects.load(path.parent, path.stem)
