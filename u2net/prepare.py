"""Prepare training data once, to disk: ``python -m u2net.prepare --help``.

``OUT/train.npy`` and ``OUT/held.npy`` are (N, S, S, 4) uint8, RGB and truth; beside them a JSON
list says of each picture its source, its name, and whether it has a truth. What a data folder may
hold: :mod:`training.folders`.
"""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import click
import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from pipeline.cli.command import Command
from pipeline.errors import SettingsError
from pipeline.files import write
from training import folders
from training.split import held_out_scenes, scene
from u2net.settings import SIZE, Data

ROOM = 368  # the side on disk: room for a crop that is still sharp at 320


@dataclass(frozen=True)
class Item:
    """One photo. ``source`` names its folder, ``scene`` what is held out whole."""

    source: str
    scene: str
    path: Path
    truth: Path | None = None


def find(root: Path) -> tuple[list[Item], list[Path], list[Path]]:
    """Return all (photos, cutouts, backgrounds) under ``root``.

    A mask that a network guessed is no truth. Raises ``SettingsError`` where there is no photo.
    """
    items: list[Item] = []
    special: dict[str, list[Path]] = {"cutouts": [], "backgrounds": []}
    for source in folders.find(root):
        if source.kind in special:
            special[source.kind] += source.pictures
        elif source.kind in ("masks", "alphas"):
            pairs = zip(source.pictures, source.truths, strict=True)
            items += [Item(source.name, scene(p.stem), p, truth) for p, truth in pairs]
        else:
            items += [Item(source.name, p.stem, p) for p in source.pictures]
    if not items:
        raise SettingsError(f"There are only cutouts and backgrounds under {root}, and no photos.")
    return items, special["cutouts"], special["backgrounds"]


def read_square(path: Path, side: int) -> NDArray[np.uint8]:
    """Read a photo as (side, side, 3) uint8 RGB, squashed as in use (Lanczos)."""
    photo = Image.fromarray(folders.read_rgb(path))
    return np.asarray(photo.resize((side, side), Image.Resampling.LANCZOS))


def read_mask(path: Path, side: int) -> NDArray[np.uint8]:
    """Read a mask or an alpha as (side, side) uint8, averaged over the pixels it covers."""
    with Image.open(path) as image:
        grey = image.convert("L")
    return np.asarray(grey.resize((side, side), Image.Resampling.BOX))


def composite(
    rng: np.random.Generator, cutout: Path, background: Path, side: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Lay a cutout at a random size and place on a background: photo (side, side, 3), alpha
    (side, side), both uint8.

    The cutout is resized premultiplied, so its edge takes no colour from its transparent part;
    the returned alpha is exact by construction.
    """
    with Image.open(cutout) as image:
        rgba = np.asarray(image.convert("RGBA")).astype(np.float32) / 255
    box = cv2.boundingRect((rgba[..., 3] > 0.02).astype(np.uint8))
    rgba = rgba[box[1] : box[1] + max(box[3], 1), box[0] : box[0] + max(box[2], 1)]
    if rng.random() < 0.5:
        rgba = rgba[:, ::-1]
    rgba = np.concatenate((rgba[..., :3] * rgba[..., 3:], rgba[..., 3:]), -1)
    height = side * rng.uniform(0.35, 0.95)
    width = height * rgba.shape[1] / rgba.shape[0] * math.exp(rng.uniform(-0.3, 0.3))
    scale = min(1.0, 0.95 * side / width)
    height, width = max(4, round(height * scale)), max(4, round(width * scale))
    inter = cv2.INTER_AREA if height < rgba.shape[0] else cv2.INTER_LINEAR
    small = cv2.resize(np.ascontiguousarray(rgba), (width, height), interpolation=inter)
    y, x = rng.integers(0, side - height + 1), rng.integers(0, side - width + 1)
    canvas = np.zeros((side, side, 4), np.float32)
    canvas[y : y + height, x : x + width] = small
    back = read_square(background, side)
    mixed = canvas[..., :3] * 255 + back * (1 - canvas[..., 3:])
    alpha = np.rint(canvas[..., 3] * 255).astype(np.uint8)
    return np.rint(mixed.clip(0, 255)).astype(np.uint8), alpha


def prepare(root: Path, out: Path, how: Data, quiet: bool = False) -> dict[str, Counter[str]]:
    """Write both splits under ``out``; return the number of pictures of each source.

    ``train`` pictures are 368 px a side, ``held`` ones 320 px exactly as in use. Composites are for
    training only: their cutouts have no scene of their own to hold out.
    """
    items, cutouts, backgrounds = find(root)
    held = held_out_scenes((item.source, item.scene) for item in items)
    splits: dict[str, list[Item]] = {"train": [], "held": []}
    for item in items:
        splits["held" if (item.source, item.scene) in held else "train"].append(item)
    composites = how.composites if cutouts and backgrounds else 0
    out.mkdir(parents=True, exist_ok=True)
    counts = {}
    for split, chosen in splits.items():
        side = ROOM if split == "train" else SIZE
        extra = composites if split == "train" else 0
        part = out / f"{split}.part.npy"
        shape = (len(chosen) + extra, side, side, 4)
        pack = np.lib.format.open_memmap(part, "w+", np.uint8, shape)
        index: list[tuple[str, str, bool]] = []
        for i in tqdm(range(len(pack)), desc=f"prepare {split}", disable=quiet or None):
            if i < len(chosen):
                item = chosen[i]
                pack[i, ..., :3] = read_square(item.path, side)
                if item.truth:
                    pack[i, ..., 3] = read_mask(item.truth, side)
                index.append((item.source, item.path.stem, item.truth is not None))
            else:
                rng = np.random.default_rng((how.seed, i))
                # Every cutout in turn, so that a few composites already use them all.
                cutout = cutouts[(i - len(chosen)) % len(cutouts)]
                background = backgrounds[rng.integers(len(backgrounds))]
                pack[i, ..., :3], pack[i, ..., 3] = composite(rng, cutout, background, side)
                index.append(("composites", f"{cutout.parent.name}_{cutout.stem}", True))
        pack.flush()
        os.replace(part, out / f"{split}.npy")
        write(out / f"{split}.json", json.dumps(index))
        counts[split] = Counter(source for source, _, _ in index)
    return counts


@click.command(cls=Command, context_settings={"show_default": True})
@click.option("--data", "root", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--out", type=click.Path(path_type=Path), required=True)
@click.option("--composites", default=Data.composites, help="Cutouts over backgrounds.")
@click.option("--seed", default=Data.seed)
@click.option("--quiet", is_flag=True)
def main(root: Path, out: Path, composites: int, seed: int, quiet: bool) -> None:
    """Find pictures, ground truth, cutouts and backgrounds; write them at one size to OUT."""
    for split, counts in prepare(root, out, Data(composites, seed), quiet).items():
        click.echo(f"{split}: " + ", ".join(f"{k} {v}" for k, v in sorted(counts.items())))


if __name__ == "__main__":
    main()
