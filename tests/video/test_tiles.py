"""Tiles keep their answers where nothing has changed, and only there."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline import Cutout, Settings, generator, patches
from tests import networks
from tests.tiles import covered
from wisp.video.tiles import TileMemory

SIZE = (300, 420)


def scene(noise: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A photo and a mask with an edge that is longer than a tile."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    image = np.stack([x % 200, y % 200, (x + y) % 200], -1).astype(float) + 20
    image += np.random.default_rng(noise).normal(0, 2, image.shape)
    mask = np.clip((150 - np.hypot(y - 150, x - 210)) / 20, 0, 1).astype(np.float32)
    return np.clip(image, 0, 255).astype(np.uint8), mask


def roi(mask: np.ndarray) -> np.ndarray:
    return (mask > 0) & (mask < 1)


@pytest.fixture
def network() -> networks.Function:
    return networks.Function(lambda batch: batch[:, [3, 0, 1, 2]])


def redrawn(memory, network, image, mask):
    origins = memory.place(roi(mask))
    return origins, list(memory.redraw(network, image, mask, origins, 4))


def test_the_first_frame_is_redrawn_as_without_a_memory(network):
    image, mask = scene()
    memory = TileMemory()
    origins, answers = redrawn(memory, network, image, mask)
    assert (origins == patches.tile_origins(roi(mask))).all()
    plain = list(generator.redraw(network, image, mask, origins, 4))
    assert np.abs(np.array(answers) - plain).max() < 1e-3  # kept in half precision
    assert (memory.reused, memory.redrawn) == (0, len(origins))


def test_noise_changes_nothing_and_costs_nothing(network):
    memory = TileMemory()
    _, first = redrawn(memory, network, *scene(0))
    asked = sum(network.batches)
    for noise in range(1, 4):
        _, again = redrawn(memory, network, *scene(noise))
        assert all((a == b).all() for a, b in zip(again, first, strict=True))
    assert sum(network.batches) == asked
    assert memory.reused == 3 * len(first)


def test_what_changes_is_redrawn_and_the_rest_is_not(network):
    memory = TileMemory()
    image, mask = scene()
    origins, first = redrawn(memory, network, image, mask)
    moved = image.copy()
    moved[:40, 200:220] = 255
    _, again = redrawn(memory, network, moved, mask)
    touched = [y < 40 and x < 220 and x + 128 > 200 for y, x in origins]
    assert any(touched) and not all(touched)
    for old, new, changed in zip(first, again, touched, strict=True):
        assert (old == new).all() != changed
    assert memory.redrawn == len(origins) + sum(touched)


def test_what_creeps_is_noticed(network):
    memory = TileMemory()
    image, mask = scene()
    dark = (image // 2).astype(np.uint8)
    for step in range(10):
        origins, _ = redrawn(memory, network, dark + np.uint8(2 * step), mask)
    assert memory.redrawn >= 3 * len(origins)


def test_a_mask_that_moves_is_redrawn(network):
    memory = TileMemory()
    image, mask = scene()
    origins, _ = redrawn(memory, network, image, mask)
    redrawn(memory, network, image, np.roll(mask, 12, 1))
    assert memory.redrawn > len(origins)


def test_the_roi_is_covered_however_it_moves():
    memory = TileMemory()
    network = networks.Function(lambda batch: batch[:, [3, 0, 1, 2]])
    image, mask = scene()
    for shift in range(0, 200, 9):
        moved = np.roll(mask, shift, 1)
        origins, _ = redrawn(memory, network, image, moved)
        assert covered(origins, *SIZE)[roi(moved)].all()
        assert len(origins) <= 1.25 * len(patches.tile_origins(roi(moved)))
    origins, answers = redrawn(memory, network, image, np.zeros(SIZE, np.float32))
    assert len(origins) == len(answers) == 0


def test_where_all_moves_no_tile_is_kept_in_its_place_and_a_rest_is_found(network):
    memory = TileMemory()
    image, mask = scene()
    fresh = 0
    for shift in range(0, 160, 10):
        moved = np.roll(mask, shift, 1)
        origins, _ = redrawn(memory, network, np.roll(image, shift, 1), moved)
        fresh += np.array_equal(origins, patches.tile_origins(roi(moved)))
    assert fresh >= 12
    before = memory.reused
    for noise in range(10):
        redrawn(memory, network, *scene(noise))
    assert memory.reused - before >= 8 * len(patches.tile_origins(roi(mask)))


def test_with_a_cutout(tmp_path):
    settings = Settings(
        model=str(networks.stage1(tmp_path / "one.onnx", gain=3.0)),
        refiner=str(networks.stage2(tmp_path / "two.onnx")),
    )
    cutout, memory = Cutout(settings), TileMemory()
    image, _ = scene()
    alone, first = cutout(image), cutout(image, tiles=memory)
    again = cutout(image, tiles=memory)
    assert np.abs(first.alpha - alone.alpha).max() < 1e-3
    assert (again.alpha == first.alpha).all()
    assert memory.reused == len(first.tiles) > 0
