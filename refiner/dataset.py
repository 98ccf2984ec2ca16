"""Prepared patches, memory-mapped, in batches, augmented where that is cheap: on whole batches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from pipeline.errors import SettingsError
from refiner.composite import compressed
from refiner.patch_sampling import ALPHA, COARSE, FOREGROUND, RGB, WEIGHT
from training.sampling import random_subset


@dataclass(frozen=True)
class Batch:
    """Patches (N, 4, …), truth: alpha (N, 1, …), foreground (N, 3, …), weight (N, 1, …); 0..1."""

    patches: Tensor
    alpha: Tensor
    foreground: Tensor
    weight: Tensor

    @property
    def image(self) -> Tensor:
        """The photo's part of the patches, (N, 3, H, W)."""
        return self.patches[:, :3]

    @property
    def coarse(self) -> Tensor:
        """The coarse mask's part of the patches, (N, 1, H, W)."""
        return self.patches[:, 3:]


class Shards:
    """All shards of a split. New ones that appear in the folder are found at each new epoch.

    Batches are made, and augmented, on ``device``: on a CPU that costs 3 ms a patch.
    """

    def __init__(self, folder: Path, split: str, device: torch.device | str = "cpu") -> None:
        self.folder, self.split, self.device = Path(folder), split, torch.device(device)
        self._shards: dict[Path, NDArray[np.uint8]] = {}
        self.refresh()
        if not self._shards:
            raise SettingsError(
                f"no {split}-*.npy in {folder}: prepare data with python -m refiner.prepare"
            )

    def refresh(self) -> None:
        """Look for shards that were not there before."""
        for path in sorted(self.folder.glob(f"{self.split}-*.npy")):
            if path not in self._shards:
                self._shards[path] = np.load(path, mmap_mode="r")

    def __len__(self) -> int:
        return sum(map(len, self._shards.values()))

    def index(self) -> list[tuple[Path, int]]:
        """Every patch as (shard, number), in a fixed order."""
        return [(path, i) for path in sorted(self._shards) for i in range(len(self._shards[path]))]

    def batch(self, chosen: list[tuple[Path, int]]) -> Batch:
        """Read patches as a batch, not augmented."""
        raw = np.stack([self._shards[path][i] for path, i in chosen])
        layers = torch.from_numpy(raw).to(self.device).float().div_(255)
        return Batch(
            torch.cat([layers[:, RGB], layers[:, COARSE : COARSE + 1]], 1),
            layers[:, ALPHA : ALPHA + 1],
            layers[:, FOREGROUND],
            layers[:, WEIGHT : WEIGHT + 1],
        )


def shuffled(shards: Shards, seed: int, epoch: int) -> list[tuple[Path, int]]:
    """A shuffled epoch: the same for the same seed, epoch and shards."""
    shards.refresh()
    index = shards.index()
    rng = np.random.default_rng([seed, epoch])
    return [index[i] for i in rng.permutation(len(index))]


def batches(
    shards: Shards, size: int, seed: int, steps: range, rank: int = 0, ranks: int = 1
) -> Iterator[Batch]:
    """Yield the augmented batch of each step, which depends on the seed and the step alone.

    That holds as long as no shard is added. Several processes share each step's patches out among
    themselves. Raises ``SettingsError`` where there are fewer patches than a batch has.
    """
    epoch, first = 0, 0
    while first < steps.stop:
        patches = shuffled(shards, seed, epoch)
        count = len(patches) // (size * ranks)
        if not count:
            raise SettingsError(
                f"{len(patches)} patches are fewer than a batch of {size * ranks}: prepare more"
            )
        for step in range(max(first, steps.start), min(first + count, steps.stop)):
            chosen = patches[((step - first) * ranks + rank) * size :][:size]
            yield augment(shards.batch(chosen), np.random.default_rng([seed, step, rank]))
        epoch, first = epoch + 1, first + count


def twice(batch: Batch, rng: np.random.Generator, first: int | None = None) -> Batch:
    """Lengthen a batch: after all patches come the ``first`` ones (None: all) with other pixels.

    They have noise and JPEG of their own. Two photos of one thing differ by no less, and their
    alpha should not differ at all.
    """
    again_of = slice(first)
    photos = batch.image[again_of].cpu().numpy().transpose(0, 2, 3, 1) * 255
    again = np.empty(photos.shape, np.float32)
    for photo, out in zip(photos, again, strict=True):
        grain = rng.standard_normal(photo.shape, np.float32) * rng.uniform(0, 6)
        noisy = np.clip(photo + grain + 0.5, 0, 255).astype(np.uint8)
        out[:] = compressed(noisy, int(rng.integers(60, 96)))
    image = torch.from_numpy(again.transpose(0, 3, 1, 2) / 255).to(batch.patches)
    patches = torch.cat([image, batch.coarse[again_of]], 1)
    layers = (batch.alpha, batch.foreground, batch.weight)
    return Batch(
        torch.cat([batch.patches, patches]),
        *(torch.cat([layer, layer[again_of]]) for layer in layers),
    )


def augment(batch: Batch, rng: np.random.Generator) -> Batch:
    """Warp each patch, change its colours, and put another background behind some.

    A few thousand scenes are soon known by heart, and a scene costs half a second to make; this
    costs some 3 ms a patch. Alpha stays the truth: photo, foreground and masks move alike, their
    colours change alike, and a new background is put behind by I = αF + (1 − α)B.
    """
    layers = torch.cat([batch.patches, batch.alpha, batch.foreground, batch.weight], 1)
    if rng.random() < 0.5:
        layers = layers.flip(3)
    layers = layers.rot90(int(rng.integers(4)), (2, 3))
    layers = warp(layers, rng)
    image, coarse, alpha, foreground, weight = layers.split((3, 1, 1, 3, 1), 1)
    image, foreground = replace_background(image, alpha, foreground, rng)
    image, foreground = jitter_colours(image, foreground, rng)
    return Batch(torch.cat([image, warp_coarse(coarse, rng)], 1), alpha, foreground, weight)


def warp(layers: Tensor, rng: np.random.Generator, share: float = 0.5) -> Tensor:
    """Turn some patches, (N, C, H, W), by any angle up to 30° and enlarge them up to 1.4 times.

    What comes in from beyond the border is the reflection of what is there.
    """
    chosen = random_subset(len(layers), share, rng)
    if not len(chosen):
        return layers
    angle = np.deg2rad(rng.uniform(-30, 30, len(chosen)))
    scale = np.exp(rng.uniform(np.log(1 / 1.4), np.log(1.1), len(chosen)))
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    shift = rng.uniform(-0.15, 0.15, (len(chosen), 2, 1))
    theta = torch.from_numpy(np.concatenate([turn.transpose(2, 0, 1), shift], 2)).to(layers)
    size = [len(chosen), *layers.shape[1:]]
    grid = F.affine_grid(theta, size, align_corners=False)
    warped = layers.clone()
    warped[chosen] = F.grid_sample(
        layers[chosen], grid, "bilinear", "reflection", align_corners=False
    )
    return warped


def replace_background(
    image: Tensor, alpha: Tensor, foreground: Tensor, rng: np.random.Generator, share: float = 0.4
) -> tuple[Tensor, Tensor]:
    """Put some subjects over the photo of another patch, in another light; image and foreground.

    Half of the new backgrounds are out of focus. A little grain hides that the layers are clean.
    """
    n = len(image)
    chosen = random_subset(n, share, rng)
    if not len(chosen) or n < 2:
        return image, foreground
    others = (chosen + int(rng.integers(1, n))) % n
    k = len(chosen)
    behind = image[others]
    soft = F.interpolate(F.avg_pool2d(behind, 8), scale_factor=8.0, mode="bilinear")
    blurred = torch.from_numpy(rng.random((k, 1, 1, 1)) < 0.5).to(image.device)
    behind = torch.where(blurred, soft, behind)
    light = rng.uniform(0.6, 1.4, (k, 1, 1, 1)) * rng.uniform(0.9, 1.1, (k, 3, 1, 1))
    front = (foreground[chosen] * torch.from_numpy(light).to(image)).clamp(0, 1)
    noise = torch.Generator(image.device).manual_seed(int(rng.integers(2**62)))
    grain = torch.randn(front.shape, generator=noise, device=image.device)
    grain *= torch.from_numpy(rng.uniform(0, 0.015, (k, 1, 1, 1))).to(image)
    mixed = alpha[chosen] * front + (1 - alpha[chosen]) * behind
    image, foreground = image.clone(), foreground.clone()
    image[chosen] = (mixed + grain).clamp(0, 1)
    foreground[chosen] = front
    return image, foreground


def jitter_colours(
    image: Tensor, foreground: Tensor, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Change the colours of photo and foreground alike: light, sometimes hue, sometimes negative.

    Gain, order of the channels and negative keep I = αF + (1 − α)B. A gamma breaks it a little, as
    a camera's own tone curve does, so it is kept small.
    """
    n = len(image)
    both = torch.stack([image, foreground], 1)  # (N, 2, 3, H, W)
    channels = np.tile(np.arange(3), (n, 1))
    for k in random_subset(n, 0.2, rng):
        channels[k] = rng.permutation(3)
    index = torch.from_numpy(channels).to(image.device).view(n, 1, 3, 1, 1)
    both = both.gather(2, index.expand_as(both))
    negative = random_subset(n, 0.1, rng)
    both[negative] = 1 - both[negative]
    gain = rng.uniform(0.75, 1.25, (n, 1, 1, 1, 1)) * rng.uniform(0.93, 1.07, (n, 1, 3, 1, 1))
    gamma = np.exp(rng.normal(0, 0.08, (n, 1, 1, 1, 1)))
    both = (both * torch.from_numpy(gain).to(image)).clamp(0, 1)
    both = both.pow(torch.from_numpy(gamma).to(image))
    return both[:, 0], both[:, 1]


def warp_coarse(
    coarse: Tensor, rng: np.random.Generator, share: float = 0.3, by: float = 2.0
) -> Tensor:
    """Bend some coarse masks, (N, 1, H, W), by smooth displacements of some ``by`` px."""
    chosen = random_subset(len(coarse), share, rng)
    if not len(chosen):
        return coarse
    h, w = coarse.shape[2:]
    flow = torch.from_numpy(rng.standard_normal((len(chosen), 2, 4, 4), np.float32)).to(coarse)
    flow = F.interpolate(flow, (h, w), mode="bicubic") * (2 * by / w)
    still = torch.eye(2, 3).to(coarse).expand(len(chosen), 2, 3)
    grid = F.affine_grid(still, [len(chosen), 1, h, w], align_corners=False)
    bent = coarse.clone()
    bent[chosen] = F.grid_sample(
        coarse[chosen], grid + flow.permute(0, 2, 3, 1), "bilinear", "border", align_corners=False
    )
    return bent
