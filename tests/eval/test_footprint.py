"""What Wisp costs: counted here, on networks of a few nodes; timed by the command alone."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eval import footprint, table
from eval.metrics import METRICS
from pipeline import Cutout, Settings, models
from tests import networks


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    folder = tmp_path_factory.mktemp("models")
    return Settings(
        model=str(networks.stage1(folder / "bright.onnx", gain=6.0)),
        refiner=str(networks.stage2(folder / "same.onnx")),
    )


def test_each_size_is_measured(tiny: Settings, tmp_path: Path) -> None:
    rows = footprint.measure(tiny, 1, ((120, 160), (480, 640)))
    small, large = rows["photos"]
    assert small["size"] == [160, 120] and large["size"] == [640, 480]
    for photo, size in ((small, (120, 160)), (large, (480, 640))):
        assert photo["tiles"] == len(Cutout(tiny)(footprint.portrait(tmp_path, size)).tiles) > 0
        assert photo["seconds"] > 0 and photo["megabytes"] > 10 and photo["refine_seconds"] > 0
    assert small["tiles"] < large["tiles"]
    assert math.isfinite(rows["import_seconds"])


def test_the_portrait_has_the_size_asked_for(tmp_path: Path) -> None:
    for size in ((60, 100), (100, 60), (700, 40)):
        assert Image.open(footprint.portrait(tmp_path, size)).size == size[::-1]


def test_the_cost_of_stage_2_is_its_tiles_and_not_the_pixels(tiny: Settings) -> None:
    """Each tile is computed once; there are as many as the edge is long, on however many pixels."""
    cut = Cutout(tiny)

    def tiles(side: int, radius: int) -> int:
        y, x = np.mgrid[:side, :side]
        disc = np.hypot(y - side / 2, x - side / 2) < radius
        spy = networks.Function(lambda batch: batch[:, [3, 0, 1, 2]])
        cut._stage2 = models.Refiner(spy)
        result = cut(disc.astype(np.uint8)[..., None].repeat(3, 2) * 255)
        looks = sum(spy.batches) - len(result.tiles)
        assert looks == 1 if side == 500 else 1 < looks <= 1 + (384 // 112 + 1) ** 2
        return len(result.tiles)

    few = tiles(500, 150)
    assert few > 5
    assert tiles(1000, 150) < 1.3 * few  # four times the pixels
    # Twice the edge, and a region around it that is as many cells wide, each of twice the pixels.
    assert 1.7 * few < tiles(1000, 300) < 3 * few


def test_the_table_is_what_was_measured() -> None:
    photos = [
        {"size": [1920, 1080], "seconds": 1.2, "megabytes": 320.4, "tiles": 50,
         "refine_seconds": 0.4},
        {"size": [64, 64], "seconds": 0.5, "megabytes": 200.0, "tiles": 0, "refine_seconds": 0.0},
    ]  # fmt: skip
    results = {
        "metrics": {name: {"digits": metric.digits} for name, metric in METRICS.items()},
        "footprint": {"photos": photos, "import_seconds": 0.061},
    }
    lines = table.footprint(results).splitlines()
    assert lines[2:4] == [
        "| 1920×1080 | 1.200 | 320 | 50 | 0.400 | 8.0 |",
        "| 64×64 | 0.500 | 200 | 0 | 0.000 | – |",
    ]
    assert lines[-1] == "`import pipeline`: 0.06 s more than `import numpy`."
