"""Prepare training data once, to disk: ``python -m refiner.prepare --help``.

A shard is one uint8 array (N, 9, 128, 128), memory-mapped in training: composite RGB, coarse mask,
true alpha, true foreground RGB, and what a change at that pixel counts (0 far from the edge in a
global view, else 255). It depends on the seed, its number and the folders, and on nothing else.
"""

from __future__ import annotations

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

from pipeline import files, models, multiscale
from pipeline.cli.command import Command
from pipeline.errors import SettingsError
from pipeline.patches import TILE
from refiner import composite, guidance, procedural, subjects
from refiner.backdrop import dead_leaves
from refiner.composite import GRID, Scene
from refiner.patch_sampling import CHANNELS, PatchSampling, region, sample_patches
from training import folders, recipe
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
    """The prepared subjects by folder, one that counts twice twice, and the backgrounds."""

    groups: tuple[tuple[Path, ...], ...]
    backgrounds: tuple[Path, ...]


def cell_size(data: Data, rng: Random) -> float:
    """Draw a cell size, log-uniform, and two times in three from the common 1.5 to 6 px."""
    low, high = data.cells
    if rng.random() < 2 / 3:
        low, high = max(low, 1.5), min(high, 6.0)
    return float(np.exp(rng.uniform(np.log(low), np.log(max(high, low)))))


def scenes(pictures: Pictures, data: Data, rng: Random) -> Iterator[tuple[Scene, float]]:
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


def write_shard(path: Path, pictures: Pictures, data: Data, split: str, number: int) -> None:
    """Fill one shard and put it in place when it is complete."""
    cv2.setNumThreads(1)
    rng = np.random.default_rng([data.seed, SPLITS.index(split), number])
    networks = [_stage1(name) for name in data.stage1]
    corrector = _global_generator(data.corrector) if data.corrector else None
    shape = (data.shard_size, CHANNELS, TILE, TILE)
    done = 0
    with files.placing(path) as part:
        shard = np.lib.format.open_memmap(part, mode="w+", dtype=np.uint8, shape=shape)
        for scene, zoom in scenes(pictures, data, rng):
            stage1 = networks[rng.integers(len(networks))] if networks else None
            coarse = guidance.coarse_mask(scene, stage1, data.real, rng)
            corrected = coarse
            if corrector:
                corrected = multiscale.correct(corrector, scene.image, coarse, region(coarse))
            patches = sample_patches(scene, coarse, corrected, zoom, data.patches, rng)
            patches = patches[: data.shard_size - done]
            shard[done : done + len(patches)] = patches
            done += len(patches)
            if done == data.shard_size:
                break
        shard.flush()


def write_scenes(out: Path, pictures: Pictures, data: Data, count: int) -> None:
    """Write whole scenes as pictures, for ``wisp bench``: images, alphas, foregrounds.

    They are such as shards are made from, with pixels as they were drawn and alpha true at each.
    """
    rng = np.random.default_rng([data.seed, len(SPLITS)])
    every = scenes(pictures, data, rng)
    drawn = (scene for scene, zoom in every if zoom == 1 and scene.pixel_accurate)
    for kind in ("images", "alphas", "foregrounds"):
        (out / kind).mkdir(parents=True, exist_ok=True)
    for number, scene in zip(range(count), drawn, strict=False):
        alpha = np.rint(scene.alpha * 255).astype(np.uint8)
        layers = (("images", scene.image), ("alphas", alpha), ("foregrounds", scene.foreground))
        for kind, layer in layers:
            Image.fromarray(layer).save(out / kind / f"{number:03d}.png")


def split_of(pictures: Pictures, split: str) -> Pictures:
    """Keep the pictures that belong to a split."""

    def mine(paths: tuple[Path, ...]) -> tuple[Path, ...]:
        return tuple(p for p in paths if is_held_out(p.name) == (split == "valid"))

    groups = tuple(group for group in map(mine, pictures.groups) if group)
    backgrounds = mine(pictures.backgrounds)
    if not backgrounds:
        raise SettingsError(f"no background belongs to the {split} split: give more of them")
    return replace(pictures, groups=groups, backgrounds=backgrounds)


@lru_cache(maxsize=64)
def _picture(path: Path) -> NDArray[np.uint8]:
    return read_rgb(path)


@lru_cache(maxsize=64)
def _subject(path: Path) -> subjects.Subject:
    return subjects.load(path.parent, path.stem)


@lru_cache(maxsize=4)
def _stage1(name: str) -> guidance.Stage1:
    return guidance.Stage1(name)


@lru_cache(maxsize=1)
def _global_generator(name: str) -> models.Session:
    card = models.refiner_model(name)
    return models.open_refiner(card, ("CPUExecutionProvider",), 1).global_generator


def _drawn(pictures: Pictures, cell: float, rng: Random) -> subjects.Subject:
    """Draw a subject at about the size that it will have, and sometimes dress it in a photo."""
    kind = procedural.KINDS[rng.integers(len(procedural.KINDS))]
    side = int(np.clip(GRID * cell * rng.uniform(0.7, 1.1), 200, 900))
    colour, alpha = procedural.sample(kind, (side, side), rng)
    if kind in ("lace", "product", "fur", "defocus") and rng.random() < 0.4:
        cloth = _picture(pictures.backgrounds[rng.integers(len(pictures.backgrounds))])
        colour = cv2.resize(cloth, (side, side), interpolation=cv2.INTER_AREA).astype(np.uint8)
    return subjects.Subject(colour, alpha)


def _work(job: tuple[Path, Pictures, Data, str, int]) -> None:
    write_shard(*job)


def _make_subject(job: tuple[subjects.SubjectFile, Path]) -> None:
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


def find(root: Path, ready: Path, repeat: dict[str, int], processes: int, quiet: bool) -> Pictures:
    """Find the pictures under ``root``, and prepare their subjects in the folder ``ready``.

    Subjects that lie there are kept. Raises ``SettingsError`` where there are no backgrounds, or
    ``repeat`` names no folder of subjects.
    """
    sources = folders.find(root)
    groups = {s.name: list(subjects.subject_files(s)) for s in sources}
    groups = {name: group for name, group in groups.items() if group}
    if unknown := repeat.keys() - groups.keys():
        raise SettingsError(f"No subjects in {', '.join(unknown)}; there are {', '.join(groups)}.")
    ready.mkdir(parents=True, exist_ok=True)
    jobs = {s.name: (s, ready) for name, group in groups.items() for s in group}
    _pool(_make_subject, list(jobs.values()), processes, "subjects", quiet)
    paths = {
        name: tuple(p for s in group if (p := ready / f"{s.name}.png").exists())
        for name, group in groups.items()
    }
    backgrounds = tuple(p for s in sources if s.kind == "backgrounds" for p in s.pictures)
    return Pictures(
        tuple(paths[name] for name in paths for _ in range(repeat.get(name, 1))), backgrounds
    )


def prepare(
    root: Path, out: Path, data: Data, ready: Path, processes: int = 0, quiet: bool = False
) -> Pictures:
    """Write the shards of both splits to ``out``; those that lie there are kept.

    ``ready`` is the folder of prepared subjects, which several data sets may share; ``processes``
    0 means one a core.
    """
    for name in data.stage1:
        models.coarse_model(name)  # that it is there is said now, and not after the subjects
    if data.corrector:
        models.refiner_model(data.corrector)
    processes = processes or os.cpu_count() or 1
    pictures = find(root, ready, data.repeat, processes, quiet)
    numbers = {
        "valid": range(data.valid_shards),
        "train": range(data.first_shard, data.first_shard + data.shards),
    }
    jobs = []
    for split in ("valid", "train"):
        paths = {number: out / f"{split}-{number:03d}.npy" for number in numbers[split]}
        missing = [(number, path) for number, path in paths.items() if not path.exists()]
        mine = split_of(pictures, split) if missing else pictures
        jobs += [(path, mine, data, split, number) for number, path in missing]
    out.mkdir(parents=True, exist_ok=True)
    files.remove_leftovers(out)
    files.write(out / "data.json", json.dumps(asdict(data), indent=2) + "\n")
    _pool(_work, jobs, processes, "shards", quiet)
    return pictures


@click.command(cls=Command, context_settings={"show_default": True})
@click.option("--data", "root", type=click.Path(exists=True, path_type=Path), required=True)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Where shards go.")
@click.option("--set", "changes", multiple=True, help="NAME=VALUE of refiner.prepare.Data.")
@click.option("--scenes", "count", default=0, help="Whole scenes, of what is held out, besides.")
@click.option("--processes", default=0, help="Processes; 0 means one a core.")
@click.option("--quiet", is_flag=True, help="No progress bar.")
def main(
    root: Path, out: Path, changes: tuple[str, ...], count: int, processes: int, quiet: bool
) -> None:
    """Prepare patches to train stage 2 with, from a folder of your own pictures.

    What exists already is kept, so an interrupted run goes on where it stopped.
    """
    data = recipe.changed(Data(), changes)
    pictures = prepare(root, out, data, out / "subjects", processes, quiet)
    if count:
        write_scenes(out / "scenes", split_of(pictures, "valid"), data, count)


if __name__ == "__main__":
    main()
