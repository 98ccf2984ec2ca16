"""Prepared pictures, drawn and augmented as a pure function of the seed and the step."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.errors import SettingsError

#: Photos (B, 3, S, S) uint8, truth (B, 1, S, S) float32 0..1, has_truth (B,) float32 0 or 1.
Batch = tuple[np.ndarray, np.ndarray, np.ndarray]


class Prepared:
    """One split on disk (:mod:`u2net.prepare`).

    ``pack`` (N, S, S, 4) uint8 RGB and truth, ``sources`` (N,) str, ``names``, ``has_truth`` (N,).
    """

    def __init__(self, folder: Path, split: str):
        if not (folder / f"{split}.json").is_file():
            raise SettingsError(f"No prepared data in {folder}: python -m u2net.prepare makes it.")
        self.pack = np.load(folder / f"{split}.npy", mmap_mode="r")
        index = json.loads((folder / f"{split}.json").read_text())
        self.sources = np.array([entry[0] for entry in index])
        self.names = [entry[1] for entry in index]
        self.has_truth = np.array([entry[2] for entry in index], bool)

    def __len__(self) -> int:
        return len(self.pack)

    def photos(self, chosen: NDArray[np.intp], side: int) -> NDArray[np.uint8]:
        """Return photos and truths of some pictures, (n, side, side, 4) uint8, not augmented."""
        squares = [
            cv2.resize(self.pack[k], (side, side), interpolation=cv2.INTER_AREA) for k in chosen
        ]
        return np.stack(squares) if squares else np.empty((0, side, side, 4), np.uint8)


def evenly(total: int, most: int) -> NDArray[np.intp]:
    """Return at most ``most`` of the indices below ``total``, evenly spread."""
    return np.linspace(0, total - 1, min(most, total)).astype(np.intp)


def draw(
    prepared: Prepared,
    probs: NDArray[np.float64],
    seed: int,
    step: int,
    batch: int,
    size: int,
    strength: float,
) -> Batch:
    """Draw the batch of a step; ``probs`` (N,) is the probability of each picture.

    A pure function of its arguments: a resumed run sees what the unbroken one would have seen.
    """
    rng = np.random.default_rng((seed, step))
    chosen = rng.choice(len(prepared), batch, p=probs)
    photos = np.empty((batch, 3, size, size), np.uint8)
    truth = np.empty((batch, 1, size, size), np.float32)
    for i, k in enumerate(chosen):
        picture = prepared.pack[k]
        photo, mask = augment(rng, picture[..., :3], picture[..., 3], size, strength)
        photos[i], truth[i, 0] = photo.transpose(2, 0, 1), mask / np.float32(255)
    return photos, truth, prepared.has_truth[chosen].astype(np.float32)


def augment(
    rng: np.random.Generator, image: np.ndarray, mask: np.ndarray, size: int, strength: float
) -> tuple[np.ndarray, np.ndarray]:
    """Crop, flip, rescale, colour, blur, noise and JPEG: (S, S, 3) and (S, S) uint8 to ``size``.

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
    return degrade(rng, image, strength), mask


def degrade(rng: np.random.Generator, image: np.ndarray, strength: float) -> np.ndarray:
    """Change tone, sharpness, noise and compression of some photos, (S, S, 3) uint8 to the same."""
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
    return image
