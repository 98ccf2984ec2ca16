"""How Wisp's cost grows, as one plot: with the photo, with the edge, with the processes.

    python examples/growth.py -o docs/images/growth.png [--out growth.json]

From 0.1 to 100 megapixels: the command, cold, on one portrait enlarged, and its peak memory. From 1
to 500 tiles: a warm call whose mask is given, of more and more discs. From 1 to 8 processes of one
thread each: photos a second at 2 megapixels. Linux only.
"""

from __future__ import annotations

import json
import math
import os
import sys
import tempfile
import time
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier
from pathlib import Path
from statistics import median

import click
import matplotlib.pyplot as plt
import numpy as np
from PIL import Image, ImageDraw

from eval.footprint import portrait
from eval.methods.external import timed
from pipeline import Cutout, files

MEGAPIXELS = (0.1, 0.3, 1, 3, 10, 30, 100)
DISCS = (0, 1, 2, 3, 5)  # a side, squared: 0 is one small one
PROCESSES = (1, 2, 4, 8)
Points = list[tuple[float, float]]


def photos() -> tuple[Points, Points]:
    """Return (megapixels, seconds) and (megapixels, GB) of the command."""
    seconds: Points = []
    memory: Points = []
    with tempfile.TemporaryDirectory() as name:
        for million in MEGAPIXELS:
            height = round(math.sqrt(million * 1e6 * 2 / 3))
            photo = portrait(Path(name), (height, height * 3 // 2))
            words = ["cut", str(photo), "-o", f"{name}/out.png", "--overwrite", "--quiet"]
            took, peak = timed([sys.executable, "-m", "wisp", *words], Path(name, "log"))
            seconds.append((million, took))
            memory.append((million, peak / 1024))
    return seconds, memory


def tiles(rounds: int) -> Points:
    """Return (tiles, seconds of stage 2) of calls with a mask of so many discs."""
    cutout = Cutout(detail=3600)  # the photo's own size, so that there are hundreds
    found: Points = []
    rng = np.random.default_rng(0)
    photo = rng.integers(0, 255, (2400, 3600, 3), np.uint8)
    for side in DISCS:
        mask = Image.new("L", (3600, 2400))
        draw, count = ImageDraw.Draw(mask), max(side, 1)
        radius = 30 if side == 0 else 900 / count
        for k in range(count * count):
            x, y = (k % count + 0.5) * 3600 / count, (k // count + 0.5) * 2400 / count
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), 255)
        results = [cutout(photo, mask=mask) for _ in range(rounds)]
        found.append((len(results[0].tiles), median(r.timings["refine"] for r in results)))
    return found


_ready: Barrier


def _cut(count: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        photo = portrait(Path(name), (1080, 1920)).read_bytes()
    cutout = Cutout(threads=1)
    cutout(photo)
    _ready.wait()
    for _ in range(count):
        cutout(photo)


def _started(barrier: Barrier) -> None:
    global _ready  # a barrier is inherited by a process, not sent to one
    _ready = barrier


def processes(count: int) -> Points:
    """Return (processes, photos a second), ``count`` photos each."""
    spawn = get_context("spawn")
    found: Points = []
    for many in PROCESSES:
        barrier = spawn.Barrier(many + 1)
        with spawn.Pool(many, _started, (barrier,)) as pool:
            done = [pool.apply_async(_cut, (count,)) for _ in range(many)]
            barrier.wait()
            start = time.perf_counter()
            for one in done:
                one.get()
            found.append((many, many * count / (time.perf_counter() - start)))
    return found


def plot(
    seconds: Points, memory: Points, by_tiles: Points, by_processes: Points, out: Path
) -> None:
    """Draw the three as one picture."""
    figure, (photo, tile, process) = plt.subplots(1, 3, figsize=(14, 4), layout="constrained")
    for points, label in ((seconds, "seconds, cold command"), (memory, "peak memory, GB")):
        photo.loglog(*zip(*points, strict=True), "o-", label=label)
    photo.set(xlabel="megapixels of the photo")
    photo.legend()
    tile.plot(*zip(*by_tiles, strict=True), "o-")
    tile.set(xlabel="tiles", ylabel="seconds of stage 2, warm", ylim=(0, None))
    process.plot(*zip(*by_processes, strict=True), "o-")
    cores = len(os.sched_getaffinity(0))
    process.set(xlabel=f"processes, on {cores} processors", ylim=(0, None))
    process.set(ylabel="photos of 2 megapixels a second")
    for axes in (photo, tile, process):
        axes.grid(alpha=0.3)
    with files.placing(out) as part:
        figure.savefig(part, format="png", dpi=90)


@click.command(context_settings={"show_default": True})
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="A PNG.")
@click.option("--rounds", default=3, help="Calls for each number of tiles.")
@click.option("--photos", "count", default=6, help="Photos that each process cuts out.")
@click.option("--out", type=click.Path(path_type=Path), help="Every figure, as JSON.")
def main(output: Path, rounds: int, count: int, out: Path | None) -> None:
    """Measure how the cost grows, and plot it."""
    Image.MAX_IMAGE_PIXELS = None  # its own photos
    seconds, memory = photos()
    by_tiles, by_processes = tiles(rounds), processes(count)
    plot(seconds, memory, by_tiles, by_processes, output)
    figures = {"seconds": seconds, "GB": memory, "tiles": by_tiles, "processes": by_processes}
    click.echo(json.dumps(figures))
    if out:
        out.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
