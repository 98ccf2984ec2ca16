"""What Wisp itself costs: its command by size of photo, its tiles, and its import.

Other tools are no part of this: at 24 megapixels some need more memory than a machine has.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from PIL import Image

from eval.methods.external import timed
from eval.run import Progress, silent
from pipeline import Cutout, Settings

SIZES = ((1080, 1920), (2160, 3840), (4000, 6000))  # height, width: 2, 8 and 24 megapixels


def measure(
    settings: Settings,
    repeats: int,
    sizes: Sequence[tuple[int, int]] = SIZES,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Measure Wisp alone, by turns: photo by photo, then the imports, ``repeats`` times.

    Parameters
    ----------
    settings
        Only ``model`` and ``refiner`` count.
    sizes
        (height, width) of the photos: one portrait, enlarged.

    Returns
    -------
    ``photos``, one a size: ``size`` (width, height); ``seconds`` and ``megabytes`` of the command,
    from its start to the written PNG; ``tiles``, and ``refine_seconds`` that stage 2 took for them
    in a process that has loaded its models. ``import_seconds``: how much longer ``import pipeline``
    takes than ``import numpy``. All medians.
    """
    cut = Cutout(Settings(model=settings.model, refiner=settings.refiner))
    calls: dict[tuple[int, int], list[tuple[float, float, float]]] = {size: [] for size in sizes}
    tiles, gaps = {}, []
    with tempfile.TemporaryDirectory(prefix="wisp-bench-") as name:
        log, out = Path(name, "log"), Path(name, "out.png")
        photos = {size: portrait(Path(name), size) for size in sizes}
        for _ in progress(range(repeats), repeats, "footprint"):
            for size, photo in photos.items():
                words = ["cut", str(photo), "-o", str(out), "--overwrite", "--quiet"]
                words += ["--model", settings.model, "--refiner", settings.refiner]
                command = timed([sys.executable, "-m", "wisp", *words], log)
                result = cut(photo)
                calls[size].append((*command, result.timings["refine"]))
                tiles[size] = len(result.tiles)
            pair = (timed([sys.executable, "-c", f"import {what}"], log)[0]
                    for what in ("pipeline", "numpy"))  # fmt: skip
            gaps.append(next(pair) - next(pair))
    rows = []
    for (height, width), laps in calls.items():
        seconds, megabytes, refine = (median(values) for values in zip(*laps, strict=True))
        rows.append(
            {
                "size": [width, height],
                "seconds": seconds,
                "megabytes": megabytes,
                "tiles": tiles[height, width],
                "refine_seconds": refine,
            }
        )
    return {"photos": rows, "import_seconds": median(gaps)}


def portrait(folder: Path, size: tuple[int, int]) -> Path:
    """Write scikit-image's portrait, enlarged to cover (height, width) and cut, as a JPEG."""
    from skimage import data

    height, width = size
    photo = Image.fromarray(data.astronaut())
    scale = max(width / photo.width, height / photo.height)
    large = photo.resize([round(side * scale) for side in photo.size], Image.Resampling.BICUBIC)
    left = (large.width - width) // 2
    path = folder / f"{width}x{height}.jpg"
    large.crop((left, 0, left + width, height)).save(path, quality=92)
    return path
