"""Tiny data for the refiner's tests: a folder of cutouts, one of backgrounds, one shard a split."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from skimage import data

pytest.importorskip("torch", reason="training needs the extra 'train'")
pytest.importorskip("pymatting", reason="training needs the extra 'train'")
pytest.importorskip("lightning_fabric", reason="training needs the extra 'train'")

from refiner import prepare, procedural
from training.split import is_held_out


def held_out_name(stem: str, wanted: bool) -> str:
    """A file name that belongs to the validation split, or does not."""
    return next(n for i in range(99) if is_held_out(n := f"{stem}{i}.png") == wanted)


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``cutouts`` and ``backgrounds``, each with pictures of both splits."""
    root = tmp_path_factory.mktemp("pictures")
    for name in ("cutouts", "backgrounds"):
        (root / name).mkdir()
    rng = np.random.default_rng(0)
    for kind in ("hair", "product"):
        colour, alpha = procedural.sample(kind, (160, 140), rng)
        rgba = np.dstack([colour, (alpha * 255).astype(np.uint8)])
        Image.fromarray(rgba).save(root / "cutouts" / f"{kind}.png")
    for wanted in (False, True):
        picture = (data.rocket, data.coffee)[wanted]()
        Image.fromarray(picture).resize((200, 150)).save(
            root / "backgrounds" / held_out_name("back", wanted)
        )
    return root


def run_prepare(folders: Path, out: Path, *more: str) -> None:
    """Call the command; a failure shows what it printed."""
    result = CliRunner().invoke(
        prepare.main,
        [
            *("--data", str(folders), "--out", str(out), "--processes", "1", "--quiet"),
            *("--set", "shards=1", "--set", "shard_size=8", "--set", "patches.per_scene=4"),
            *("--set", "stage1=[]", *more),
        ],
    )
    assert result.exit_code == 0, (result.output, result.exception)


@pytest.fixture(scope="session")
def shards(folders: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one shard of eight patches a split."""
    out = tmp_path_factory.mktemp("shards")
    run_prepare(folders, out)
    return out
