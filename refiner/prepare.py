"""Prepare training data once, to disk: ``python -m refiner.prepare --help``.

A shard is one uint8 array (N, 9, 128, 128), memory-mapped in training: composite RGB, coarse mask,
true alpha, true foreground RGB, and what a change at that pixel counts (0 far from the edge in a
global view, else 255). It depends on the seed, its number and the folders, and on nothing else.
"""

from __future__ import annotations

import json
import multiprocessing
import os
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

import click
import cv2
import numpy as np
from PIL import Image
from tqdm import tqdm

from pipeline import files, models, multiscale
from pipeline.cli.command import Command
from pipeline.errors import SettingsError, WispError
from pipeline.patches import TILE
from refiner import guidance, scenes, subjects
from refiner.patch_sampling import CHANNELS, region, sample_patches
from refiner.scenes import SPLITS, Data, Pictures, split_of
from training import folders, recipe
from training.folders import read_rgb


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
        for scene, zoom in scenes.draw(pictures, data, rng):
            stage1 = networks[rng.integers(len(networks))] if networks else None
            coarse = guidance.coarse_mask(scene, stage1, data.real, rng)
            corrected = coarse.alpha
            if corrector:
                corrected = multiscale.correct(corrector, scene.image, coarse.alpha, region(coarse))
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
    every = scenes.draw(pictures, data, rng)
    drawn = (scene for scene, zoom in every if zoom == 1 and scene.pixel_accurate)
    for kind in ("images", "alphas", "foregrounds"):
        (out / kind).mkdir(parents=True, exist_ok=True)
    for number, scene in zip(range(count), drawn, strict=False):
        alpha = np.rint(scene.alpha * 255).astype(np.uint8)
        layers = (("images", scene.image), ("alphas", alpha), ("foregrounds", scene.foreground))
        for kind, layer in layers:
            Image.fromarray(layer).save(out / kind / f"{number:03d}.png")


@lru_cache(maxsize=4)
def _stage1(name: str) -> guidance.Stage1:
    return guidance.Stage1(name)


@lru_cache(maxsize=1)
def _global_generator(name: str) -> models.Session:
    card = models.refiner_model(name)
    return models.open_refiner(card, ("CPUExecutionProvider",), 1).global_generator


def _work(job: tuple[Path, Pictures, Data, str, int]) -> None:
    write_shard(*job)


#: What is raised of a picture that cannot be used: by Pillow, of which the latter are no errors of
#: the system, and by pymatting, of a mask that is thin all over.
_BROKEN = (WispError, OSError, ValueError, SyntaxError, Image.DecompressionBombError)


def _readable(path: Path) -> Path | None:
    """Return a background that can be read; say why one cannot."""
    try:
        read_rgb(path)
    except _BROKEN as error:
        click.echo(f"left out: {path}: {error}", err=True)
        return None
    return path


def _make_subject(job: tuple[subjects.SubjectFile, Path]) -> None:
    source, folder = job
    done = folder / f"{source.name}.done"
    if done.exists():
        return
    try:
        subject = subjects.make(source)
    except _BROKEN as error:
        click.echo(f"left out: {source.image}: {error}", err=True)
        return  # without a stamp: it is tried again when it was mended
    if subject is not None:
        subjects.save(subject, folder, source.name)
    done.touch()


def _pool(work: Any, jobs: list[Any], processes: int, title: str, quiet: bool) -> list[Any]:
    """Run jobs in processes of their own, with a bar; return what came of them, in their order."""
    # Spawned, as a fork would inherit the locks of onnxruntime's and OpenCV's threads.
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        return list(tqdm(pool.imap(work, jobs), total=len(jobs), desc=title, disable=quiet))


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
    found = [p for s in sources if s.kind == "backgrounds" for p in s.pictures]
    backgrounds = tuple(p for p in _pool(_readable, found, processes, "backgrounds", quiet) if p)
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
@click.option("--set", "changes", multiple=True, help="NAME=VALUE of refiner.scenes.Data.")
@click.option("--scenes", "count", default=0, help="Also write so many held-out scenes, whole.")
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
