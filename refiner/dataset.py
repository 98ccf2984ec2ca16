"""Prepared patches, memory-mapped, in batches, augmented where that is cheap: on whole batches."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.errors import SettingsError
from refiner.prepare import ALPHA, COARSE, FOREGROUND, RGB, WEIGHT


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

    def to(self, device: torch.device) -> Batch:
        """Copy to a device."""
        return Batch(*(t.to(device) for t in vars(self).values()))


class Shards:
    """All shards of a split. New ones that appear in the folder are found at each new epoch."""

    def __init__(self, folder: Path, split: str) -> None:
        self.folder, self.split = Path(folder), split
        self._maps: dict[Path, NDArray[np.uint8]] = {}
        self.refresh()
        if not self._maps:
            raise SettingsError(
                f"no {split}-*.npy in {folder}: prepare data with python -m refiner.prepare"
            )

    def refresh(self) -> None:
        """Look for shards that were not there before."""
        for path in sorted(self.folder.glob(f"{self.split}-*.npy")):
            if path not in self._maps:
                self._maps[path] = np.load(path, mmap_mode="r")

    def __len__(self) -> int:
        return sum(map(len, self._maps.values()))

    def index(self) -> list[tuple[Path, int]]:
        """Every patch as (shard, number), in a fixed order."""
        return [(path, i) for path in sorted(self._maps) for i in range(len(self._maps[path]))]

    def batch(self, chosen: list[tuple[Path, int]]) -> Batch:
        """Read patches as a batch, not augmented."""
        raw = np.stack([self._maps[path][i] for path, i in chosen])
        layers = torch.from_numpy(raw).float().div_(255)
        return Batch(
            torch.cat([layers[:, RGB], layers[:, COARSE : COARSE + 1]], 1),
            layers[:, ALPHA : ALPHA + 1],
            layers[:, FOREGROUND],
            layers[:, WEIGHT : WEIGHT + 1],
        )


def order(shards: Shards, seed: int, epoch: int) -> list[tuple[Path, int]]:
    """A shuffled epoch: the same for the same seed, epoch and shards."""
    shards.refresh()
    index = shards.index()
    rng = np.random.default_rng([seed, epoch])
    return [index[i] for i in rng.permutation(len(index))]


def epochs(
    shards: Shards, size: int, seed: int, start: int = 0, rank: int = 0, ranks: int = 1
) -> Iterator[Batch]:
    """Augmented batches without end, from step ``start`` on: what resuming needs.

    Step n holds the same patches, augmented alike, whether the run was interrupted or not, as long
    as no shard was added. Several processes share each step's patches out among themselves.
    """
    epoch, step = 0, 0
    while True:
        patches = order(shards, seed, epoch)
        steps = len(patches) // (size * ranks)
        if not steps:
            raise SettingsError(
                f"{len(patches)} patches are fewer than a batch of {size * ranks}: prepare more"
            )
        for i in range(steps):
            if step >= start:
                chosen = patches[(i * ranks + rank) * size :][:size]
                yield augment(shards.batch(chosen), np.random.default_rng([seed, step, rank]))
            step += 1
        epoch += 1


def prefetch(batches: Iterator[Batch], ahead: int = 4) -> Iterator[Batch]:
    """Make batches in a thread of their own, some ahead; NumPy and torch leave it the time."""
    ready: queue.Queue[Batch | Exception] = queue.Queue(ahead)

    def fill() -> None:
        try:
            for batch in batches:
                ready.put(batch)
        except Exception as error:  # handed on to whoever asks for the next batch
            ready.put(error)

    threading.Thread(target=fill, daemon=True).start()
    while True:
        batch = ready.get()
        if isinstance(batch, Exception):
            raise batch
        yield batch


def augment(batch: Batch, rng: np.random.Generator) -> Batch:
    """Flip and turn the batch, change its light; what photo and foreground share changes alike."""
    layers = torch.cat([batch.patches, batch.alpha, batch.foreground, batch.weight], 1)
    if rng.random() < 0.5:
        layers = layers.flip(3)
    layers = layers.rot90(int(rng.integers(4)), (2, 3))
    n = len(layers)
    # Gain and gamma act on F and I alike. A gain keeps I = αF + (1 − α)B; a gamma breaks it a
    # little, as a camera's own tone curve does, so it is kept small.
    gain = torch.from_numpy(
        rng.uniform(0.75, 1.25, (n, 1, 1, 1)) * rng.uniform(0.93, 1.07, (n, 3, 1, 1))
    )
    gamma = torch.from_numpy(np.exp(rng.normal(0, 0.08, (n, 1, 1, 1))))
    image, coarse, alpha, foreground, weight = layers.split((3, 1, 1, 3, 1), 1)

    def light(x: Tensor) -> Tensor:
        return (x * gain.float()).clamp(0, 1).pow(gamma.float())

    return Batch(torch.cat([light(image), coarse], 1), alpha, light(foreground), weight)
