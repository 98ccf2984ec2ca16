"""Training data: prepared once to disk, then drawn and augmented as a pure function of a step.

A data folder may hold any number of sub-folders; what each is follows from what lies in it:

- ``images/`` beside ``masks/`` or ``alphas/``: photos with ground truth, matched by file stem;
- PNG files with an alpha channel: cutouts, composited here over ``backgrounds`` (exact truth);
- a folder called ``backgrounds``: pictures without a subject, for the composites;
- any other pictures: photos without ground truth, for distillation alone.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
from PIL import Image, ImageOps
from tqdm import tqdm

from pipeline.errors import SettingsError

SIZE = 320  # the side of the network's square view in use
ROOM = 368  # the side on disk: room for a crop that is still sharp at 320
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp"}
FRAME = re.compile(r"^(.+)[_-]\d{5,}$")  # video frames are named scene_00008


@dataclass(frozen=True)
class Item:
    """One picture found on disk. ``folder`` names its source, ``scene`` what is held out whole."""

    folder: str
    scene: str
    path: Path
    truth: Path | None = None


def pictures(folder: Path) -> list[Path]:
    """The picture files of a folder, sorted by name."""
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES)


def find(root: Path) -> tuple[list[Item], list[Path], list[Path]]:
    """All (photos, cutouts, backgrounds) under ``root``. Raises ``SettingsError`` if none."""
    items: list[Item] = []
    cutouts: list[Path] = []
    backgrounds: list[Path] = []
    for folder in sorted(p for p in [root, *root.rglob("*")] if p.is_dir()):
        if folder.name in ("masks", "alphas") or not (found := pictures(folder)):
            continue
        source = folder.relative_to(root).as_posix().removesuffix("/images")
        truths = {
            p.stem: p
            for kind in ("masks", "alphas")
            if folder.name == "images" and (folder.parent / kind).is_dir()
            for p in pictures(folder.parent / kind)
        }
        if folder.name == "backgrounds":
            backgrounds += found
        elif not truths and all("A" in Image.open(p).getbands() for p in found[:3]):
            cutouts += found
        else:
            for path in found:
                if truths and path.stem not in truths:
                    continue
                frame = FRAME.match(path.stem)
                scene = frame.group(1) if frame and truths else path.stem
                items.append(Item(source, scene, path, truths.get(path.stem)))
    if not items:
        raise SettingsError(f"No pictures under {root}: give a folder of images, or of folders.")
    return items, cutouts, backgrounds


def held_out(items: Iterable[Item]) -> set[tuple[str, str]]:
    """The (folder, scene) pairs kept from training, the same every time.

    In each folder the scenes are ranked by a hash of their name, and the first tenth is held
    out; the first quarter where scenes have several frames, since there are few of those.
    """
    scenes: dict[str, list[str]] = defaultdict(list)
    for item in items:
        scenes[item.folder].append(item.scene)
    chosen = set()
    for folder, names in scenes.items():
        unique = sorted(set(names), key=lambda s: hashlib.sha1(f"{folder}/{s}".encode()).digest())
        share = 0.25 if len(names) > 2 * len(unique) else 0.1
        chosen |= {(folder, s) for s in unique[: math.ceil(share * len(unique))]}
    return chosen


def read_square(path: Path, side: int) -> np.ndarray:
    """A photo as (side, side, 3) uint8 RGB, squashed as in use (Lanczos)."""
    with Image.open(path) as image:
        rgb = ImageOps.exif_transpose(image).convert("RGB")
    return np.asarray(rgb.resize((side, side), Image.Resampling.LANCZOS))


def read_mask(path: Path, side: int) -> np.ndarray:
    """A mask or an alpha as (side, side) uint8, 0..255, averaged over the pixels it covers."""
    with Image.open(path) as image:
        grey = image.convert("L")
    return np.asarray(grey.resize((side, side), Image.Resampling.BOX))


def composite(
    rng: np.random.Generator, cutout: Path, background: Path, side: int
) -> tuple[np.ndarray, np.ndarray]:
    """One cutout at a random size and place on a background: (side, side, 3) and (side, side).

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
    return np.rint(mixed.clip(0, 255)).astype(np.uint8), np.rint(canvas[..., 3] * 255).astype(
        np.uint8
    )


def prepare(root: Path, out: Path, composites: int, seed: int = 0, quiet: bool = False) -> dict:
    """Write ``train`` and ``held`` arrays under ``out``; returns the count of each source.

    ``train`` pictures are (N, 368, 368), ``held`` ones (N, 320, 320) exactly as in use.
    Composites are for training only: their cutouts have no scene of their own to hold out.
    """
    items, cutouts, backgrounds = find(root)
    held = held_out(items)
    splits: dict[str, list[Item]] = {"train": [], "held": []}
    for item in items:
        splits["held" if (item.folder, item.scene) in held else "train"].append(item)
    composites = composites if cutouts and backgrounds else 0
    out.mkdir(parents=True, exist_ok=True)
    counts: dict[str, dict[str, int]] = {}
    for split, chosen in splits.items():
        side = ROOM if split == "train" else SIZE
        extra = composites if split == "train" else 0
        total = len(chosen) + extra
        part = out / f"{split}.part.npy"
        pack = np.lib.format.open_memmap(part, "w+", np.uint8, (total, side, side, 4))
        index: list[tuple[str, str, bool]] = []
        for i in tqdm(range(total), desc=f"prepare {split}", disable=quiet or None):
            if i < len(chosen):
                item = chosen[i]
                pack[i, ..., :3] = read_square(item.path, side)
                if item.truth:
                    pack[i, ..., 3] = read_mask(item.truth, side)
                index.append((item.folder, item.path.stem, item.truth is not None))
            else:
                rng = np.random.default_rng((seed, i))
                # Every cutout in turn, so that a few composites already use them all.
                cutout = cutouts[(i - len(chosen)) % len(cutouts)]
                background = backgrounds[rng.integers(len(backgrounds))]
                pack[i, ..., :3], pack[i, ..., 3] = composite(rng, cutout, background, side)
                index.append(("composites", f"{cutout.parent.name}_{cutout.stem}", True))
        pack.flush()
        os.replace(part, out / f"{split}.npy")
        part_index = out / f"{split}.part.json"
        part_index.write_text(json.dumps(index))
        os.replace(part_index, out / f"{split}.json")
        counts[split] = {f: sum(e[0] == f for e in index) for f in sorted({e[0] for e in index})}
    return counts


class Prepared:
    """One split on disk: ``pack`` (N, S, S, 4) uint8 RGB + truth, ``folders``, ``has`` (N,)."""

    def __init__(self, out: Path, split: str):
        if not (out / f"{split}.json").is_file():
            raise SettingsError(f"No prepared data in {out}: run the prepare command first.")
        self.pack = np.load(out / f"{split}.npy", mmap_mode="r")
        index = json.loads((out / f"{split}.json").read_text())
        self.folders = np.array([e[0] for e in index])
        self.names = [e[1] for e in index]
        self.has = np.array([e[2] for e in index], bool)

    def __len__(self) -> int:
        return len(self.pack)


def odds(prepared: Prepared, weights: dict[str, float]) -> np.ndarray:
    """The chance of each picture, (N,) float64: a folder's weight, shared among its pictures.

    A folder that ``weights`` does not name weighs 1.
    """
    chance = np.zeros(len(prepared))
    for folder in np.unique(prepared.folders):
        inside = prepared.folders == folder
        chance[inside] = weights.get(str(folder), 1.0) / inside.sum()
    return chance / chance.sum()


def augment(
    rng: np.random.Generator, image: np.ndarray, mask: np.ndarray, size: int, strength: float
) -> tuple[np.ndarray, np.ndarray]:
    """Crop, flip, rescale, colour, blur, noise and JPEG: (S, S, 3), (S, S) -> ``size`` square.

    ``strength`` 0..1 scales the odds of everything but the crop and the flip.
    """
    side = len(image)
    shortest = 1 - 0.6 * strength
    h, w = (round(side * rng.uniform(shortest, 1)) for _ in range(2))
    y, x = rng.integers(0, side - h + 1), rng.integers(0, side - w + 1)
    image, mask = image[y : y + h, x : x + w], mask[y : y + h, x : x + w]
    if rng.random() < 0.5:
        image, mask = image[:, ::-1], mask[:, ::-1]
    image, mask = np.ascontiguousarray(image), np.ascontiguousarray(mask)
    if rng.random() < 0.25 * strength:  # a small original, enlarged
        small = rng.integers(size // 3, size)
        image = cv2.resize(image, (int(small), int(small)), interpolation=cv2.INTER_AREA)
    shrinks = image.shape[0] > size
    image = cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA if shrinks else 1)
    mask = cv2.resize(mask, (size, size), interpolation=cv2.INTER_AREA if h > size else 1)
    if rng.random() < 0.7 * strength:  # exposure, contrast, colour balance, saturation
        tone = image.astype(np.float32)
        gain = np.float32(np.exp(rng.normal(0, 0.15) + rng.normal(0, 0.06, 3)))
        tone = 255 * (tone * gain / 255).clip(0, 1) ** np.float32(np.exp(rng.normal(0, 0.2)))
        grey = tone.mean(-1, keepdims=True)
        tone = grey + (tone - grey) * np.float32(rng.uniform(0.2, 1.5))
        image = tone.clip(0, 255).astype(np.uint8)
    if rng.random() < 0.15 * strength:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.6))
    if rng.random() < 0.2 * strength:
        noise = rng.normal(0, rng.uniform(2, 12), image.shape).astype(np.float32)
        image = (image + noise).clip(0, 255).astype(np.uint8)
    if rng.random() < 0.3 * strength:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(25, 90))]
        packed = cv2.imencode(".jpg", image, quality)[1]
        image = np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR))
    return image, mask


Batch = tuple[np.ndarray, np.ndarray, np.ndarray]
Drawn = TypeVar("Drawn")


def draw(
    prepared: Prepared,
    chance: np.ndarray,
    seed: int,
    step: int,
    batch: int,
    size: int,
    strength: float,
) -> Batch:
    """The batch of a step: images (B, 3, size, size) uint8, truth (B, 1, size, size) float32
    0..1, has (B,) float32 0 or 1.

    A pure function of its arguments: a resumed run sees what the unbroken one would have seen.
    """
    rng = np.random.default_rng((seed, step))
    chosen = rng.choice(len(prepared), batch, p=chance)
    images = np.empty((batch, 3, size, size), np.uint8)
    truth = np.empty((batch, 1, size, size), np.float32)
    for i, k in enumerate(chosen):
        record = prepared.pack[k]
        image, mask = augment(rng, record[..., :3], record[..., 3], size, strength)
        images[i], truth[i, 0] = image.transpose(2, 0, 1), mask / np.float32(255)
    return images, truth, prepared.has[chosen].astype(np.float32)


def batches(
    prepared: Prepared,
    chance: np.ndarray,
    seed: int,
    steps: range,
    batch: int,
    size: int,
    strength: float,
) -> Iterator[Batch]:
    """``draw`` for each step, one step ahead of its use."""
    return ahead(lambda k: draw(prepared, chance, seed, k, batch, size, strength), steps)


def ahead(one: Callable[[int], Drawn], steps: range) -> Iterator[Drawn]:
    """``one`` of each step, made while the step before it is in use."""
    with ThreadPoolExecutor(1) as pool:
        jobs = [pool.submit(one, step) for step in steps[:1]]
        for step in steps:
            ready = jobs.pop()
            if step + 1 < steps.stop:
                jobs.append(pool.submit(one, step + 1))
            yield ready.result()
