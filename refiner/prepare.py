"""Prepare training data once, to disk: ``python -m refiner.prepare --help``.

A shard is one uint8 array (N, 9, 128, 128), memory-mapped in training: composite RGB, coarse mask,
true alpha, true foreground RGB, and what a change at that pixel counts (0 far from the edge in a
look from afar, else 255). It depends on the seed, its number and the folders, and on nothing else.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import click
import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from pipeline import models, multiscale
from pipeline.cli.command import Command
from pipeline.errors import SettingsError
from pipeline.patches import TILE
from refiner import composite, guidance, procedural, subjects
from refiner.composite import GRID, Scene
from refiner.cutting import CHANNELS, Cutting, cut, region

Random = np.random.Generator
SPLITS = ("train", "valid")


@dataclass(frozen=True)
class Recipe:
    """What the data are made of, each default with its reason."""

    #: The same seed and folders give the same shards, byte for byte.
    seed: int = 0
    #: Patches a shard: 150 MB, small enough to begin training on the first.
    shard_size: int = 1024
    #: Scenes whose subject is drawn: thin, semi-transparent and hard things that folders lack.
    procedural: float = 0.25
    #: Subjects left on their own photo, where alpha is true there: no composite has its light,
    #: its clutter, and what stage 1 takes for the subject in it.
    natural: float = 0.5
    #: Masks that stage 1 made; the others are simulated.
    real: float = 0.7
    #: Pixels a stage-1 cell: photos of 0.15 to 24 megapixels.
    cells: tuple[float, float] = (1.2, 16.0)
    #: Scenes are drawn up to this cell size; beyond it their pixels are enlarged, as photos of
    #: very many megapixels are soft at the pixel.
    drawn: float = 5.0
    #: How patches are cut out of a scene.
    cutting: Cutting = field(default_factory=Cutting)


@dataclass(frozen=True)
class Folders:
    """The prepared subjects by folder of origin, the backgrounds, and networks, if any.

    With a ``refiner``, patches have the mask that this one, shown the whole scene, makes of the
    coarse one: the next is trained on what it will meet.
    """

    groups: tuple[tuple[Path, ...], ...]
    backgrounds: tuple[Path, ...]
    stage1: tuple[str, ...] = ()
    refiner: str | None = None


def held_out(name: str) -> bool:
    """Tell whether a picture of that name belongs to the validation split: one in ten does."""
    return int(hashlib.md5(name.encode(), usedforsecurity=False).hexdigest(), 16) % 10 == 0


def cell_size(recipe: Recipe, rng: Random) -> float:
    """Draw a cell size, log-uniform, and two times in three from the common 1.5 to 6 px."""
    low, high = recipe.cells
    if rng.random() < 2 / 3:
        low, high = max(low, 1.5), min(high, 6.0)
    return float(np.exp(rng.uniform(np.log(low), np.log(max(high, low)))))


def scenes(folders: Folders, recipe: Recipe, rng: Random) -> Iterator[tuple[Scene, float]]:
    """Draw scenes without end, each with the factor by which its pixels are to be enlarged."""
    while True:
        cell = cell_size(recipe, rng)
        zoom = max(1.0, cell / rng.uniform(0.6, 1.0) / recipe.drawn)
        cell /= zoom
        backdrop = _picture(folders.backgrounds[rng.integers(len(folders.backgrounds))])
        if not folders.groups or rng.random() < recipe.procedural:
            subject = _drawn(folders, cell, rng)
        else:
            group = folders.groups[rng.integers(len(folders.groups))]
            path = group[rng.integers(len(group))]
            subject = _subject(path)
            if subject.photo is not None and rng.random() < recipe.natural:
                yield composite.natural(subject, cell, rng), zoom
                continue
        yield composite.compose(subject, backdrop, cell, rng), zoom


def write_shard(path: Path, folders: Folders, recipe: Recipe, split: str, number: int) -> None:
    """Fill one shard and put it in place when it is complete."""
    cv2.setNumThreads(1)
    rng = np.random.default_rng([recipe.seed, SPLITS.index(split), number])
    networks = [_stage1(name) for name in folders.stage1]
    refiner = _afar(folders.refiner) if folders.refiner else None
    part = path.with_name(path.name + ".part")
    shape = (recipe.shard_size, CHANNELS, TILE, TILE)
    shard = np.lib.format.open_memmap(part, mode="w+", dtype=np.uint8, shape=shape)
    done = 0
    for scene, zoom in scenes(folders, recipe, rng):
        stage1 = networks[rng.integers(len(networks))] if networks else None
        coarse = guidance.guide(scene, stage1, recipe.real, rng)
        guide = coarse
        if refiner:
            guide = multiscale.correct(refiner, scene.image, coarse, region(coarse))
        found = cut(scene, coarse, guide, zoom, recipe.cutting, rng)[: recipe.shard_size - done]
        shard[done : done + len(found)] = found
        done += len(found)
        if done == recipe.shard_size:
            break
    shard.flush()
    os.replace(part, path)


def write_scenes(out: Path, folders: Folders, recipe: Recipe, count: int) -> None:
    """Write whole scenes as pictures, for ``wisp bench``: images, alphas, foregrounds.

    They are such as ``folders`` give, with pixels as they were drawn and alpha true at each.
    """
    rng = np.random.default_rng([recipe.seed, len(SPLITS)])
    drawn = (scene for scene, zoom in scenes(folders, recipe, rng) if zoom == 1 and scene.exact)
    for kind in ("images", "alphas", "foregrounds"):
        (out / kind).mkdir(parents=True, exist_ok=True)
    for number, scene in zip(range(count), drawn, strict=False):
        alpha = np.rint(scene.alpha * 255).astype(np.uint8)
        layers = (("images", scene.image), ("alphas", alpha), ("foregrounds", scene.foreground))
        for kind, layer in layers:
            Image.fromarray(layer).save(out / kind / f"{number:03d}.png")


def split_of(folders: Folders, split: str) -> Folders:
    """Keep the pictures that belong to a split."""

    def mine(paths: tuple[Path, ...]) -> tuple[Path, ...]:
        return tuple(p for p in paths if held_out(p.name) == (split == "valid"))

    groups = tuple(group for group in map(mine, folders.groups) if group)
    backgrounds = mine(folders.backgrounds)
    if not backgrounds:
        raise SettingsError(f"no background belongs to the {split} split: give more of them")
    return replace(folders, groups=groups, backgrounds=backgrounds)


@lru_cache(maxsize=64)
def _picture(path: Path) -> NDArray[np.uint8]:
    return subjects.read_rgb(path)


@lru_cache(maxsize=64)
def _subject(path: Path) -> subjects.Subject:
    return subjects.load(path.parent, path.stem)


@lru_cache(maxsize=4)
def _stage1(name: str) -> guidance.Stage1:
    return guidance.Stage1(name)


@lru_cache(maxsize=1)
def _afar(name: str) -> models.Session:
    card = models.refiner_model(name)
    return models.open_refiner(card, ("CPUExecutionProvider",), 1).global_generator


def _drawn(folders: Folders, cell: float, rng: Random) -> subjects.Subject:
    """Draw a subject at about the size that it will have, and sometimes dress it in a photo."""
    kind = procedural.KINDS[rng.integers(len(procedural.KINDS))]
    side = int(np.clip(GRID * cell * rng.uniform(0.7, 1.1), 200, 900))
    colour, alpha = procedural.sample(kind, (side, side), rng)
    if kind in ("lace", "product", "fur", "defocus") and rng.random() < 0.4:
        cloth = _picture(folders.backgrounds[rng.integers(len(folders.backgrounds))])
        colour = cv2.resize(cloth, (side, side), interpolation=cv2.INTER_AREA).astype(np.uint8)
    return subjects.Subject(colour, alpha)


def _work(job: tuple[Path, Folders, Recipe, str, int]) -> None:
    write_shard(*job)


def _make_subject(job: tuple[subjects.Source, Path]) -> None:
    source, folder = job
    done = folder / f"{source.name}.done"
    if done.exists():
        return
    subject = subjects.make(source)
    if subject is not None:
        subjects.save(subject, folder, source.name)
    done.touch()


def _pool(work: Any, jobs: list[Any], processes: int, title: str, quiet: bool) -> None:
    """Run jobs in processes of their own, with a bar."""
    # Spawned, as a fork would inherit the locks of onnxruntime's and OpenCV's threads.
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        done = pool.imap_unordered(work, jobs)
        for _ in tqdm(done, total=len(jobs), desc=title, disable=quiet):
            pass


Folder = click.Path(exists=True, file_okay=False, path_type=Path)


@click.command(cls=Command, context_settings={"show_default": True})
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Where shards go.")
@click.option("--cutouts", type=Folder, multiple=True, help="RGBA cutouts; give twice to double.")
@click.option("--alphas", type=(Folder, Folder), multiple=True, help="Images, soft alphas.")
@click.option("--masks", type=(Folder, Folder), multiple=True, help="Images, accurate masks.")
@click.option("--guesses", type=(Folder, Folder), multiple=True, help="Images, a network's masks.")
@click.option("--backgrounds", type=Folder, multiple=True, required=True, help="Backgrounds.")
@click.option("--stage1", multiple=True, help="Stage-1 model, by name or file; give several.")
@click.option("--refiner", help="Stage-2 model, by name or file, to look at whole scenes first.")
@click.option("--shards", default=40, help="Training shards of 1024 patches.")
@click.option("--valid", default=1, help="Validation shards, of subjects and backgrounds held out.")
@click.option(
    "--scenes", "whole", default=0, help="Whole scenes, of what is held out, to measure on."
)
@click.option("--first", default=0, help="Number of the first training shard.")
@click.option("--seed", default=Recipe.seed, help="Another seed, other scenes.")
@click.option("--shard-size", default=Recipe.shard_size, help="Patches a shard.")
@click.option("--per-scene", default=Cutting.per_scene, help="Patches a scene.")
@click.option("--glances", default=Cutting.glances, help="Of these, how many show it all.")
@click.option("--real", default=Recipe.real, help="Share of coarse masks that stage 1 makes.")
@click.option("--natural", default=Recipe.natural, help="Share of subjects left on their photo.")
@click.option("--procedural", default=Recipe.procedural, help="Share of scenes drawn, not photo.")
@click.option("--cells", nargs=2, default=Recipe.cells, help="Pixels a stage-1 cell, from and to.")
@click.option("--processes", default=os.cpu_count() or 1, help="Processes.")
@click.option("--quiet", is_flag=True, help="No progress bar.")
def main(
    out: Path,
    cutouts: tuple[Path, ...],
    alphas: tuple[tuple[Path, Path], ...],
    masks: tuple[tuple[Path, Path], ...],
    guesses: tuple[tuple[Path, Path], ...],
    backgrounds: tuple[Path, ...],
    stage1: tuple[str, ...],
    refiner: str | None,
    shards: int,
    valid: int,
    whole: int,
    first: int,
    seed: int,
    shard_size: int,
    per_scene: int,
    glances: int,
    real: float,
    natural: float,
    procedural: float,
    cells: tuple[float, float],
    processes: int,
    quiet: bool,
) -> None:
    """Prepare patches to train stage 2 with, from folders of your own.

    What exists already is kept, so an interrupted run goes on where it stopped.
    """
    how = Cutting(per_scene, glances)
    recipe = Recipe(seed, shard_size, procedural, natural, real, cells, cutting=how)
    for name in stage1:
        models.coarse_model(name)
    if refiner:
        models.refiner_model(refiner)
    groups = [
        [subjects.Source("rgba", path) for path in subjects.pictures(folder)] for folder in cutouts
    ]
    groups += [list(subjects.pairs("alpha", *pair)) for pair in alphas]
    groups += [list(subjects.pairs("mask", *pair)) for pair in masks]
    groups += [list(subjects.pairs("guess", *pair)) for pair in guesses]
    pictures = tuple(path for folder in backgrounds for path in subjects.pictures(folder))
    ready = out / "subjects"
    ready.mkdir(parents=True, exist_ok=True)
    todo = {s.name: (s, ready) for group in groups for s in group}
    _pool(_make_subject, list(todo.values()), processes, "subjects", quiet)
    found = tuple(
        tuple(p for s in group if (p := ready / f"{s.name}.png").exists()) for group in groups
    )
    everything = Folders(found, pictures, stage1, refiner)
    jobs = []
    for split, numbers in (("valid", range(valid)), ("train", range(first, first + shards))):
        paths = [(number, out / f"{split}-{number:03d}.npy") for number in numbers]
        missing = [(number, path) for number, path in paths if not path.exists()]
        mine = split_of(everything, split) if missing else everything
        jobs += [(path, mine, recipe, split, number) for number, path in missing]
    if whole:
        write_scenes(out / "scenes", split_of(everything, "valid"), recipe, whole)
    (out / "recipe.json").write_text(json.dumps(asdict(recipe), indent=2) + "\n")
    _pool(_work, jobs, processes, "shards", quiet)


if __name__ == "__main__":
    main()
