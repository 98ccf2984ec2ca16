"""The examples' own code: what an ablation keeps and prints."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest
from click.testing import CliRunner

from pipeline.errors import SettingsError

pytest.importorskip("pytorch_optimizer", reason="training needs the extra 'train'")

FIGURES = {"psnr": 17.25, "coarse psnr": 16.2, "sad ratio": 0.655, "colour ratio": 0.6}
FIGURES["worse"] = 0.125


@pytest.fixture(scope="module")
def ablate() -> ModuleType:
    path = Path(__file__).parent.parent / "examples" / "ablate.py"
    spec = importlib.util.spec_from_file_location("ablate", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_what_has_been_run_is_not_run_again(ablate: ModuleType, tmp_path: Path) -> None:
    data, other, out = tmp_path / "data", tmp_path / "other", tmp_path / "out"
    for folder, names in ((data, ("valid-000", "train-000")), (other, ("valid-000", "train-007"))):
        folder.mkdir()
        for name in names:
            (folder / f"{name}.npy").write_text(folder.name)
    for row in ("as it is", "masks of one network"):
        (out / row).mkdir(parents=True)
        (out / row / "figures.json").write_text(json.dumps(FIGURES))
    arguments = ["--shards", data, "--out", out, "--more", f"masks of one network={other}"]
    arguments += ["--only", "as it is", "--only", "masks of one network"]
    done = CliRunner().invoke(ablate.main, [str(a) for a in arguments], catch_exceptions=False)
    assert "| as it is | 17.25 | 65.5% | 60.0% | 12.5% |" in done.output
    assert "| masks of one network | 17.25 |" in done.output
    linked = out / "data of masks of one network"
    assert {p.name for p in linked.iterdir()} == {"valid-000.npy", "train-007.npy"}
    assert (linked / "valid-000.npy").read_text() == "data"  # all are measured on the same


def test_a_training_that_fails_leaves_no_figures(ablate: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no train-"):
        ablate.train(tmp_path, tmp_path / "run", 1, [])
    assert not (tmp_path / "run" / "figures.json").exists()
