"""Prepare training data once, to disk: ``python -m u2net.prepare --help``.

``OUT/train.npy`` and ``OUT/held.npy`` are (N, S, S, 4) uint8, RGB and truth; beside them a JSON
list says of each picture its source, its name, and whether it has a truth. What a data folder may
hold: :mod:`training.folders`.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import click
import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from pipeline import files
from pipeline.cli.command import Command
from pipeline.errors import SettingsError
from training import folders, recipe
from training.split import held_out_scenes, scene
from u2net.scenes import Map, Pieces
from u2net.settings import SIZE, Data, Settings

LAST_RECIPE = "guided"  # of the bundled weights: what it holds out, they have not seen
PIECE = 240  # the longest side of a cutout on disk
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


def held(items: list[Item], how: Data) -> list[bool]:
    """Tell of each photo whether it is held out: by ``how.held_out`` where that names its source,
    else by the rule for all."""
    chosen = held_out_scenes((item.source, item.scene) for item in items)
    return [
        re.search(how.held_out[item.source], item.path.stem) is not None
        if item.source in how.held_out
        else (item.source, item.scene) in chosen
        for item in items
    ]


def find_held(root: Path) -> tuple[list[Item], list[Path], list[Path]]:
    """Return what :func:`find` finds, but only what the bundled weights were not trained on."""
    items, cutouts, backgrounds = find(root)
    how = recipe.apply(Data(), recipe.load("u2net", LAST_RECIPE, Settings()).data)
    unseen = [item for item, out in zip(items, held(items, how), strict=True) if out]
    return unseen, sorted(tenth(cutouts)), sorted(tenth(backgrounds))


def tenth(paths: list[Path]) -> set[Path]:
    """Return a tenth of some files, always the same, by a hash of their names."""
    order = sorted(paths, key=lambda p: hashlib.sha1(f"{p.parent.name}/{p.stem}".encode()).digest())
    return set(order[: math.ceil(len(order) / 10)])


def read_cutout(path: Path, longest: int = PIECE) -> NDArray[np.uint8] | None:
    """Read a cutout as (h, w, 4) uint8 straight RGBA, cropped to what is seen; None of a crumb."""
    with Image.open(path) as image:
        rgba = np.asarray(image.convert("RGBA"))
    left, top, width, height = cv2.boundingRect((rgba[..., 3] > 5).astype(np.uint8))
    if min(width, height) < 8:
        return None
    seen = rgba[top : top + height, left : left + width]
    straight: Map = seen.astype(np.float32) / np.float32(255)
    scale = longest / max(straight.shape[:2])
    if scale < 1:
        straight[..., :3] *= straight[..., 3:]
        size = tuple(max(1, round(n * scale)) for n in straight.shape[1::-1])
        straight = np.asarray(cv2.resize(straight, size, interpolation=cv2.INTER_AREA), np.float32)
        straight[..., :3] /= np.maximum(straight[..., 3:], 1e-3)
    return np.rint(straight.clip(0, 1) * 255).astype(np.uint8)


def write_pieces(cutouts: list[Path], grounds: list[Path], rooms: str, path: Path) -> None:
    """Write what scenes are composed of (:class:`u2net.scenes.Pieces`)."""
    named = [(p.parent.name, cutout) for p in cutouts if (cutout := read_cutout(p)) is not None]
    pixels = [cutout.reshape(-1, 4) for _, cutout in named] or [np.empty((0, 4), np.uint8)]
    squares = [read_square(p, SIZE) for p in grounds]
    with files.replacing(path) as file:
        np.savez(
            file,
            pixels=np.concatenate(pixels),
            shapes=np.array([cutout.shape[:2] for _, cutout in named], np.int64).reshape(-1, 2),
            kinds=np.array([kind for kind, _ in named], str),
            grounds=np.stack(squares) if squares else np.empty((0, SIZE, SIZE, 3), np.uint8),
            rooms=np.array([bool(rooms and re.search(rooms, p.stem)) for p in grounds], bool),
        )


def read_pieces(prepared: Path, split: str) -> Pieces:
    """Read what :func:`write_pieces` wrote of a split. Raises ``SettingsError`` if it is absent."""
    path = prepared / f"{split}_pieces.npz"
    if not path.is_file():
        raise SettingsError(f"There is no {path}: python -m u2net.prepare makes it.")
    with np.load(path) as file:
        shapes, pixels = file["shapes"], file["pixels"]
        ends = np.cumsum(shapes.prod(1))[:-1]
        parts = np.split(pixels, ends) if len(shapes) else []
        cutouts = [part.reshape(h, w, 4) for part, (h, w) in zip(parts, shapes, strict=True)]
        return Pieces(cutouts, file["kinds"], file["grounds"], file["rooms"])


def _fill(
    square: NDArray[np.uint8],
    number: int,
    items: list[Item],
    cutouts: list[Path],
    backgrounds: list[Path],
    seed: int,
) -> tuple[str, str, bool]:
    """Fill a square (S, S, 4) with an item, or, after the last item, with a composite.

    Returns its source, its name, and whether its alpha is a truth.
    """
    side = len(square)
    if number < len(items):
        item = items[number]
        square[..., :3] = read_square(item.path, side)
        if item.truth:
            square[..., 3] = read_mask(item.truth, side)
        return item.source, item.path.stem, item.truth is not None
    rng = np.random.default_rng((seed, number))
    # Every cutout in turn, so that a few composites already use them all.
    cutout = cutouts[(number - len(items)) % len(cutouts)]
    background = backgrounds[rng.integers(len(backgrounds))]
    square[..., :3], square[..., 3] = composite(rng, cutout, background, side)
    return "composites", f"{cutout.parent.name}_{cutout.stem}", True


def prepare(root: Path, out: Path, how: Data, quiet: bool = False) -> dict[str, Counter[str]]:
    """Write both splits under ``out``; return the number of pictures of each source.

    ``train`` pictures are 368 px a side, ``held`` ones 320 px exactly as in use. A tenth of the
    cutouts and of the backgrounds is held out, for scenes to measure on.
    """
    items, all_cutouts, all_backgrounds = find(root)
    kept = tenth(all_cutouts) | tenth(all_backgrounds)
    cutouts, backgrounds = (
        [p for p in paths if p not in kept] for paths in (all_cutouts, all_backgrounds)
    )
    splits: dict[str, list[Item]] = {"train": [], "held": []}
    for item, is_held in zip(items, held(items, how), strict=True):
        splits["held" if is_held else "train"].append(item)
    composites = how.composites if cutouts and backgrounds else 0
    out.mkdir(parents=True, exist_ok=True)
    files.remove_leftovers(out)
    counts = {}
    for split, chosen in splits.items():
        side = ROOM if split == "train" else SIZE
        extra = composites if split == "train" else 0
        shape = (len(chosen) + extra, side, side, 4)
        with files.placing(out / f"{split}.npy") as path:
            pack = np.lib.format.open_memmap(path, "w+", np.uint8, shape)
            bar = tqdm(range(len(pack)), desc=f"prepare {split}", disable=quiet or None)
            index = [_fill(pack[i], i, chosen, cutouts, backgrounds, how.seed) for i in bar]
            pack.flush()
        files.write(out / f"{split}.json", json.dumps(index))
        counts[split] = Counter(source for source, _, _ in index)
        own_cutouts, own_grounds = (
            [p for p in paths if (p in kept) == (split == "held")]
            for paths in (all_cutouts, all_backgrounds)
        )
        write_pieces(own_cutouts, own_grounds, how.rooms, out / f"{split}_pieces.npz")
    return counts


@click.command(cls=Command, context_settings={"show_default": True})
@click.option("--data", "root", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--out", type=click.Path(path_type=Path), required=True)
@click.option("--recipe", "name", default="bundled", help="Whose [data] says how.")
@click.option("--quiet", is_flag=True)
def main(root: Path, out: Path, name: str, quiet: bool) -> None:
    """Find pictures, ground truth, cutouts and backgrounds; write them at one size to OUT."""
    how = recipe.apply(Data(), recipe.load("u2net", name, Settings()).data)
    for split, counts in prepare(root, out, how, quiet).items():
        click.echo(f"{split}: " + ", ".join(f"{k} {v}" for k, v in sorted(counts.items())))


if __name__ == "__main__":
    main()
