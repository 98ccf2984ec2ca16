"""Targets for photos without truth: what several teachers agree on, made once, to disk.

    python -m u2net.pseudo --prepared DIR --teacher isnet-general-use --teacher wisp

A teacher is a stage-1 model by its name (``wisp models``), one of your own included. They err on
different photos: on held-out object scenes the mean of two is better than either. The maps,
``DIR/SPLIT_maps.npy`` (n, teachers, S, S) uint8, resume where they stopped.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import click
import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from pipeline import coarse, models
from pipeline.cli.command import Command
from pipeline.errors import SettingsError
from u2net.dataset import Prepared
from u2net.scenes import Map
from u2net.settings import SIZE

CPU = ("CPUExecutionProvider",)
GAIN = 1.5  # of the mean map's logit: a mean of two is greyer than both


class Pseudo:
    """The teachers' maps of a prepared split: ``maps`` (n, teachers, S, S) uint8 of the pictures
    ``rows`` (n,), and ``done`` (N,), which of all pictures they say something of."""

    def __init__(self, prepared: Path, split: str) -> None:
        self.done = np.zeros(len(Prepared(prepared, split)), bool)
        self.maps: NDArray[np.uint8] = np.empty((0, 2, SIZE, SIZE), np.uint8)
        self.place: dict[int, int] = {}
        index = prepared / f"{split}_maps.json"
        if index.is_file():
            rows = json.loads(index.read_text())["rows"]
            self.maps = np.load(prepared / f"{split}_maps.npy", mmap_mode="r")
            made = np.load(prepared / f"{split}_made.npy")
            self.place = {row: n for n, row in enumerate(rows) if made[n]}
            self.done[list(self.place)] = True

    def target(self, k: int, side: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Return target and weight of picture ``k``, (side, side) uint8 each."""
        target, weight = agreement(self.maps[self.place[k]].astype(np.float32) / 255)
        layers = np.asarray(cv2.resize(np.dstack((target, weight)), (side, side)))
        bytes_ = np.rint(255 * layers).astype(np.uint8).transpose(2, 0, 1)
        return bytes_[0], bytes_[1]


def agreement(maps: Map) -> tuple[Map, Map]:
    """Return what teachers' maps (teachers, S, S) in 0..1 say together, and how much it counts.

    The first one, of another kind than the rest, counts as much as the mean of the rest. A photo on
    whose subject the two disagree counts a quarter, a pixel where they do less again.
    """
    first, rest = maps[0], maps[1:].mean(0)
    mean = (first + rest) / 2
    target = mean**GAIN / (mean**GAIN + (1 - mean) ** GAIN)
    union = ((first > 0.5) | (rest > 0.5)).sum()
    common = ((first > 0.5) & (rest > 0.5)).sum()
    alike = common / union if union > 0.0005 * first.size else 0.5
    return target, (0.25 + 0.75 * alike) * (1 - 0.7 * np.abs(first - rest))


def make(prepared: Path, split: str, teachers: Sequence[str], quiet: bool = False) -> int:
    """Add the maps of all pictures without truth that have none yet; return how many it made.

    Raises ``SettingsError`` for fewer than two teachers, or others than those that began.
    """
    if len(teachers) < 2:
        raise SettingsError("Give two teachers or more: what one alone says has no agreement.")
    pictures = Prepared(prepared, split)
    rows = np.flatnonzero(~pictures.has_truth).tolist()
    index = prepared / f"{split}_maps.json"
    paths = prepared / f"{split}_maps.npy", prepared / f"{split}_made.npy"
    facts = {"teachers": list(teachers), "rows": rows}
    if index.is_file():
        if json.loads(index.read_text()) != facts:
            raise SettingsError(
                f"{index} is of other pictures or teachers: remove it to begin anew."
            )
        maps, made = (np.load(path, mmap_mode="r+") for path in paths)
    else:
        shapes = (len(rows), len(teachers), SIZE, SIZE), (len(rows),)
        maps, made = (
            np.lib.format.open_memmap(path, "w+", kind, shape)
            for path, kind, shape in zip(paths, (np.uint8, np.bool_), shapes, strict=True)
        )
        index.write_text(json.dumps(facts))
    opened = [models.open_coarse(models.coarse_model(name), CPU, 0) for name in teachers]
    missing = np.flatnonzero(~made)
    for n in tqdm(missing, desc=f"teachers {split}", disable=quiet or None):
        photo = np.ascontiguousarray(pictures.pack[rows[n]][..., :3])
        for t, (session, card) in enumerate(opened):
            mask = coarse.predict(session, card, photo)
            square = cv2.resize(mask, (SIZE, SIZE), interpolation=cv2.INTER_AREA)
            maps[n, t] = np.rint(255 * square)
        made[n] = True
    return len(missing)


@click.command(cls=Command, context_settings={"show_default": True})
@click.option("--prepared", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--teacher", "teachers", multiple=True, required=True, help="A model; repeatable.")
@click.option("--quiet", is_flag=True)
def main(prepared: Path, teachers: tuple[str, ...], quiet: bool) -> None:
    """Let several teachers look at all prepared photos without truth."""
    for split in ("train", "held"):
        click.echo(f"{split}: {make(prepared, split, teachers, quiet)} maps made")


if __name__ == "__main__":
    main()
